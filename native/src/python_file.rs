//! Parquet files for Python: batches come by the Arrow PyCapsule interface, without a copy.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::{RecordBatch, StructArray};
use arrow_schema::Schema;
use parquet::errors::Result;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule};

use crate::table_file::{Options, TableFile};

/// A Parquet file being written. The interpreter's lock is released while it encodes; after an error it is good for
/// nothing.
#[pyclass(name = "TableFile", frozen)]
pub struct PyTableFile {
    file: Mutex<TableFile>,
}

#[pymethods]
impl PyTableFile {
    /// `schema` is an Arrow schema; columns go by their Parquet paths. Raises `ValueError` for what isn't known here.
    #[new]
    #[allow(clippy::too_many_arguments)] // keywords, in Python
    #[pyo3(signature = (schema, *, codec, level, dictionary, delta, unbounded, sorted_by, bloom_filters, threads))]
    fn new(
        schema: &Bound<'_, PyAny>,
        codec: String,
        level: i32,
        dictionary: Vec<String>,
        delta: Vec<String>,
        unbounded: Vec<String>,
        sorted_by: Vec<i32>,
        bloom_filters: Vec<(String, u64, f64)>,
        threads: usize,
    ) -> PyResult<Self> {
        let options = Options { codec, level, dictionary, delta, unbounded, sorted_by, bloom_filters };
        let file = TableFile::new(Arc::new(imported_schema(schema)?), &options, threads);
        Ok(Self { file: Mutex::new(file.map_err(failed)?) })
    }

    /// The batch's rows are in the open row group.
    fn write(&self, py: Python<'_>, batch: &Bound<'_, PyAny>) -> PyResult<()> {
        let rows = imported(batch)?;
        self.guarded(py, move |file| file.write(&rows))
    }

    /// The rows so far are in closed row groups.
    fn end_row_group(&self, py: Python<'_>) -> PyResult<()> {
        self.guarded(py, TableFile::end_row_group)
    }

    /// Bytes that the open row group takes.
    #[getter]
    fn held(&self, py: Python<'_>) -> PyResult<usize> {
        self.guarded(py, |file| Ok(file.held()))
    }

    /// The bytes of the file that weren't taken before.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.guarded(py, |file| Ok(file.take()))?))
    }

    /// All bytes of the file can be taken, the last of them its footer with that metadata.
    fn finish(&self, py: Python<'_>, metadata: Vec<(String, String)>) -> PyResult<()> {
        self.guarded(py, move |file| file.finish(metadata))
    }
}

impl PyTableFile {
    fn guarded<R: Send>(&self, py: Python<'_>, call: impl FnOnce(&mut TableFile) -> Result<R> + Send) -> PyResult<R> {
        let locked = || call(&mut self.file.lock().unwrap_or_else(PoisonError::into_inner));
        match py.detach(|| catch_unwind(AssertUnwindSafe(locked))) {
            Ok(result) => result.map_err(|error| PyRuntimeError::new_err(error.to_string())),
            Err(_) => Err(PyRuntimeError::new_err("the Parquet writer failed unexpectedly")),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn imported_schema(schema: &Bound<'_, PyAny>) -> PyResult<Schema> {
    let capsule = schema.call_method0("__arrow_c_schema__")?.cast_into::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    // The PyCapsule interface says that a capsule of this name holds an ArrowSchema, which lives as long as it.
    #[allow(unsafe_code)]
    let schema = unsafe { pointer.as_ref() };
    Schema::try_from(schema).map_err(failed)
}

fn imported(batch: &Bound<'_, PyAny>) -> PyResult<RecordBatch> {
    let (schema, array) =
        batch.call_method0("__arrow_c_array__")?.extract::<(Bound<'_, PyCapsule>, Bound<'_, PyCapsule>)>()?;
    let schema = schema.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    let array = array.pointer_checked(Some(c"arrow_array"))?.cast::<FFI_ArrowArray>();
    // The PyCapsule interface says that capsules of these names hold an ArrowSchema and an ArrowArray that go together.
    // The array is moved out, which leaves a released one for the capsule to drop.
    #[allow(unsafe_code)]
    let data = unsafe { from_ffi(FFI_ArrowArray::from_raw(array.as_ptr()), schema.as_ref()) }.map_err(failed)?;
    Ok(RecordBatch::from(StructArray::from(data)))
}
