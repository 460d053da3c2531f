//! Bytes of one block: white space, strings, numbers, and any value as compact text. Strict RFC 8259, no recursion.

use crate::number::Number;

/// Why a line can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// The line is no valid record.
    Line,
    /// The line is beyond what this parser decides: the block is the reference parser's.
    Block,
}

/// Done, or bad.
pub type Outcome<T = ()> = Result<T, Bad>;

/// A place in a block. A line feed is never white space here, so nothing reads past its line.
#[derive(Debug)]
pub struct Cursor<'b> {
    /// The block.
    pub data: &'b [u8],
    /// The next byte.
    pub at: usize,
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

impl<'b> Cursor<'b> {
    /// The next byte; 0 at the end, which is never part of JSON.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> u8 {
        self.data.get(self.at).copied().unwrap_or(0)
    }

    /// White space is passed.
    #[inline]
    pub fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    /// That byte is passed.
    #[inline]
    pub fn expect(&mut self, byte: u8) -> Outcome {
        if self.peek() != byte {
            return Err(Bad::Line);
        }
        self.at += 1;
        Ok(())
    }

    /// That word is passed.
    #[inline]
    pub fn word(&mut self, word: &[u8]) -> Outcome {
        if !self.data[self.at..].starts_with(word) {
            return Err(Bad::Line);
        }
        self.at += word.len();
        Ok(())
    }

    /// Where the plain characters from `at` on end: at a quote, a backslash, a control character, or the data's end.
    #[inline]
    #[must_use]
    pub fn plain_end(&self, mut at: usize) -> usize {
        while let Some(chunk) = self.data.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*chunk);
            let quote = word ^ (LOW * 0x22);
            let backslash = word ^ (LOW * 0x5c);
            let found = (quote.wrapping_sub(LOW) & !quote)
                | (backslash.wrapping_sub(LOW) & !backslash)
                | (word.wrapping_sub(LOW * 0x20) & !word);
            let found = found & HIGH;
            if found != 0 {
                return at + (found.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        while at < self.data.len() && !matches!(self.data[at], b'"' | b'\\' | 0..0x20) {
            at += 1;
        }
        at
    }

    /// The string's content if it has no escapes; then it is passed. The cursor is behind the opening quote.
    #[inline]
    pub fn plain_string(&mut self) -> Option<&'b [u8]> {
        let end = self.plain_end(self.at);
        if self.data.get(end) != Some(&b'"') {
            return None;
        }
        let text = &self.data[self.at..end];
        self.at = end + 1;
        Some(text)
    }

    /// The string is passed and written: decoded, or as JSON text's inside if `CANONICAL`. Behind the opening quote.
    pub fn string<const CANONICAL: bool>(&mut self, out: &mut Vec<u8>) -> Outcome {
        loop {
            let end = self.plain_end(self.at);
            out.extend_from_slice(&self.data[self.at..end]);
            self.at = end;
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    let found = self.escape()?;
                    let mut utf8 = [0; 4];
                    let bytes = found.encode_utf8(&mut utf8).as_bytes();
                    if CANONICAL {
                        escape(bytes, out);
                    } else {
                        out.extend_from_slice(bytes);
                    }
                }
                _ => return Err(Bad::Line),
            }
        }
    }

    /// The character that the escape under the cursor writes; half a surrogate pair is bad.
    fn escape(&mut self) -> Outcome<char> {
        let kind = self.data.get(self.at + 1).copied().unwrap_or(0);
        self.at += 2;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex()?;
                let code = match unit {
                    0xd800..0xdc00 => {
                        self.word(b"\\u")?;
                        let low = self.hex()?;
                        if !(0xdc00..0xe000).contains(&low) {
                            return Err(Bad::Line);
                        }
                        0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => unit,
                };
                char::from_u32(code).ok_or(Bad::Line)?
            }
            _ => return Err(Bad::Line),
        })
    }

    fn hex(&mut self) -> Outcome<u32> {
        let digits = self.data.get(self.at..self.at + 4).ok_or(Bad::Line)?;
        self.at += 4;
        digits.iter().try_fold(0, |value, &digit| Ok(value * 16 + char::from(digit).to_digit(16).ok_or(Bad::Line)?))
    }

    /// The number is passed.
    #[inline]
    pub fn number(&mut self) -> Outcome<Number<'b>> {
        let (number, end) = Number::read(self.data, self.at).ok_or(Bad::Line)?;
        self.at = end;
        Ok(number)
    }

    /// The value under the cursor is passed and written as compact text: numbers as they are, strings canonical.
    ///
    /// `depth` objects and lists are open around it; more than `depth_max` in all are bad, and so are duplicate keys.
    pub fn value(&mut self, out: &mut Vec<u8>, open: &mut Open, depth: usize, depth_max: usize) -> Outcome {
        open.frames.clear();
        open.keys.clear();
        loop {
            match self.peek() {
                bracket @ (b'{' | b'[') => {
                    open.frames.push(Frame { object: bracket == b'{', keys: open.keys.len() });
                    if depth + open.frames.len() > depth_max {
                        return Err(Bad::Line);
                    }
                    out.push(bracket);
                    self.at += 1;
                    self.space();
                    // The closing brackets are two above the opening ones in ASCII.
                    if self.peek() != bracket + 2 {
                        if bracket == b'{' {
                            self.key(out, &mut open.keys)?;
                        }
                        continue;
                    }
                }
                b'"' => {
                    self.at += 1;
                    out.push(b'"');
                    self.string::<true>(out)?;
                    out.push(b'"');
                }
                b't' => self.literal(b"true", out)?,
                b'f' => self.literal(b"false", out)?,
                b'n' => self.literal(b"null", out)?,
                _ => {
                    let start = self.at;
                    self.number()?;
                    out.extend_from_slice(&self.data[start..self.at]);
                }
            }
            if self.close(out, open)? {
                return Ok(());
            }
        }
    }

    /// What ends behind a value is closed; true if that is everything, false if a value follows.
    fn close(&mut self, out: &mut Vec<u8>, open: &mut Open) -> Outcome<bool> {
        while let Some(frame) = open.frames.last() {
            self.space();
            match self.peek() {
                b',' => {
                    self.at += 1;
                    out.push(b',');
                    self.space();
                    if frame.object {
                        self.key(out, &mut open.keys)?;
                    }
                    return Ok(false);
                }
                bracket @ (b'}' | b']') if frame.object == (bracket == b'}') => {
                    if !distinct(out, &mut open.keys[frame.keys..]) {
                        return Err(Bad::Line);
                    }
                    open.keys.truncate(frame.keys);
                    open.frames.pop();
                    out.push(bracket);
                    self.at += 1;
                }
                _ => return Err(Bad::Line),
            }
        }
        Ok(true)
    }

    fn key(&mut self, out: &mut Vec<u8>, keys: &mut Vec<(usize, usize)>) -> Outcome {
        self.expect(b'"')?;
        out.push(b'"');
        let start = out.len();
        self.string::<true>(out)?;
        keys.push((start, out.len()));
        out.extend_from_slice(b"\":");
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(())
    }

    fn literal(&mut self, word: &[u8], out: &mut Vec<u8>) -> Outcome {
        self.word(word)?;
        out.extend_from_slice(word);
        Ok(())
    }
}

/// The objects and lists that are open around a value, and the keys of the objects among them; kept for its memory.
#[derive(Debug, Default)]
pub struct Open {
    frames: Vec<Frame>,
    keys: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct Frame {
    object: bool,
    keys: usize,
}

/// No two of the spans of `text` are equal. Reorders the spans.
pub fn distinct(text: &[u8], spans: &mut [(usize, usize)]) -> bool {
    if spans.len() <= 8 {
        return spans.iter().enumerate().all(|(at, &(start, end))| {
            spans[..at].iter().all(|&(from, to)| to - from != end - start || text[from..to] != text[start..end])
        });
    }
    spans.sort_unstable_by(|a, b| text[a.0..a.1].cmp(&text[b.0..b.1]));
    spans.windows(2).all(|pair| text[pair[0].0..pair[0].1] != text[pair[1].0..pair[1].1])
}

/// The inside of a JSON string that means `text`, as the standard library writes it without `ensure_ascii`.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
}
