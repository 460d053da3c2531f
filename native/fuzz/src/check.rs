//! What holds of any case: every line is accounted for, every value is in its column or rescued, and a block is no more
//! than its lines.

use arrow_array::cast::AsArray;
use arrow_array::{Array, StructArray};
use headsaw_native::plan::{Struct, Type};
use headsaw_native::rows::{Parsed, Rules, parse};
use headsaw_native::scan::Bad;

use crate::case::Case;
use crate::expect::{expected, found};
use crate::json::{self, Members, Value};

/// Panics unless everything holds of the case that these bytes are.
pub fn check(data: &[u8]) {
    let case = Case::read(data);
    let lines: Vec<&[u8]> = case.block.split_inclusive(|&byte| byte == b'\n').collect();
    let alone: Vec<_> = lines.iter().map(|line| run(&case, line, false)).collect();
    let Some(whole) = run(&case, case.block, false) else {
        assert!(odd_zero(case.block), "only a zero with a huge exponent is left to the reference");
        assert!(alone.iter().any(Option::is_none), "a line of it is left to the reference, too");
        return;
    };
    let observed = run(&case, case.block, true).expect("what is parsed is observed");
    assert_eq!(observed.unknown, whole.unknown, "observing sees what parsing sees");
    whole.batch.to_data().validate_full().expect("a valid batch");
    let alone: Vec<_> = alone.into_iter().map(|line| line.expect("its block wasn't left to the reference")).collect();
    accounts(&whole, &lines, case.rules);
    values(&whole, &lines, &case);
    is_its_lines(&whole, &alone);
}

fn run(case: &Case<'_>, block: &[u8], observe_only: bool) -> Option<Parsed> {
    match parse(&[block], &case.table, case.structs, Rules { observe_only, ..case.rules }) {
        Ok(parsed) => Some(parsed),
        Err(Bad::Block) => None,
        Err(Bad::Line) => panic!("a bad line is a reject"),
    }
}

/// Some number has an exponent of ten digits.
fn odd_zero(block: &[u8]) -> bool {
    block
        .windows(11)
        .any(|window| matches!(window[0], b'e' | b'E' | b'+' | b'-') && window[1..].iter().all(u8::is_ascii_digit))
}

/// Each line is a row, a reject or blank: the one that it is for the other JSON reader.
fn accounts(parsed: &Parsed, lines: &[&[u8]], rules: Rules) {
    assert_eq!(parsed.lines, lines.len());
    assert_eq!(parsed.batch.len(), parsed.row_lines.len());
    assert_eq!(parsed.lines, parsed.row_lines.len() + parsed.rejects.len() + parsed.blanks.len());
    let (mut rows, mut rejects, mut blanks) = (parsed.row_lines.iter(), parsed.rejects.iter(), parsed.blanks.iter());
    let mut offset = 0;
    for (number, whole) in lines.iter().enumerate() {
        let line = whole.strip_suffix(b"\n").unwrap_or(whole);
        if json::record(line, rules.depth_max).is_some() {
            assert_eq!(rows.next(), Some(&number), "a record is a row");
        } else if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            assert_eq!(blanks.next(), Some(&number), "a line without content is blank");
        } else {
            assert_eq!(rejects.next(), Some(&(number, offset, line.len())), "what is no record is a reject");
        }
        offset += whole.len();
    }
}

/// Each value of each row is in its column, or rescued under its pointer; nothing else is in either.
fn values(parsed: &Parsed, lines: &[&[u8]], case: &Case<'_>) {
    let (columns, rescued) = parsed.batch.columns().split_at(case.table.fields.len());
    let rescued = rescued[0].as_string::<i32>();
    let (mut all, mut unknown_rows) = (0, Vec::new());
    for (row, &number) in parsed.row_lines.iter().enumerate() {
        let line = lines[number].strip_suffix(b"\n").unwrap_or(lines[number]);
        let record = json::record(line, case.rules.depth_max).expect("a row is a record");
        let mut walk = Walk::default();
        walk.object(&case.table, columns, row, &record);
        walk.rescued.sort();
        all += walk.rescued.len();
        if walk.unknown {
            unknown_rows.push(row);
        }
        let kept = if rescued.is_null(row) {
            Members::new()
        } else {
            json::record(rescued.value(row).as_bytes(), usize::MAX).expect("rescued data is an object")
        };
        assert!(rescued.is_null(row) || !kept.is_empty(), "nothing rescued is null");
        assert_eq!(kept, walk.rescued, "what no column holds is rescued, in the order of the pointers");
    }
    assert_eq!(parsed.rescued_values, all);
    assert_eq!(parsed.unknown_rows, unknown_rows);
}

