//! A Parquet file: record batches in, pages out. Columns are encoded side by side, and a row group takes the memory of
//! its pages only, however many rows it has.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

/// Values that a column encodes before it looks whether its page is full.
const WRITE_BATCH_ROWS: usize = 8192;

/// How a file is written; columns go by their Parquet paths, joined with dots.
#[derive(Debug, Default)]
pub struct Options {
    /// `zstd`, `snappy` or `none`.
    pub codec: String,
    /// Of zstd.
    pub level: i32,
    /// Columns with a dictionary.
    pub dictionary: Vec<String>,
    /// Integer columns that are delta-encoded.
    pub delta: Vec<String>,
    /// Columns without least and greatest values.
    pub unbounded: Vec<String>,
    /// Top-level columns that the rows of a row group are sorted by, ascending.
    pub sorted_by: Vec<i32>,
    /// Columns with a bloom filter: distinct values, share of false positives.
    pub bloom_filters: Vec<(String, u64, f64)>,
}

impl Options {
    fn properties(&self) -> Result<WriterProperties> {
        let mut properties = WriterProperties::builder()
            .set_compression(self.compression()?)
            .set_dictionary_enabled(false)
            .set_write_batch_size(WRITE_BATCH_ROWS)
            .set_max_row_group_row_count(None)
            .set_coerce_types(true)
            .set_sorting_columns(self.sorting());
        for column in &self.dictionary {
            properties = properties.set_column_dictionary_enabled(path(column), true);
        }
        for column in &self.delta {
            properties = properties.set_column_encoding(path(column), Encoding::DELTA_BINARY_PACKED);
        }
        for column in &self.unbounded {
            properties = properties.set_column_statistics_enabled(path(column), EnabledStatistics::None);
        }
        Ok(self.filtered(properties).build())
    }

    fn compression(&self) -> Result<Compression> {
        match self.codec.as_str() {
            "zstd" => Ok(Compression::ZSTD(ZstdLevel::try_new(self.level)?)),
            "snappy" => Ok(Compression::SNAPPY),
            "none" => Ok(Compression::UNCOMPRESSED),
            other => Err(ParquetError::General(format!("no codec is called {other}"))),
        }
    }

    fn sorting(&self) -> Option<Vec<SortingColumn>> {
        let columns = self.sorted_by.iter();
        let sorting: Vec<_> =
            columns.map(|&at| SortingColumn { column_idx: at, descending: false, nulls_first: false }).collect();
        (!sorting.is_empty()).then_some(sorting)
    }

    fn filtered(&self, mut properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        for (column, values, false_positives) in &self.bloom_filters {
            properties = properties
                .set_column_bloom_filter_enabled(path(column), true)
                .set_column_bloom_filter_max_ndv(path(column), *values)
                .set_column_bloom_filter_fpp(path(column), *false_positives);
        }
        properties
    }
}

fn path(column: &str) -> ColumnPath {
    ColumnPath::new(column.split('.').map(ToOwned::to_owned).collect())
}

/// Bytes of the file that nobody has taken yet.
#[derive(Clone, Debug, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file being written; after an error it is good for nothing.
pub struct TableFile {
    file: SerializedFileWriter<Sink>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    sink: Sink,
    threads: usize,
    /// Of the open row group, in the order of its leaves.
    columns: Vec<ArrowColumnWriter>,
}

impl TableFile {
    /// A file of that schema; up to `threads` columns are encoded at a time.
    ///
    /// # Errors
    ///
    /// For what Parquet or this module doesn't know.
    pub fn new(schema: SchemaRef, options: &Options, threads: usize) -> Result<Self> {
        let properties = Arc::new(options.properties()?);
        let parquet = ArrowSchemaConverter::new().with_coerce_types(true).convert(&schema)?;
        let sink = Sink::default();
        let file = SerializedFileWriter::new(sink.clone(), parquet.root_schema_ptr(), properties)?;
        let factory = ArrowRowGroupWriterFactory::new(&file, schema.clone());
        Ok(Self { file, factory, schema, sink, threads, columns: Vec::new() })
    }

