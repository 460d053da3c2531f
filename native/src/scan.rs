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

/// How many characters of a string are looked at at once: most strings have fewer.
const CHUNK: usize = 32;

/// Where the chunk's first quote, backslash or control character is; `CHUNK` if there is none.
#[cfg(target_arch = "x86_64")]
#[inline]
fn plain_length(chunk: &[u8; CHUNK]) -> usize {
    // SAFETY: the function asks for SSE2 alone, which every x86-64 processor has.
    #[allow(unsafe_code)]
    unsafe {
        plain_length_sse2(chunk)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn plain_length_sse2(chunk: &[u8; CHUNK]) -> usize {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    let marks = |half: &[u8]| {
        let half: &[u8; CHUNK / 2] = half.try_into().unwrap_or(&[0; CHUNK / 2]);
        // SAFETY: these are the sixteen bytes that are loaded, and any place is right for an unaligned load.
        #[allow(unsafe_code)]
        let bytes = unsafe { _mm_loadu_si128(half.as_ptr().cast()) };
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x22));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x5c));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        let marks = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control));
        u64::from(marks.cast_unsigned())
    };
    let (low, high) = chunk.split_at(CHUNK / 2);
    (marks(low) | marks(high) << 16 | 1 << CHUNK).trailing_zeros() as usize
}

/// Where the chunk's first quote, backslash or control character is; `CHUNK` if there is none.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn plain_length(chunk: &[u8; CHUNK]) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let mut at = 0;
    while let Some(word) = chunk.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (LOW * 0x22);
        let backslash = word ^ (LOW * 0x5c);
        // A high bit shows a byte that is too small; a borrow from the byte before it was seen there first.
        let marks = (quote.wrapping_sub(LOW) & !quote)
            | (backslash.wrapping_sub(LOW) & !backslash)
            | (word.wrapping_sub(LOW * 0x20) & !word);
        let marks = marks & (LOW * 0x80);
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    CHUNK
}

/// The character that a backslash and that letter mean; 0 if nothing.
const SHORT_ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'/' as usize] = b'/';
    table[b'b' as usize] = 0x08;
    table[b'f' as usize] = 0x0c;
    table[b'n' as usize] = b'\n';
    table[b'r' as usize] = b'\r';
    table[b't' as usize] = b'\t';
    table
};

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
        if self.peek() <= b' ' {
            self.spaces();
        }
    }

    fn spaces(&mut self) {
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
        while let Some(chunk) = self.data.get(at..).and_then(|rest| rest.first_chunk()) {
            let length = plain_length(chunk);
            at += length;
            if length < CHUNK {
                return at;
            }
        }
        self.plain_end_slowly(at)
    }

    /// `plain_end` where no whole chunk is left.
    #[cold]
    fn plain_end_slowly(&self, at: usize) -> usize {
        let rest = &self.data[at..];
        at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
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
    #[inline]
    pub fn string<const CANONICAL: bool>(&mut self, out: &mut Vec<u8>) -> Outcome {
        if let Some(chunk) = self.data.get(self.at..).and_then(|rest| rest.first_chunk()) {
            let length = plain_length(chunk);
            if length < CHUNK && chunk[length] == b'"' {
                // A copy of fixed length is shorter than the call for another length.
                out.extend_from_slice(chunk);
                out.truncate(out.len() - CHUNK + length);
                self.at += length + 1;
                return Ok(());
            }
        }
        self.long_string::<CANONICAL>(out)
    }

    fn long_string<const CANONICAL: bool>(&mut self, out: &mut Vec<u8>) -> Outcome {
        loop {
            self.plain(out);
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escaped::<CANONICAL>(out)?,
                _ => return Err(Bad::Line),
            }
        }
    }

    /// The plain characters under the cursor are passed and written.
    #[inline]
    fn plain(&mut self, out: &mut Vec<u8>) {
        let mut at = self.at;
        while let Some(chunk) = self.data.get(at..).and_then(|rest| rest.first_chunk()) {
            let length = plain_length(chunk);
            out.extend_from_slice(chunk);
            at += length;
            if length < CHUNK {
                out.truncate(out.len() - CHUNK + length);
                self.at = at;
                return;
            }
        }
        let end = self.plain_end_slowly(at);
        out.extend_from_slice(&self.data[at..end]);
        self.at = end;
    }

    /// The escape under the cursor is passed and written.
    #[inline]
    fn escaped<const CANONICAL: bool>(&mut self, out: &mut Vec<u8>) -> Outcome {
        let kind = self.data.get(self.at + 1).copied().unwrap_or(0);
        let meant = SHORT_ESCAPES[usize::from(kind)];
        if meant == 0 {
            let mut utf8 = [0; 4];
            let bytes = self.unicode_escape()?.encode_utf8(&mut utf8).as_bytes();
            if CANONICAL {
                escape(bytes, out);
            } else {
                out.extend_from_slice(bytes);
            }
            return Ok(());
        }
        if CANONICAL && kind != b'/' {
            out.extend_from_slice(&[b'\\', kind]);
        } else {
            out.push(meant);
        }
        self.at += 2;
        Ok(())
    }

    /// The character that the `\u` escape under the cursor writes; half a surrogate pair is bad.
    fn unicode_escape(&mut self) -> Outcome<char> {
        self.word(b"\\u")?;
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
        char::from_u32(code).ok_or(Bad::Line)
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