/// The way through a record beside its row.
#[derive(Default)]
struct Walk {
    pointer: String,
    rescued: Members,
    unknown: bool,
}

impl Walk {
    fn object(&mut self, plan: &Struct, columns: &[arrow_array::ArrayRef], at: usize, members: &Members) {
        for (field, column) in plan.fields.iter().zip(columns) {
            match members.iter().find(|(key, _)| *key == field.name) {
                Some((key, value)) => self.below(key, |walk| walk.value(&field.kind, column, at, value)),
                None => assert!(column.is_null(at), "a member that isn't there is null"),
            }
        }
        for (key, value) in members {
            if plan.fields.iter().all(|field| field.name != *key) && *value != Value::Null {
                self.unknown = true;
                self.below(key, |walk| walk.rescue(value));
            }
        }
    }

    fn value(&mut self, kind: &Type, column: &dyn Array, at: usize, value: &Value) {
        if *value == Value::Null {
            assert!(column.is_null(at), "null is null");
            return;
        }
        match (kind, value) {
            (Type::Struct(plan), Value::Object(members)) => {
                assert!(column.is_valid(at), "an object fits a struct");
                self.object(plan, column.as_struct().columns(), at, members);
            }
            (Type::List(element), Value::List(items)) => {
                assert!(column.is_valid(at), "a list fits a list");
                let elements = column.as_list::<i32>().value(at);
                assert_eq!(elements.len(), items.len());
                for (index, item) in items.iter().enumerate() {
                    self.below(&index.to_string(), |walk| walk.value(element, &elements, index, item));
                }
            }
            (Type::Map(inner), Value::Object(members)) => {
                assert!(column.is_valid(at), "an object fits a map");
                self.map(inner, &column.as_map().value(at), members);
            }
            (Type::Struct(_) | Type::List(_) | Type::Map(_), _) => self.misfit(column, at, value),
            _ => match expected(kind, value) {
                (Some(cell), certain) if certain || column.is_valid(at) => {
                    assert!(column.is_valid(at), "{value:?} fits {kind:?}");
                    assert_eq!(found(kind, column, at), cell, "{value:?}");
                }
                _ => self.misfit(column, at, value),
            },
        }
    }

    fn map(&mut self, inner: &Type, entries: &StructArray, members: &Members) {
        assert_eq!(entries.len(), members.len());
        let keys = entries.column(0).as_string::<i32>();
        for (index, (key, value)) in members.iter().enumerate() {
            assert_eq!(keys.value(index), key);
            self.below(key, |walk| walk.value(inner, entries.column(1), index, value));
        }
    }

    fn misfit(&mut self, column: &dyn Array, at: usize, value: &Value) {
        assert!(column.is_null(at), "{value:?} doesn't fit its column");
        self.rescue(value);
    }

    fn rescue(&mut self, value: &Value) {
        self.rescued.push((self.pointer.clone(), value.clone()));
    }

    fn below(&mut self, key: &str, visit: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        visit(self);
        self.pointer.truncate(length);
    }
}

/// The block's rows are those of its lines, each parsed alone.
fn is_its_lines(whole: &Parsed, alone: &[Parsed]) {
    let mut row = 0;
    for line in alone {
        assert_eq!(line.lines, 1);
        if line.row_lines.is_empty() {
            continue;
        }
        assert_eq!(line.batch.to_data(), whole.batch.slice(row, 1).to_data(), "a row doesn't depend on its neighbours");
        assert_eq!(line.unknown_rows.len(), usize::from(whole.unknown_rows.contains(&row)));
        row += 1;
    }
    assert_eq!(row, whole.row_lines.len());
    assert_eq!(whole.rescued_values, alone.iter().map(|line| line.rescued_values).sum::<usize>());
}
