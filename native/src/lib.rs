//! Headsaw's NDJSON parser: a block of whole lines and a table schema in; an Arrow record batch, what isn't a record,
//! what no column holds and what the schema lacks out. It agrees with `headsaw.convert.reference` to the last byte,
//! or says that a block is the reference parser's.

pub mod columns;
pub mod number;
pub mod plan;
#[cfg(feature = "python")]
mod python;
#[cfg(feature = "python")]
mod python_file;
pub mod rows;
pub mod scan;
pub mod seen;
pub mod table_file;
pub mod time;
