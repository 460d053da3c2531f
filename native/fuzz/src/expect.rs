//! What a column without members must hold of a value: worked out by other means than the parser's.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, NaiveDate};
use headsaw_native::plan::Type;

use crate::json::{self, Value};

/// What a place in a column holds. Days, instants and decimals are their integers, doubles their bits.
#[derive(Debug, PartialEq)]
pub enum Cell {
    Bool(bool),
    Int(i128),
    Float(u64),
    Text(String),
    Json(Value),
}

/// The place of the column, which isn't null.
pub fn found(kind: &Type, column: &dyn Array, at: usize) -> Cell {
    match kind {
        Type::Bool => Cell::Bool(column.as_boolean().value(at)),
        Type::Int => Cell::Int(column.as_primitive::<Int64Type>().value(at).into()),
        Type::Float => Cell::Float(column.as_primitive::<Float64Type>().value(at).to_bits()),
        Type::Text => Cell::Text(column.as_string::<i32>().value(at).to_owned()),
        Type::Json => {
            let text = column.as_string::<i32>().value(at);
            Cell::Json(json::value(text, usize::MAX).expect("JSON text in a column of JSON"))
        }
        Type::Date => Cell::Int(column.as_primitive::<Date32Type>().value(at).into()),
        Type::Time | Type::Epoch(_) => Cell::Int(column.as_primitive::<TimestampMicrosecondType>().value(at).into()),
        Type::Decimal { .. } => Cell::Int(column.as_primitive::<Decimal128Type>().value(at)),
        Type::List(_) | Type::Map(_) | Type::Struct(_) => unreachable!("it has members"),
    }
}

/// What the value is in such a column, if it fits; and whether that is all that may be there, or null is right too.
pub fn expected(kind: &Type, value: &Value) -> (Option<Cell>, bool) {
    let cell = match (kind, value) {
        (Type::Json, value) => Some(Cell::Json(value.clone())),
        (Type::Bool, Value::Bool(flag)) => Some(Cell::Bool(*flag)),
        (Type::Text, Value::Text(text)) => Some(Cell::Text(text.clone())),
        (Type::Date, Value::Text(text)) => date(text),
        (Type::Time, Value::Text(text)) => return (instant(text), false),
        (Type::Float, Value::Number(text)) => return float(text),
        (Type::Int, Value::Number(text)) => {
            exact(text, 0, 19).filter(|number| i64::try_from(*number).is_ok()).map(Cell::Int)
        }
        (Type::Decimal { precision, scale }, Value::Number(text)) => {
            exact(text, i64::from(*scale), usize::from(*precision)).map(Cell::Int)
        }
        (Type::Epoch(unit), Value::Number(text)) => {
            exact(text, i64::from(unit.ilog10()), 19).filter(in_range).map(Cell::Int)
        }
        _ => None,
    };
    (cell, true)
}

fn in_range(micros: &i128) -> bool {
    let at = i64::try_from(*micros).ok().and_then(DateTime::from_timestamp_micros);
    at.is_some_and(|at| (1..=9999).contains(&at.year()))
}

fn date(text: &str) -> Option<Cell> {
    let digits = |range| text.get(range).filter(|part: &&str| part.bytes().all(|byte| byte.is_ascii_digit()));
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    if text != format!("{year}-{month}-{day}") || year == "0000" {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)?;
    Some(Cell::Int(date.signed_duration_since(NaiveDate::default()).num_days().into()))
}

fn instant(text: &str) -> Option<Cell> {
    let micros = i128::from(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros());
    in_range(&micros).then_some(Cell::Int(micros))
}

/// Up to 15 digits always come back from a double, over 17 never do; between them it depends.
fn float(text: &str) -> (Option<Cell>, bool) {
    let (_, digits, _) = normal(text);
    let value: f64 = text.parse().expect("a JSON number is a double's text");
    if digits.len() > 17 || !value.is_finite() || (value == 0.0 && !digits.is_empty()) {
        return (None, true);
    }
    let certain = digits.is_empty() || (digits.len() <= 15 && value.is_normal());
    (Some(Cell::Float(value.to_bits())), certain)
}

/// The number times 10^scale, if that is an integer of at most so many digits.
fn exact(text: &str, scale: i64, digits_max: usize) -> Option<i128> {
    let (negative, digits, exponent) = normal(text);
    if digits.is_empty() {
        return Some(0);
    }
    let zeros = usize::try_from(exponent.checked_add(scale)?).ok()?;
    if digits.len().checked_add(zeros)? > digits_max {
        return None;
    }
    let value: i128 = format!("{digits}{}", "0".repeat(zeros)).parse().ok()?;
    Some(if negative { -value } else { value })
}

/// The sign, the digits without zeros around them, and the exponent of ten that they are multiplied with.
fn normal(text: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let unsigned = mantissa.trim_start_matches('-');
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all = format!("{whole}{fraction}");
    let cut = all.trim_end_matches('0');
    let far = if exponent.starts_with('-') { i64::MIN / 4 } else { i64::MAX / 4 };
    let exponent = exponent.parse().unwrap_or(far).clamp(i64::MIN / 4, i64::MAX / 4);
    let zeros = i64::try_from(all.len() - cut.len()).unwrap_or(0) - i64::try_from(fraction.len()).unwrap_or(0);
    (mantissa.starts_with('-'), cut.trim_start_matches('0').to_owned(), exponent + zeros)
}
