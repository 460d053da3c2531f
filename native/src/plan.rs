//! The table schema as the parser uses it: types with the names, patterns and pointer steps of their members.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex};

use arrow_schema::{DataType, Field as ArrowField, Fields, TimeUnit};

use crate::columns::{Objects, Size};

/// Schemas nested deeper are left to the reference parser: the walk over a schema is recursive.
pub const NESTING_MAX: usize = 128;

/// A column's type. `Epoch` holds the microseconds of its unit.
#[derive(Debug)]
pub enum Type {
    /// true and false
    Bool,
    /// integers of 64 bits
    Int,
    /// doubles
    Float,
    /// strings
    Text,
    /// days, written `2026-11-23`
    Date,
    /// RFC 3339 instants
    Time,
    /// any value, as compact JSON text
    Json,
    /// exact numbers of `precision` digits, `scale` of them after the point
    Decimal {
        /// digits in all
        precision: u8,
        /// digits after the point
        scale: u8,
    },
    /// instants written as numbers
    Epoch(i64),
    /// arrays
    List(Box<Type>),
    /// objects with any keys
    Map(Box<Type>),
    /// objects with known members
    Struct(Struct),
}

/// The members of an object or of the table.
#[derive(Debug)]
pub struct Struct {
    /// Numbers the structs of a schema from 0.
    pub id: usize,
    /// In the schema's order.
    pub fields: Vec<Field>,
    index: HashMap<Box<[u8]>, usize, BuildHasherDefault<Mix>>,
    arrow: Fields,
    /// What the columns took in the last block, if this is the table.
    sizes: Mutex<Vec<Size>>,
}

/// A member or column.
#[derive(Debug)]
pub struct Field {
    /// As it stands in the schema.
    pub name: String,
    /// Its step of a JSON Pointer.
    pub step: String,
    /// How it is written in a line.
    pub key: Key,
    /// Its type.
    pub kind: Type,
}

impl Struct {
    /// The struct number `id` with these members.
    #[must_use]
    pub fn new(id: usize, members: Vec<(String, Type)>) -> Self {
        let index = members.iter().enumerate().map(|(at, (name, _))| (name.as_bytes().into(), at)).collect();
        let fields: Vec<_> = members
            .into_iter()
            .map(|(name, kind)| Field { step: pointer_step(&name), key: Key::new(&name), name, kind })
            .collect();
        let arrow = fields.iter().map(|field| ArrowField::new(&field.name, field.kind.arrow(), true)).collect();
        Self { id, fields, index, arrow, sizes: Mutex::default() }
    }

    /// What the columns took in the last block; nothing before there was one.
    #[must_use]
    pub fn sizes(&self) -> Vec<Size> {
        self.sizes.lock().map(|sizes| sizes.clone()).unwrap_or_default()
    }

    /// The next block's columns begin with as much room as these took.
    pub fn remember(&self, columns: &Objects<'_>) {
        if let Ok(mut sizes) = self.sizes.lock() {
            sizes.clear();
            columns.sizes(&mut sizes);
        }
    }

    /// Which member has that name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The Arrow fields, all nullable.
    #[must_use]
    pub fn arrow(&self) -> Fields {
        self.arrow.clone()
    }
}

impl Type {
    /// The Arrow type that holds the column.
    #[must_use]
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Text | Self::Json => DataType::Utf8,
            Self::Date => DataType::Date32,
            Self::Time | Self::Epoch(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, scale.cast_signed()),
            Self::List(element) => DataType::List(Arc::new(ArrowField::new("element", element.arrow(), true))),
            Self::Map(value) => DataType::Map(Arc::new(map_entries(value)), false),
            Self::Struct(members) => DataType::Struct(members.arrow()),
        }
    }

    /// A container's values have places of their own.
    #[must_use]
    pub fn nested(&self) -> bool {
        matches!(self, Self::List(_) | Self::Map(_) | Self::Struct(_))
    }
}

fn map_entries(value: &Type) -> ArrowField {
    let fields = Fields::from(vec![
        ArrowField::new("key", DataType::Utf8, false),
        ArrowField::new("value", value.arrow(), true),
    ]);
    ArrowField::new("entries", DataType::Struct(fields), false)
}

fn pointer_step(key: &str) -> String {
    let mut step = Vec::new();
    push_step(key.as_bytes(), &mut step);
    String::from_utf8(step).unwrap_or_default()
}

/// One more step of a JSON Pointer (RFC 6901).
pub fn push_step(key: &[u8], pointer: &mut Vec<u8>) {
    pointer.push(b'/');
    for &byte in key {
        match byte {
            b'~' => pointer.extend_from_slice(b"~0"),
            b'/' => pointer.extend_from_slice(b"~1"),
            _ => pointer.push(byte),
        }
    }
}

/// A name as it stands in a line: with its closing quote, or nothing if it can only be written with escapes.
#[derive(Debug)]
pub struct Key {
    pattern: Box<[u8]>,
    head: u64,
    head_mask: u64,
    tail: u64,
}

impl Key {
    fn new(name: &str) -> Self {
        let mut pattern = name.as_bytes().to_vec();
        if pattern.iter().any(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            pattern.clear();
        } else {
            pattern.push(b'"');
        }
        let mut word = [0; 8];
        let mut mask = [0; 8];
        for at in 0..pattern.len().min(8) {
            word[at] = pattern[at];
            mask[at] = 0xff;
        }
        let tail = pattern.last_chunk::<8>().map_or(0, |last| u64::from_le_bytes(*last));
        Self { head: u64::from_le_bytes(word), head_mask: u64::from_le_bytes(mask), tail, pattern: pattern.into() }
    }

    /// The bytes that the name takes from `at` on, closing quote included, if it stands there.
    #[inline]
    #[must_use]
    pub fn matched(&self, data: &[u8], at: usize) -> Option<usize> {
        let length = self.pattern.len();
        if length == 0 {
            return None;
        }
        let equal = match data.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
            Some(window) if length <= 16 => {
                let head = u64::from_le_bytes(window[..8].try_into().unwrap_or_default());
                head & self.head_mask == self.head
                    && (length <= 8 || {
                        let tail = u64::from_le_bytes(window[length - 8..length].try_into().unwrap_or_default());
                        tail == self.tail
                    })
            }
            _ => data.get(at..at + length) == Some(&self.pattern),
        };
        equal.then_some(length)
    }
}

/// A hash for short names. Names come from the schema, and only their own lookups are slow if they collide.
#[derive(Debug, Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_usize(&mut self, length: usize) {
        self.add(length as u64);
    }
}

impl Mix {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
