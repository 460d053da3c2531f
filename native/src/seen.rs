//! Counts of the values under keys that the table schema lacks: what `headsaw.core.inference.Seen` holds.

use std::borrow::Cow;
use std::collections::HashMap;

use memchr::memchr;

use crate::plan::{Struct, Type};
use crate::scan::Cursor;
use crate::time::looks_timed;

const DEPTH_MAX: usize = 16;
const NODES_MAX: usize = 50_000;

/// The counts at one path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// true and false
    pub bools: u64,
    /// integers, however large
    pub ints: u64,
    /// other numbers
    pub reals: u64,
    /// strings
    pub strings: u64,
    /// strings that are timestamps
    pub timestamps: u64,
    /// arrays
    pub lists: u64,
    /// objects
    pub objects: u64,
    /// members of all objects
    pub keys: u64,
    /// members were left out
    pub overflow: bool,
    /// what arrays hold
    pub element: Option<Box<Seen>>,
    /// what objects hold
    pub members: Members,
}

/// Members in the order in which they were first seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Members {
    list: Vec<(String, Seen)>,
    index: HashMap<String, usize>,
    /// Which member is expected next: objects of one kind have their keys in one order.
    expected: usize,
}

impl Seen {
    /// Nothing but nulls was seen.
    #[must_use]
    pub fn nothing(&self) -> bool {
        self.counted() == 0 && !self.overflow && self.element.is_none() && self.members.list.is_empty()
    }

    fn counted(&self) -> u64 {
        self.bools + self.ints + self.reals + self.strings + self.lists + self.objects
    }

    /// The members of which something was seen.
    pub fn found(&self) -> impl Iterator<Item = (&str, &Self)> {
        let members = self.members.list.iter().filter(|(_, seen)| !seen.nothing());
        members.map(|(key, seen)| (key.as_str(), seen))
    }

    /// The member of that name, unless there are too many.
    fn member(&mut self, key: &str) -> Option<&mut Self> {
        let expected = self.members.expected;
        if self.members.list.get(expected).is_some_and(|(name, _)| name == key) {
            self.members.expected += 1;
            return Some(&mut self.members.list[expected].1);
        }
        if let Some(&at) = self.members.index.get(key) {
            self.members.expected = at + 1;
            return Some(&mut self.members.list[at].1);
        }
        if self.members.list.len() >= NODES_MAX {
            self.overflow = true;
            return None;
        }
        self.members.index.insert(key.to_owned(), self.members.list.len());
        self.members.list.push((key.to_owned(), Self::default()));
        self.members.list.last_mut().map(|(_, seen)| seen)
    }

    /// The member's value counts; `text` begins with it in valid compact JSON, and with a comma behind it.
    pub fn count_member(&mut self, key: &str, text: &str, timed: bool) {
        self.keys += 1;
        if let Some(seen) = self.member(key) {
            Reader { cursor: Cursor { data: text.as_bytes(), at: 0 }, text, timed }.count(seen, 1);
        }
    }
}

/// Reads compact JSON that is known to be valid, and has something behind it.
struct Reader<'t> {
    cursor: Cursor<'t>,
    /// The cursor's data.
    text: &'t str,
    timed: bool,
}

impl<'t> Reader<'t> {
    /// One value counts; recursion ends at `DEPTH_MAX`.
    fn count(&mut self, seen: &mut Seen, depth: usize) {
        match self.cursor.peek() {
            b'n' => self.cursor.at += 4,
            b't' => {
                seen.bools += 1;
                self.cursor.at += 4;
            }
            b'f' => {
                seen.bools += 1;
                self.cursor.at += 5;
            }
            b'"' => {
                seen.strings += 1;
                let text = self.string();
                // No timestamp needs an escape in canonical text.
                seen.timestamps += u64::from(self.timed && looks_timed(text.as_bytes()));
            }
            bracket @ (b'[' | b'{') if depth > DEPTH_MAX => {
                *(if bracket == b'[' { &mut seen.lists } else { &mut seen.objects }) += 1;
                self.skip();
            }
            b'[' => self.list(seen, depth),
            b'{' => self.object(seen, depth),
            _ => {
                let rest = &self.cursor.data[self.cursor.at..];
                let length = rest.iter().take_while(|byte| !matches!(byte, b',' | b']' | b'}')).count();
                let real = rest[..length].iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
                *(if real { &mut seen.reals } else { &mut seen.ints }) += 1;
                self.cursor.at += length;
            }
        }
    }

    fn list(&mut self, seen: &mut Seen, depth: usize) {
        seen.lists += 1;
        self.cursor.at += 1;
        while self.cursor.peek() != b']' {
            self.cursor.at += usize::from(self.cursor.peek() == b',');
            self.count(seen.element.get_or_insert_default(), depth + 1);
        }
        self.cursor.at += 1;
    }

    fn object(&mut self, seen: &mut Seen, depth: usize) {
        seen.objects += 1;
        self.cursor.at += 1;
        let mut skipped = Seen::default();
        while self.cursor.peek() != b'}' {
            self.cursor.at += usize::from(self.cursor.peek() == b',');
            let key = decoded(self.string());
            self.cursor.at += 1;
            seen.keys += 1;
            match seen.member(&key) {
                Some(member) => self.count(member, depth + 1),
                None => self.count(&mut skipped, DEPTH_MAX + 1),
            }
        }
        self.cursor.at += 1;
    }

    /// The inside of the string under the cursor, which is passed.
    fn string(&mut self) -> &'t str {
        let start = self.cursor.at + 1;
        let mut end = self.cursor.plain_end(start);
        while self.cursor.data[end] != b'"' {
            end = self.cursor.plain_end(end + 2); // behind an escape, or behind its `\u`
        }
        self.cursor.at = end + 1;
        &self.text[start..end]
    }

    /// The list or object under the cursor is passed.
    fn skip(&mut self) {
        let mut depth = 0;
        loop {
            match self.cursor.peek() {
                b'"' => {
                    self.string();
                    continue;
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            self.cursor.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

/// What the inside of a canonical JSON string means.
fn decoded(text: &str) -> Cow<'_, str> {
    if memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let quoted = [text.as_bytes(), b"\""].concat();
    let _ = Cursor { data: &quoted, at: 0 }.string::<false>(&mut out); // it was valid when it was written
    Cow::Owned(String::from_utf8(out).unwrap_or_default())
}

/// Gathers what the structs of a schema saw, by their ids, into one tree as the schema nests.
#[must_use]
pub fn gather(table: &Struct, seen: &mut [Seen]) -> Seen {
    let mut own = Seen::default();
    std::mem::swap(&mut own, &mut seen[table.id]);
    let unknown = std::mem::take(&mut own.members);
    for field in table.fields.iter().filter(|field| field.kind.nested()) {
        let member = within(&field.kind, seen);
        if !member.members.list.is_empty() || member.element.is_some() {
            own.members.list.push((field.name.clone(), member));
        }
    }
    own.members.list.extend(unknown.list.into_iter().filter(|(_, seen)| !seen.nothing()));
    own
}

fn within(kind: &Type, seen: &mut [Seen]) -> Seen {
    match kind {
        Type::Struct(members) => gather(members, seen),
        Type::List(inner) | Type::Map(inner) if inner.nested() => {
            let element = within(inner, seen);
            let some = !element.members.list.is_empty() || element.element.is_some();
            Seen { element: some.then(|| Box::new(element)), ..Seen::default() }
        }
        _ => Seen::default(),
    }
}