    /// The rows are in the open row group.
    ///
    /// # Errors
    ///
    /// For columns that aren't the schema's.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if self.columns.is_empty() {
            self.columns = self.factory.create_column_writers(self.file.flushed_row_groups().len())?;
        }
        let mut leaves: Vec<ArrowLeafColumn> = Vec::with_capacity(self.columns.len());
        for (field, column) in self.schema.fields().iter().zip(rows.columns()) {
            leaves.extend(compute_leaves(field, column)?);
        }
        let work = self.columns.iter_mut().zip(leaves);
        side_by_side(self.threads, work, |(column, leaf)| column.write(&leaf))?;
        Ok(())
    }

    /// Bytes that the open row group takes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.columns.iter().map(ArrowColumnWriter::memory_size).sum()
    }

    /// The rows so far are in closed row groups; none is open.
    ///
    /// # Errors
    ///
    /// Only after an earlier error.
    pub fn end_row_group(&mut self) -> Result<()> {
        let columns = std::mem::take(&mut self.columns);
        if columns.is_empty() {
            return Ok(());
        }
        let chunks: Vec<ArrowColumnChunk> = side_by_side(self.threads, columns.into_iter(), ArrowColumnWriter::close)?;
        let mut group = self.file.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        Ok(())
    }

    /// The bytes of the file that weren't taken before.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        self.sink.take()
    }

    /// All bytes of the file can be taken, the last of them its footer with that metadata.
    ///
    /// # Errors
    ///
    /// Only after an earlier error.
    pub fn finish(&mut self, metadata: Vec<(String, String)>) -> Result<()> {
        self.end_row_group()?;
        for (key, value) in metadata {
            self.file.append_key_value_metadata(KeyValue::new(key, value));
        }
        self.file.finish()?;
        Ok(())
    }
}

/// What the calls return, in the items' order; the first error counts.
fn side_by_side<I, T, R>(threads: usize, items: I, call: impl Fn(T) -> Result<R> + Sync) -> Result<Vec<R>>
where
    I: ExactSizeIterator<Item = T> + Send,
    R: Send,
{
    let count = items.len();
    let results: Vec<Mutex<Option<Result<R>>>> = (0..count).map(|_| Mutex::new(None)).collect();
    let items = Mutex::new(items.enumerate());
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((at, item)) = next() {
            *results[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(call(item));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(work);
        }
        work();
    });
    let lost = || ParquetError::General("a column wasn't encoded".to_owned());
    let result = |slot: Mutex<Option<Result<R>>>| slot.into_inner().ok().flatten().unwrap_or_else(|| Err(lost()));
    results.into_iter().map(result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};

    use super::{Options, TableFile};

    fn batch(from: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 100));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..100).map(|at| format!("text {}", at % 7))));
        RecordBatch::try_from_iter([("number", numbers), ("text", texts)]).unwrap()
    }

    fn written(threads: usize) -> Vec<u8> {
        let options = Options {
            codec: "zstd".to_owned(),
            level: 1,
            dictionary: vec!["text".to_owned()],
            delta: vec!["number".to_owned()],
            ..Options::default()
        };
        let mut file = TableFile::new(batch(0).schema(), &options, threads).unwrap();
        let mut bytes = Vec::new();
        for from in [0, 100, 200] {
            file.write(&batch(from)).unwrap();
            assert!(file.held() > 0);
            if from == 100 {
                file.end_row_group().unwrap();
                assert_eq!(file.held(), 0);
            }
            bytes.extend(file.take());
        }
        file.finish(vec![("key".to_owned(), "value".to_owned())]).unwrap();
        bytes.extend(file.take());
        bytes
    }

    #[test]
    fn a_file_is_the_same_whatever_the_threads() {
        let one = written(1);
        assert!(one.starts_with(b"PAR1") && one.ends_with(b"PAR1"));
        assert_eq!(one, written(3));
    }

    #[test]
    fn an_unknown_codec_is_an_error() {
        let options = Options { codec: "brotli".to_owned(), ..Options::default() };
        assert!(TableFile::new(batch(0).schema(), &options, 1).is_err());
    }
}
