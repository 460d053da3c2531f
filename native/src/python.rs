//! The boundary to Python. The interpreter's lock is released while a block is parsed, and no panic passes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::Array;
use arrow_array::ffi::to_ffi;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyList, PyTuple};

use crate::plan::{NESTING_MAX, Struct, Type};
use crate::rows::{Parsed, Rules, parse};
use crate::seen::Seen;

/// A table schema, ready to parse with.
#[pyclass(frozen)]
struct Plan {
    table: Struct,
    structs: usize,
}

#[pymethods]
impl Plan {
    /// `columns` are `(name, type)`; a type is `(kind, parameters...)`. Raises `ValueError` for what isn't known here.
    #[new]
    fn new(columns: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut structs = 0;
        let table = read_struct(columns, &mut structs, 0)?;
        Ok(Self { table, structs })
    }

    /// The block as the schema sees it, or only its `unknown`; None where it is the reference parser's.
    ///
    /// `parts` are bytes with the place of whole lines in them.
    fn parse(
        &self,
        py: Python<'_>,
        parts: Vec<(Bound<'_, PyBytes>, usize, usize)>,
        depth_max: usize,
        infer_timestamps: bool,
        observe_only: bool,
    ) -> PyResult<Option<Block>> {
        let parts = slices(&parts)?;
        let rules = Rules { depth_max, infer_timestamps, observe_only };
        let parsed = py.detach(|| catch_unwind(AssertUnwindSafe(|| parse(&parts, &self.table, self.structs, rules))));
        Ok(parsed.ok().and_then(Result::ok).map(|parsed| Block { parsed }))
    }
}

fn slices<'p>(parts: &'p [(Bound<'_, PyBytes>, usize, usize)]) -> PyResult<Vec<&'p [u8]>> {
    let outside = || PyValueError::new_err("a part lies outside its bytes");
    parts.iter().map(|(data, start, end)| data.as_bytes().get(*start..*end).ok_or_else(outside)).collect()
}

/// How many line feeds there are between two places.
#[pyfunction]
fn newlines(data: &Bound<'_, PyBytes>, start: usize, end: usize) -> usize {
    data.as_bytes().get(start..end).map_or(0, |part| memchr::memchr_iter(b'\n', part).count())
}

fn read_struct(members: &Bound<'_, PyAny>, structs: &mut usize, depth: usize) -> PyResult<Struct> {
    let id = *structs;
    *structs += 1;
    let mut fields = Vec::new();
    for member in members.try_iter()? {
        let (name, kind): (String, Bound<'_, PyTuple>) = member?.extract()?;
        fields.push((name, read_type(&kind, structs, depth + 1)?));
    }
    Ok(Struct::new(id, fields))
}

fn read_type(kind: &Bound<'_, PyTuple>, structs: &mut usize, depth: usize) -> PyResult<Type> {
    if depth > NESTING_MAX {
        return Err(PyValueError::new_err("nested too deep"));
    }
    let name: String = kind.get_item(0)?.extract()?;
    Ok(match name.as_str() {
        "bool" => Type::Bool,
        "int64" => Type::Int,
        "float64" => Type::Float,
        "string" => Type::Text,
        "date" => Type::Date,
        "timestamp" => Type::Time,
        "json" => Type::Json,
        "decimal" => Type::Decimal { precision: kind.get_item(1)?.extract()?, scale: kind.get_item(2)?.extract()? },
        "epoch" => Type::Epoch(kind.get_item(1)?.extract()?),
        "list" => Type::List(Box::new(read_type(kind.get_item(1)?.cast()?, structs, depth + 1)?)),
        "map" => Type::Map(Box::new(read_type(kind.get_item(1)?.cast()?, structs, depth + 1)?)),
        "struct" => Type::Struct(read_struct(&kind.get_item(1)?, structs, depth)?),
        _ => return Err(PyValueError::new_err("unknown type")),
    })
}

/// A parsed block.
#[pyclass(frozen)]
struct Block {
    parsed: Parsed,
}

#[pymethods]
impl Block {
    /// The Arrow PyCapsule interface: the record batch as schema and array.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        let _ = requested_schema; // a request that may be left unanswered
        let (array, schema) =
            to_ffi(&self.parsed.batch.to_data()).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok((
            PyCapsule::new_with_value(py, schema, c"arrow_schema")?,
            PyCapsule::new_with_value(py, array, c"arrow_array")?,
        ))
    }

    /// The line of each row, or None if every line is a row.
    #[getter]
    fn row_lines(&self) -> Option<Vec<usize>> {
        (self.parsed.row_lines.len() < self.parsed.lines).then(|| self.parsed.row_lines.clone())
    }

    /// Line, offset and length of each line that is no record.
    #[getter]
    fn rejects(&self) -> Vec<(usize, usize, usize)> {
        self.parsed.rejects.clone()
    }

    #[getter]
    fn blanks(&self) -> Vec<usize> {
        self.parsed.blanks.clone()
    }

    #[getter]
    fn lines(&self) -> usize {
        self.parsed.lines
    }

    #[getter]
    fn rescued_values(&self) -> usize {
        self.parsed.rescued_values
    }

    #[getter]
    fn unknown_rows(&self) -> Vec<usize> {
        self.parsed.unknown_rows.clone()
    }

    /// The counts of values under unknown keys, as nested tuples in the order of `Seen`'s fields.
    #[getter]
    fn unknown<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        show(py, &self.parsed.unknown)
    }
}

fn show<'py>(py: Python<'py>, seen: &Seen) -> PyResult<Bound<'py, PyTuple>> {
    let members = PyList::empty(py);
    for (key, member) in seen.found() {
        members.append((key, show(py, member)?))?;
    }
    let element = seen.element.as_ref().map(|element| show(py, element)).transpose()?;
    let counts = (seen.bools, seen.ints, seen.reals, seen.strings, seen.timestamps, seen.lists);
    let rest = (seen.objects, seen.keys, seen.overflow, element, members);
    (counts, rest).into_pyobject(py)
}

/// Headsaw's NDJSON parser, compiled.
#[pymodule]
fn headsaw_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(newlines, module)?)?;
    module.add_class::<Plan>()?;
    module.add_class::<crate::python_file::PyTableFile>()?;
    module.add_class::<Block>()
}
