//! Blocks under table schemas, and what must hold of each: `check` panics where it doesn't.

mod case;
mod check;
mod expect;
mod json;

pub use check::check;
