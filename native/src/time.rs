//! Days and instants from text: the reference's fixed forms, proleptic Gregorian, years 1 to 9999 in UTC.

const YEAR_1: i64 = -62_135_596_800_000_000;
const YEAR_10000: i64 = 253_402_300_800_000_000;

/// Microseconds since 1970 that readers know.
#[must_use]
pub fn in_range(micros: i128) -> Option<i64> {
    i64::try_from(micros).ok().filter(|value| (YEAR_1..YEAR_10000).contains(value))
}

fn two(text: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens * 10 + ones))
}

/// Year, month and day digits of `2026-11-23`; whether such a day exists isn't asked.
fn day_form(text: &[u8]) -> Option<(i64, i64, i64)> {
    let year = two(text, 0)? * 100 + two(text, 2)?;
    (text[4] == b'-' && text[7] == b'-').then_some(())?;
    Some((year, two(text, 5)?, two(text, 8)?))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Howard Hinnant, chrono-compatible low-level date algorithms).
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Days since 1970 of `2026-11-23`.
#[must_use]
pub fn date(text: &[u8]) -> Option<i32> {
    if text.len() != 10 {
        return None;
    }
    let (year, month, day) = day_form(text)?;
    if year == 0 {
        return None;
    }
    i32::try_from(days(year, month, day)?).ok()
}

struct Clock {
    micros: i64,
    offset_minutes: i64,
}

/// What follows the `T`: a time of day with at most microseconds, and an offset.
fn clock(text: &[u8]) -> Option<Clock> {
    if text.len() < 9 || text[2] != b':' || text[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (two(text, 0)?, two(text, 3)?, two(text, 6)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &text[8..];
    let mut fraction = 0;
    if let [b'.', digits @ ..] = rest {
        let count = digits.iter().take_while(|digit| digit.is_ascii_digit()).count();
        if !(1..=6).contains(&count) {
            return None;
        }
        for place in 0..6 {
            fraction =
                fraction * 10 + digits.get(place).filter(|_| place < count).map_or(0, |digit| i64::from(digit - b'0'));
        }
        rest = &digits[count..];
    }
    let offset_minutes = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), offset @ ..] if offset.len() == 5 && offset[2] == b':' => {
            let (hours, minutes) = (two(offset, 0)?, two(offset, 3)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    Some(Clock { micros: ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction, offset_minutes })
}

fn split(text: &[u8]) -> Option<(i64, i64, i64, Clock)> {
    if text.len() < 20 || text[10] != b'T' {
        return None;
    }
    let (year, month, day) = day_form(text)?;
    Some((year, month, day, clock(&text[11..])?))
}

/// It has the form of a timestamp, whether or not there was such a day.
#[must_use]
pub fn looks_timed(text: &[u8]) -> bool {
    split(text).is_some()
}

/// Microseconds since 1970 of an RFC 3339 timestamp.
#[must_use]
pub fn instant(text: &[u8]) -> Option<i64> {
    let (year, month, day, clock) = split(text)?;
    let micros = days(year, month, day)? * 86_400_000_000 + clock.micros - clock.offset_minutes * 60_000_000;
    in_range(i128::from(micros))
}

#[cfg(test)]
mod tests {
    use super::{date, instant, looks_timed};

    #[test]
    fn days_and_instants_are_those_of_the_calendar() {
        assert_eq!(date(b"1970-01-01"), Some(0));
        assert_eq!(date(b"2024-02-29"), Some(19_782));
        assert_eq!(date(b"2023-02-29"), None);
        assert_eq!(date(b"0000-01-01"), None);
        assert_eq!(instant(b"1970-01-01T00:00:01.5Z"), Some(1_500_000));
        assert_eq!(instant(b"1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(instant(b"0001-01-01T00:00:00+00:01"), None);
        assert_eq!(instant(b"2026-11-23T24:00:00Z"), None);
        assert_eq!(instant(b"2026-11-23T06:58:60Z"), None);
        assert!(looks_timed(b"2026-99-99T06:58:00.123456-23:59"));
        assert!(!looks_timed(b"2026-11-23T06:58:00.1234567Z"));
    }
}
