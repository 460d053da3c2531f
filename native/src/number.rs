//! Numbers as decimal text, and the exact values that columns take of them.

/// A JSON number's parts. `exponent` is bounded: beyond a billion it says no more than that.
#[derive(Clone, Copy, Debug)]
pub struct Number<'b> {
    /// It begins with a minus.
    pub negative: bool,
    whole: &'b [u8],
    fraction: &'b [u8],
    exponent: i64,
    text: &'b [u8],
}

const EXPONENT_MAX: i64 = 1_000_000_000;
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

fn digits_end(data: &[u8], mut at: usize) -> usize {
    while data.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// The value of the digits that begin at `at`, up to eight of them, and where these end.
#[inline]
#[must_use]
pub fn eight_digits(data: &[u8], at: usize) -> (usize, u64) {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let Some(chunk) = data.get(at..).and_then(|rest| rest.first_chunk()) else {
        return (at, 0); // the few bytes at the end are read one by one
    };
    let word = u64::from_le_bytes(*chunk);
    // A byte's high nibble is 3 and its low one at most 9: only then both of these are 3.
    let nibbles = (word & (LOW * 0xf0)) | ((word.wrapping_add(LOW * 0x06) & (LOW * 0xf0)) >> 4);
    let length = (nibbles ^ (LOW * 0x33)).trailing_zeros() / 8;
    if length == 0 {
        return (at, 0);
    }
    // The digits move to the high end; what comes in below them counts as zeros.
    let digits = (word & (LOW * 0x0f)) << (64 - 8 * length);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    let value = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
    (at + length as usize, value)
}

impl<'b> Number<'b> {
    /// The number that begins at `at`, and where it ends.
    #[inline]
    #[must_use]
    pub fn read(data: &'b [u8], at: usize) -> Option<(Self, usize)> {
        let negative = data.get(at) == Some(&b'-');
        let start = at + usize::from(negative);
        let mut end = digits_end(data, start);
        let whole = &data[start..end];
        if whole.is_empty() || (whole[0] == b'0' && whole.len() > 1) {
            return None;
        }
        let mut fraction: &[u8] = &[];
        if data.get(end) == Some(&b'.') {
            let stop = digits_end(data, end + 1);
            fraction = &data[end + 1..stop];
            if fraction.is_empty() {
                return None;
            }
            end = stop;
        }
        let mut exponent = 0;
        if matches!(data.get(end), Some(b'e' | b'E')) {
            let sign = data.get(end + 1);
            let first = end + 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
            let stop = digits_end(data, first);
            if first == stop {
                return None;
            }
            for &digit in &data[first..stop] {
                exponent = (exponent * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX);
            }
            if sign == Some(&b'-') {
                exponent = -exponent;
            }
            end = stop;
        }
        let number = Self { negative, whole, fraction, exponent, text: &data[at..end] };
        Some((number, end))
    }

    fn digits(&self) -> impl DoubleEndedIterator<Item = u8> + Clone + use<'b> {
        self.whole.iter().chain(self.fraction).map(|digit| digit - b'0')
    }

    fn zero(&self) -> bool {
        self.digits().all(|digit| digit == 0)
    }

    /// A zero whose exponent may be beyond what the reference's decimal numbers hold.
    #[must_use]
    pub fn odd_zero(&self) -> bool {
        self.exponent.abs() >= EXPONENT_MAX && self.zero()
    }

    /// The number times 10^scale, if it is an integer of at most `precision` digits.
    #[must_use]
    pub fn decimal(&self, precision: i64, scale: i64) -> Option<i128> {
        let leading = self.digits().take_while(|&digit| digit == 0).count();
        let length = self.whole.len() + self.fraction.len();
        if leading == length {
            return Some(0);
        }
        let count = i64::try_from(length - leading).ok()?;
        let exponent = self.exponent - i64::try_from(self.fraction.len()).ok()?;
        if exponent + count > precision - scale {
            return None;
        }
        let excess = -exponent - scale;
        if excess >= count {
            return None;
        }
        let kept = usize::try_from(count - excess.max(0)).ok()?;
        let mut digits = self.digits().skip(leading);
        let mut value: i128 = 0;
        for digit in digits.by_ref().take(kept) {
            value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
        }
        if digits.any(|digit| digit != 0) {
            return None;
        }
        if excess < 0 {
            value = value.checked_mul(10_i128.checked_pow(u32::try_from(-excess).ok()?)?)?;
        }
        Some(if self.negative { -value } else { value })
    }

    /// The integer that the number is.
    #[must_use]
    pub fn int64(&self) -> Option<i64> {
        self.decimal(19, 0).and_then(|value| i64::try_from(value).ok())
    }

    /// The double whose shortest form is the same decimal number.
    #[must_use]
    #[inline]
    pub fn float64(&self) -> Option<f64> {
        let length = self.whole.len() + self.fraction.len();
        if length <= 15 {
            let mut mantissa: u64 = 0;
            for &digit in self.whole.iter().chain(self.fraction) {
                mantissa = mantissa * 10 + u64::from(digit - b'0');
            }
            #[allow(clippy::cast_possible_wrap)]
            let exponent = self.exponent - self.fraction.len() as i64;
            if exponent.abs() <= 22 {
                // Both are exact doubles, so one rounding is the right one; 15 digits always come back.
                #[allow(clippy::cast_precision_loss)]
                let mantissa = mantissa as f64;
                let power = POWERS[usize::try_from(exponent.abs()).unwrap_or(0)];
                let value = if exponent < 0 { mantissa / power } else { mantissa * power };
                return Some(if self.negative { -value } else { value });
            }
        }
        self.float64_slowly()
    }

    #[cold]
    fn float64_slowly(&self) -> Option<f64> {
        let value: f64 = std::str::from_utf8(self.text).ok()?.parse().ok()?;
        if self.zero() {
            return Some(value);
        }
        if value == 0.0 || !value.is_finite() {
            return None;
        }
        let shortest = shortest(value.abs());
        let (digits, power) = shortest.split_once('e')?;
        let digits = digits.bytes().filter(|&byte| byte != b'.').map(|byte| byte - b'0');
        let power: i64 = power.parse().ok()?;
        let leading = self.digits().take_while(|&digit| digit == 0).count();
        let first = self.exponent + i64::try_from(self.whole.len()).ok()? - i64::try_from(leading).ok()? - 1;
        let mut own = self.digits().skip(leading);
        let same = digits.into_iter().all(|digit| own.next().unwrap_or(0) == digit) && own.all(|digit| digit == 0);
        (same && first == power).then_some(value)
    }
}

