//! Lines into columns, in one pass: the walk over the table schema that each line is read with.

use arrow_array::{ArrayRef, StructArray};
use arrow_schema::{ArrowError, DataType, Field as ArrowField, Fields};
use memchr::memchr;

use crate::columns::{Guess, Lists, Maps, Node, Objects, Texts};
use crate::number::eight_digits;
use crate::plan::{Struct, push_step};
use crate::scan::{Bad, Cursor, Open, Outcome, distinct, escape};
use crate::seen::{Seen, gather};
use crate::time::{date, in_range, instant};

/// Larger blocks are the reference parser's: offsets are of 32 bits.
pub const BLOCK_BYTES_MAX: usize = 1 << 29;

/// What of a dataset's settings a parser needs.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Objects and lists that may be open at once.
    pub depth_max: usize,
    /// Strings that are timestamps are counted.
    pub infer_timestamps: bool,
    /// Only `Parsed::unknown` is wanted.
    pub observe_only: bool,
}

/// A block as the table schema sees it.
#[derive(Debug)]
pub struct Parsed {
    /// The columns and `_rescued_data`.
    pub batch: StructArray,
    /// The line of each row.
    pub row_lines: Vec<usize>,
    /// Lines that aren't records: line, offset, length.
    pub rejects: Vec<(usize, usize, usize)>,
    /// Lines without content.
    pub blanks: Vec<usize>,
    /// Lines in all.
    pub lines: usize,
    /// Values that no column holds.
    pub rescued_values: usize,
    /// What those among them were that are under unknown keys.
    pub unknown: Seen,
    /// Rows that have such.
    pub unknown_rows: Vec<usize>,
}

/// One step of the way to the value that is being read.
#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    /// A JSON Pointer's step.
    Name(&'p str),
    /// A list's element.
    Index(usize),
    /// A map's key, in `Row::names`.
    Key(usize, usize),
}

/// A value that no column holds: its JSON Pointer and its text, both in `Row::texts`.
#[derive(Debug)]
struct Rescue {
    pointer: (usize, usize),
    text: (usize, usize),
}

/// A member that the schema doesn't know: its struct, which of the row's objects, its name and text.
#[derive(Debug)]
struct Unknown {
    id: usize,
    object: usize,
    name: (usize, usize),
    text: (usize, usize),
}

/// What is known of the line that is being read; it counts once the line is known to be a record.
struct Row<'p, 'b> {
    cursor: Cursor<'b>,
    rules: Rules,
    path: Vec<Step<'p>>,
    open: Open,
    /// Decoded names of unknown members and map keys.
    names: Vec<u8>,
    /// The names of the open objects' unknown members.
    spans: Vec<(usize, usize)>,
    texts: Vec<u8>,
    scratch: Vec<u8>,
    rescues: Vec<Rescue>,
    unknowns: Vec<Unknown>,
    /// Objects so far, of all rows.
    objects: usize,
}

/// Whether the column holds the value; otherwise the cursor is where the value begins, and nothing was put.
type Fits = bool;

