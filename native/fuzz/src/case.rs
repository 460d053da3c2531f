//! A fuzzer's input: one line that names a table schema and rules, and the block behind it.
//!
//! Each letter of the line is a type (`LEAVES`, `l` and `m` with the type that follows, `(` with types up to `)`), each
//! digit a limit of depth, and `?` infers timestamps. Columns and members are named in order. Any bytes are a case.
//! tests/property/differential.py reads the same form.

use headsaw_native::plan::{Struct, Type};
use headsaw_native::rows::Rules;

const NAMES: [&str; 13] =
    ["a", "b", "c", "", "a.b", "~", "a/b", "\"q", "é", "seven77", "eight888", "fifteen_letters", "sixteen__letters"];
const DEPTHS: [usize; 10] = [1, 2, 3, 4, 5, 8, 16, 17, 32, 100];
const NESTING_MAX: usize = 8;

/// A block, and how it is to be read.
pub struct Case<'d> {
    pub table: Struct,
    pub structs: usize,
    pub rules: Rules,
    pub block: &'d [u8],
}

impl<'d> Case<'d> {
    /// The case that these bytes are.
    pub fn read(data: &'d [u8]) -> Self {
        let end = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
        let rules = Rules { depth_max: 256, infer_timestamps: false, observe_only: false };
        let mut head = Head { text: &data[..end], structs: 0, rules };
        let table = head.members(0);
        Self { table, structs: head.structs, rules: head.rules, block: data.get(end + 1..).unwrap_or_default() }
    }
}

struct Head<'d> {
    text: &'d [u8],
    structs: usize,
    rules: Rules,
}

impl Head<'_> {
    fn members(&mut self, depth: usize) -> Struct {
        let id = self.structs;
        self.structs += 1;
        let mut kinds = Vec::new();
        while kinds.len() < NAMES.len() {
            match self.next() {
                None => break,
                Some(b')') if depth > 0 => break,
                Some(letter) => kinds.extend(self.kind(letter, depth)),
            }
        }
        Struct::new(id, NAMES.iter().map(ToString::to_string).zip(kinds).collect())
    }

    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.text.split_first()?;
        self.text = rest;
        Some(byte)
    }

    /// The type that the letter begins, if it begins any.
    fn kind(&mut self, letter: u8, depth: usize) -> Option<Type> {
        Some(match letter {
            b'b' => Type::Bool,
            b'i' => Type::Int,
            b'f' => Type::Float,
            b's' => Type::Text,
            b'd' => Type::Date,
            b't' => Type::Time,
            b'j' => Type::Json,
            b'1'..=b'9' | b'0' => {
                self.rules.depth_max = DEPTHS[usize::from(letter - b'0')];
                return None;
            }
            b'?' => {
                self.rules.infer_timestamps = true;
                return None;
            }
            b'x' => Type::Decimal { precision: 12, scale: 2 },
            b'y' => Type::Decimal { precision: 38, scale: 9 },
            b'z' => Type::Decimal { precision: 38, scale: 38 },
            b'S' => Type::Epoch(1_000_000),
            b'M' => Type::Epoch(1_000),
            b'U' => Type::Epoch(1),
            b'l' | b'm' | b'(' if depth == NESTING_MAX => Type::Json,
            b'l' => Type::List(Box::new(self.inner(depth))),
            b'm' => Type::Map(Box::new(self.inner(depth))),
            b'(' => match self.members(depth + 1) {
                members if members.fields.is_empty() => Type::Json, // Parquet has no empty structs
                members => Type::Struct(members),
            },
            _ => return None,
        })
    }

    fn inner(&mut self, depth: usize) -> Type {
        self.next().and_then(|letter| self.kind(letter, depth + 1)).unwrap_or(Type::Json)
    }
}