/// The shortest digits that read as the double, as the reference has them: of two that are equally near, the even one.
fn shortest(value: f64) -> String {
    let any = format!("{value:e}");
    let digits = any.bytes().take_while(|&byte| byte != b'e').filter(u8::is_ascii_digit).count();
    let even = format!("{value:.*e}", digits - 1);
    if even.parse() == Ok(value) { even } else { any }
}

#[cfg(test)]
mod tests {
    use super::{Number, eight_digits};

    fn read(text: &str) -> Option<Number<'_>> {
        Number::read(text.as_bytes(), 0).filter(|(_, end)| *end == text.len()).map(|(number, _)| number)
    }

    #[test]
    fn digits_are_read_up_to_eight_and_to_what_is_none() {
        for (text, length, value) in [
            ("12345678901", 8, 12_345_678),
            ("1234567,890", 7, 1_234_567),
            ("0:000000000", 1, 0),
            ("99/99999999", 2, 99),
            ("9\u{b9}8888888", 1, 9),
            (",1234567890", 0, 0),
            ("1234", 0, 0),
        ] {
            assert_eq!(eight_digits(text.as_bytes(), 0), (length, value), "{text}");
        }
    }

    #[test]
    fn only_json_numbers_are_read() {
        for text in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "-a", "0x1"] {
            assert!(read(text).is_none(), "{text}");
        }
        for text in ["0", "-0", "1.50", "1e400", "1E-7", "123456789012345678901234567890"] {
            assert!(read(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_double_holds_a_number_that_is_its_shortest_form() {
        for text in ["0.1", "1.50", "-0.0", "9007199254740993e0", "5e-324", "1.7976931348623157e308", "0e-999"] {
            let number = read(text).unwrap();
            let expected = (text != "9007199254740993e0").then(|| text.parse::<f64>().unwrap().to_bits());
            assert_eq!(number.float64().map(f64::to_bits), expected, "{text}");
        }
        assert!(read("0.0020799636840820312").unwrap().float64().is_some());
        for text in
            ["0.0020799636840820313", "1e400", "1e-400", "0.1000000000000000055511151231257827", "18446744073709551615"]
        {
            assert!(read(text).unwrap().float64().is_none(), "{text}");
        }
    }

    #[test]
    fn decimals_are_exact_or_nothing() {
        let decimal = |text: &str, precision, scale| read(text).unwrap().decimal(precision, scale);
        assert_eq!(decimal("12.5", 12, 2), Some(1250));
        assert_eq!(decimal("-12.5000", 12, 2), Some(-1250));
        assert_eq!(decimal("12.505", 12, 2), None);
        assert_eq!(decimal("1e9", 10, 0), Some(1_000_000_000));
        assert_eq!(decimal("1e10", 10, 0), None);
        assert_eq!(decimal("0e99", 1, 0), Some(0));
        assert_eq!(read("2.0e0").unwrap().int64(), Some(2));
        assert_eq!(read("-9223372036854775808").unwrap().int64(), Some(i64::MIN));
        assert_eq!(read("9223372036854775808").unwrap().int64(), None);
    }
}