impl<'p> Row<'p, '_> {
    fn clear(&mut self) {
        self.path.clear();
        self.names.clear();
        self.spans.clear();
        self.texts.clear();
        self.rescues.clear();
        self.unknowns.clear();
    }

    /// The object under the cursor is in the columns at that index. `depth` counts it.
    fn object(&mut self, objects: &mut Objects<'p>, at: usize, depth: usize) -> Outcome {
        if depth > self.rules.depth_max {
            return Err(Bad::Line);
        }
        self.cursor.at += 1;
        self.objects += 1;
        let object = self.objects;
        let base = self.spans.len();
        let mut before = usize::MAX;
        self.cursor.space();
        if self.cursor.peek() == b'}' {
            self.cursor.at += 1;
            objects.end(at);
            return Ok(());
        }
        loop {
            self.cursor.expect(b'"')?;
            let found = self.key(objects, before)?;
            self.cursor.space();
            self.cursor.expect(b':')?;
            self.cursor.space();
            if let Some(index) = found {
                before = index;
                let member = &mut objects.members[index];
                if member.owner == object {
                    return Err(Bad::Line); // the key's second time
                }
                member.owner = object;
                self.member(&mut member.node, at, Step::Name(&member.plan.step), depth)?;
            } else {
                self.unknown(objects.plan.id, object, depth)?;
            }
            self.cursor.space();
            match self.cursor.peek() {
                b',' => self.cursor.at += 1,
                b'}' => break,
                _ => return Err(Bad::Line),
            }
            self.cursor.space();
        }
        self.cursor.at += 1;
        if self.spans.len() > base {
            if !distinct(&self.names, &mut self.spans[base..]) {
                return Err(Bad::Line);
            }
            self.spans.truncate(base);
        }
        objects.end(at);
        Ok(())
    }

    /// Which member the name under the cursor is, which comes after member `before`; if none, see `name`.
    #[inline]
    fn key(&mut self, objects: &mut Objects<'p>, before: usize) -> Outcome<Option<usize>> {
        let guess = objects.after(before);
        if let Some(length) = self.named(objects, guess.likely) {
            self.cursor.at += length;
            return Ok(Some(guess.likely));
        }
        let found = match self.named(objects, guess.other) {
            Some(length) => {
                self.cursor.at += length;
                Some(guess.other)
            }
            None => self.name(objects.plan)?,
        };
        if let Some(index) = found {
            *objects.after_mut(before) = Guess { likely: index, other: guess.likely };
        }
        Ok(found)
    }

    /// The length of the name under the cursor if it is that member's.
    #[inline]
    fn named(&self, objects: &Objects<'p>, index: usize) -> Option<usize> {
        objects.members.get(index)?.plan.key.matched(self.cursor.data, self.cursor.at)
    }

    /// Which member the name under the cursor is; if none, it is the last of `names` and `spans`.
    fn name(&mut self, plan: &Struct) -> Outcome<Option<usize>> {
        let start = self.names.len();
        if let Some(name) = self.cursor.plain_string() {
            if let Some(index) = plan.find(name) {
                return Ok(Some(index));
            }
            self.names.extend_from_slice(name);
        } else {
            self.cursor.string::<false>(&mut self.names)?;
            if let Some(index) = plan.find(&self.names[start..]) {
                self.names.truncate(start);
                return Ok(Some(index));
            }
        }
        self.spans.push((start, self.names.len()));
        Ok(None)
    }

    /// The value of a member that the schema doesn't know; its name is the last of `spans`.
    fn unknown(&mut self, id: usize, object: usize, depth: usize) -> Outcome {
        let name = *self.spans.last().ok_or(Bad::Block)?;
        let text = self.text(depth)?;
        self.texts.push(b','); // a number's end, for who reads from its beginning
        self.unknowns.push(Unknown { id, object, name, text });
        if !self.rules.observe_only && &self.texts[text.0..text.1] != b"null" {
            let pointer = self.pointer(Step::Key(name.0, name.1));
            self.rescues.push(Rescue { pointer, text });
        }
        Ok(())
    }

    /// The place in `texts` of the value under the cursor.
    fn text(&mut self, depth: usize) -> Outcome<(usize, usize)> {
        let start = self.texts.len();
        self.cursor.value(&mut self.texts, &mut self.open, depth, self.rules.depth_max)?;
        Ok((start, self.texts.len()))
    }

    /// The place in `texts` of the JSON Pointer to a value behind the last step.
    fn pointer(&mut self, last: Step<'p>) -> (usize, usize) {
        let start = self.texts.len();
        for step in self.path.iter().chain([&last]) {
            match *step {
                Step::Name(step) => self.texts.extend_from_slice(step.as_bytes()),
                Step::Index(index) => self.texts.extend_from_slice(format!("/{index}").as_bytes()),
                Step::Key(start, end) => push_step(&self.names[start..end], &mut self.texts),
            }
        }
        (start, self.texts.len())
    }

    /// The value under the cursor is in the column at that index, or null there and rescued.
    #[inline]
    fn member(&mut self, node: &mut Node<'p>, at: usize, step: Step<'p>, depth: usize) -> Outcome {
        let fits = if node.nested() {
            self.path.push(step);
            let fits = self.nested(node, at, depth)?;
            self.path.pop();
            fits
        } else {
            self.scalar(node, at, depth)?
        };
        if fits {
            return Ok(());
        }
        if self.cursor.peek() == b'n' {
            return self.cursor.word(b"null");
        }
        self.misfit(step, depth)
    }

    #[cold]
    fn misfit(&mut self, step: Step<'p>, depth: usize) -> Outcome {
        let text = self.text(depth)?;
        if self.rules.observe_only {
            return Ok(());
        }
        let pointer = self.pointer(step);
        self.rescues.push(Rescue { pointer, text });
        Ok(())
    }

    fn nested(&mut self, node: &mut Node<'p>, at: usize, depth: usize) -> Outcome<Fits> {
        let byte = self.cursor.peek();
        match node {
            Node::Struct(objects) if byte == b'{' => self.object(objects, at, depth + 1)?,
            Node::List(lists) if byte == b'[' => self.list(lists, at, depth + 1)?,
            Node::Map(maps) if byte == b'{' => self.map(maps, at, depth + 1)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn list(&mut self, lists: &mut Lists<'p>, at: usize, depth: usize) -> Outcome {
        if depth > self.rules.depth_max {
            return Err(Bad::Line);
        }
        lists.spans.pad(at);
        self.cursor.at += 1;
        self.cursor.space();
        if self.cursor.peek() == b']' {
            self.cursor.at += 1;
            return lists.spans.end();
        }
        let first = lists.spans.count;
        loop {
            let element = lists.spans.count;
            lists.spans.count += 1;
            self.member(&mut lists.elements, element, Step::Index(element - first), depth)?;
            self.cursor.space();
            match self.cursor.peek() {
                b',' => self.cursor.at += 1,
                b']' => break,
                _ => return Err(Bad::Line),
            }
            self.cursor.space();
        }
        self.cursor.at += 1;
        lists.spans.end()
    }

    fn map(&mut self, maps: &mut Maps<'p>, at: usize, depth: usize) -> Outcome {
        if depth > self.rules.depth_max {
            return Err(Bad::Line);
        }
        maps.spans.pad(at);
        self.cursor.at += 1;
        self.cursor.space();
        if self.cursor.peek() == b'}' {
            self.cursor.at += 1;
            return maps.spans.end();
        }
        let first = maps.spans.count;
        loop {
            let entry = maps.spans.count;
            maps.spans.count += 1;
            self.cursor.expect(b'"')?;
            self.cursor.string::<false>(&mut maps.keys.data)?;
            maps.keys.end(entry)?;
            let (start, end) = maps.keys.span(entry);
            let name = self.names.len();
            self.names.extend_from_slice(&maps.keys.data[start..end]);
            self.cursor.space();
            self.cursor.expect(b':')?;
            self.cursor.space();
            self.member(&mut maps.values, entry, Step::Key(name, name + end - start), depth)?;
            self.cursor.space();
            match self.cursor.peek() {
                b',' => self.cursor.at += 1,
                b'}' => break,
                _ => return Err(Bad::Line),
            }
            self.cursor.space();
        }
        self.cursor.at += 1;
        let mut spans: Vec<_> = (first..maps.spans.count).map(|entry| maps.keys.span(entry)).collect();
        if !distinct(&maps.keys.data, &mut spans) {
            return Err(Bad::Line);
        }
        maps.spans.end()
    }

    #[inline]
    fn scalar(&mut self, node: &mut Node<'p>, at: usize, depth: usize) -> Outcome<Fits> {
        let byte = self.cursor.peek();
        match node {
            Node::Text(texts) if byte == b'"' => {
                self.cursor.at += 1;
                self.cursor.string::<false>(&mut texts.data)?;
                texts.end(at)?;
                Ok(true)
            }
            Node::Int(ints) => {
                if let Some(value) = self.small_int() {
                    ints.put(at, value);
                    return Ok(true);
                }
                self.number(byte, |number| number.int64().map(|value| ints.put(at, value)))
            }
            Node::Float(floats) => self.number(byte, |number| number.float64().map(|value| floats.put(at, value))),
            Node::Bool(bools) if byte == b't' || byte == b'f' => {
                self.cursor.word(if byte == b't' { b"true" } else { b"false" })?;
                bools.put(at, byte == b't');
                Ok(true)
            }
            Node::Json(texts) if byte != b'n' => {
                self.cursor.value(&mut texts.data, &mut self.open, depth, self.rules.depth_max)?;
                texts.end(at)?;
                Ok(true)
            }
            Node::Time(instants) if byte == b'"' => {
                self.timed(|text| instant(text).map(|value| instants.put(at, value)))
            }
            Node::Date(dates) if byte == b'"' => self.timed(|text| date(text).map(|value| dates.put(at, value))),
            Node::Epoch(instants, unit) => {
                let unit = i128::from(*unit);
                self.number(byte, |number| {
                    let scaled = number.decimal(25, 6)? * unit;
                    let value = (scaled % 1_000_000 == 0).then(|| in_range(scaled / 1_000_000))??;
                    instants.put(at, value);
                    Some(())
                })
            }
            Node::Decimal(decimals, precision, scale) => {
                let (precision, scale) = (*precision, *scale);
                self.number(byte, |number| number.decimal(precision, scale).map(|value| decimals.put(at, value)))
            }
            _ => Ok(false),
        }
    }

    /// The integer under the cursor, which is passed; None, and the cursor where it was, for any other number.
    #[inline]
    fn small_int(&mut self) -> Option<i64> {
        let negative = self.cursor.peek() == b'-';
        let start = self.cursor.at + usize::from(negative);
        let (mut at, mut value) = eight_digits(self.cursor.data, start);
        while let Some(digit) = self.cursor.data.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10)
        {
            if at - start == 19 {
                return None; // 19 nines are below 2^64
            }
            value = value * 10 + u64::from(digit);
            at += 1;
        }
        if at == start || (at - start > 1 && self.cursor.data[start] == b'0') {
            return None;
        }
        if matches!(self.cursor.data.get(at), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        let value = if negative { 0_i64.checked_sub_unsigned(value)? } else { i64::try_from(value).ok()? };
        self.cursor.at = at;
        Some(value)
    }

    fn number(&mut self, byte: u8, take: impl FnOnce(crate::number::Number<'_>) -> Option<()>) -> Outcome<Fits> {
        if byte != b'-' && !byte.is_ascii_digit() {
            return Ok(false);
        }
        let start = self.cursor.at;
        let number = self.cursor.number()?;
        if number.odd_zero() {
            return Err(Bad::Block);
        }
        let taken = take(number).is_some();
        if !taken {
            self.cursor.at = start;
        }
        Ok(taken)
    }

    fn timed(&mut self, take: impl FnOnce(&[u8]) -> Option<()>) -> Outcome<Fits> {
        let start = self.cursor.at;
        self.cursor.at += 1;
        let taken = if let Some(text) = self.cursor.plain_string() {
            take(text)
        } else {
            self.scratch.clear();
            self.cursor.string::<false>(&mut self.scratch)?;
            take(&self.scratch)
        };
        if taken.is_none() {
            self.cursor.at = start;
        }
        Ok(taken.is_some())
    }
}

/// The block's parts, each of whole lines, as the table schema sees them. A part's last line may lack its line feed;
/// places in the block are told as if it had one.
///
/// # Errors
///
/// `Bad::Block` where the block is the reference parser's.
pub fn parse(parts: &[&[u8]], table: &Struct, structs: usize, rules: Rules) -> Outcome<Parsed> {
    if parts.iter().map(|part| part.len() + 1).sum::<usize>() > BLOCK_BYTES_MAX {
        return Err(Bad::Block);
    }
    let mut table_rows = Table::new(table, structs, rules);
    for part in parts {
        table_rows.part(part)?;
    }
    table_rows.finish().map_err(|_| Bad::Block)
}

struct Table<'p, 'b> {
    plan: &'p Struct,
    columns: Objects<'p>,
    rescued: Texts,
    row: Row<'p, 'b>,
    seen: Vec<Seen>,
    /// Where in the block the part begins, and in the part the line.
    offset: usize,
    start: usize,
    lines: usize,
    row_lines: Vec<usize>,
    rejects: Vec<(usize, usize, usize)>,
    blanks: Vec<usize>,
    rescued_values: usize,
    unknown_rows: Vec<usize>,
}

impl<'p, 'b> Table<'p, 'b> {
    fn new(plan: &'p Struct, structs: usize, rules: Rules) -> Self {
        Self {
            plan,
            columns: Objects::new(plan, &mut plan.sizes().iter()),
            rescued: Texts::default(),
            row: Row {
                cursor: Cursor { data: &[], at: 0 },
                rules,
                path: Vec::new(),
                open: Open::default(),
                names: Vec::new(),
                spans: Vec::new(),
                texts: Vec::new(),
                scratch: Vec::new(),
                rescues: Vec::new(),
                unknowns: Vec::new(),
                objects: 0,
            },
            seen: (0..structs).map(|_| Seen::default()).collect(),
            offset: 0,
            start: 0,
            lines: 0,
            row_lines: Vec::new(),
            rejects: Vec::new(),
            blanks: Vec::new(),
            rescued_values: 0,
            unknown_rows: Vec::new(),
        }
    }

    /// The part's lines are rows, blank or rejects.
    fn part(&mut self, data: &'b [u8]) -> Outcome {
        self.row.cursor.data = data;
        self.start = 0;
        let valid = simdutf8::basic::from_utf8(data).is_ok();
        while self.start < data.len() {
            self.line(valid)?;
        }
        self.offset += self.start;
        Ok(())
    }

    /// The line that begins at `start` is a row, blank or a reject.
    fn line(&mut self, valid: bool) -> Outcome {
        let data = self.row.cursor.data;
        let row = self.row_lines.len();
        let valid = valid || std::str::from_utf8(&data[self.start..self.line_end()]).is_ok();
        match if valid { self.record(row) } else { Err(Bad::Line) } {
            Ok(()) => {
                self.commit(row)?;
                self.row_lines.push(self.lines);
                self.start = self.row.cursor.at + 1;
            }
            Err(Bad::Block) => return Err(Bad::Block),
            Err(Bad::Line) => {
                let end = self.line_end();
                let line = &data[self.start..end];
                if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
                    self.blanks.push(self.lines);
                } else {
                    self.columns.truncate(row);
                    self.rejects.push((self.lines, self.offset + self.start, end - self.start));
                }
                self.start = end + 1;
            }
        }
        self.lines += 1;
        Ok(())
    }

    fn line_end(&self) -> usize {
        let rest = &self.row.cursor.data[self.start..];
        self.start + memchr(b'\n', rest).unwrap_or(rest.len())
    }

    /// The line's values are in the columns; the cursor is at the line's end.
    fn record(&mut self, row: usize) -> Outcome {
        self.row.clear();
        self.row.cursor.at = self.start;
        self.row.cursor.space();
        if self.row.cursor.peek() != b'{' {
            return Err(Bad::Line);
        }
        self.row.object(&mut self.columns, row, 1)?;
        self.row.cursor.space();
        let cursor = &self.row.cursor;
        if cursor.at < cursor.data.len() && cursor.peek() != b'\n' {
            return Err(Bad::Line);
        }
        Ok(())
    }

    /// What the row has beyond its columns is kept.
    fn commit(&mut self, row: usize) -> Outcome {
        if self.row.rescues.is_empty() && self.row.unknowns.is_empty() {
            return Ok(());
        }
        self.count_unknown(row)?;
        let Row { rescues, texts, .. } = &mut self.row;
        if rescues.is_empty() {
            return Ok(());
        }
        self.rescued_values += rescues.len();
        let text = |span: (usize, usize)| &texts[span.0..span.1];
        rescues.sort_by_key(|rescue| text(rescue.pointer));
        let out = &mut self.rescued.data;
        let mut before: &[u8] = b"{\"";
        for rescue in rescues {
            out.extend_from_slice(before);
            escape(text(rescue.pointer), out);
            out.extend_from_slice(b"\":");
            out.extend_from_slice(text(rescue.text));
            before = b",\"";
        }
        out.push(b'}');
        self.rescued.end(row)
    }

    fn count_unknown(&mut self, row: usize) -> Outcome {
        let Row { unknowns, names, texts, rules, .. } = &mut self.row;
        // An object's members may stand around those of objects within it; each object counts once.
        unknowns.sort_by_key(|unknown| unknown.object);
        let names = std::str::from_utf8(names).map_err(|_| Bad::Block)?;
        let texts = std::str::from_utf8(texts).map_err(|_| Bad::Block)?;
        let mut object = 0;
        let mut any = false;
        for unknown in unknowns {
            let seen = &mut self.seen[unknown.id];
            if unknown.object != object {
                object = unknown.object;
                seen.objects += 1;
            }
            let (name, text) = (&names[unknown.name.0..unknown.name.1], &texts[unknown.text.0..]);
            seen.count_member(name, text, rules.infer_timestamps);
            any |= !text.starts_with("null");
        }
        if any {
            self.unknown_rows.push(row);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Parsed, ArrowError> {
        let rows = self.row_lines.len();
        if !self.row.rules.observe_only {
            self.plan.remember(&self.columns);
        }
        let mut columns: Vec<ArrayRef> = Objects::columns(self.columns.members, rows)?;
        columns.push(self.rescued.finish(rows)?);
        let rescued = ArrowField::new("_rescued_data", DataType::Utf8, true);
        let fields: Fields = self.plan.arrow().iter().cloned().chain([rescued.into()]).collect();
        Ok(Parsed {
            batch: StructArray::try_new_with_length(fields, columns, None, rows)?,
            row_lines: self.row_lines,
            rejects: self.rejects,
            blanks: self.blanks,
            lines: self.lines,
            rescued_values: self.rescued_values,
            unknown: gather(self.plan, &mut self.seen),
            unknown_rows: self.unknown_rows,
        })
    }
}
