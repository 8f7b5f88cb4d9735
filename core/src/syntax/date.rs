//! Times of day and date as they are written in commands and replies. RFC 3339 section 5.6.
//!
//! Owns the calendar, and nothing else of it: what comes out is seconds since the Unix epoch. Refuses to know what time it
//! is. What is no date is `None`.

use alloc::{format, string::String};

const DAY: i64 = 86_400;

/// `date-time`, in seconds since the epoch; a fraction of a second counts as a whole one. None before the epoch, too.
pub(crate) fn read(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (year, month, day) = triple(date, '-', [4, 2, 2])?;
    let rest = rest.strip_prefix(['T', 't'])?;
    let (time, rest) = rest.split_at_checked(8)?;
    let (hour, minute, second) = triple(time, ':', [2, 2, 2])?;
    // A leap second is the next minute's first one.
    let fits = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let (digits, zone) = rest.split_at(end);
            (i64::from(digits.bytes().any(|digit| digit != b'0')), (!digits.is_empty()).then_some(zone)?)
        }
    };
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second + fraction - offset(zone)?;
    u64::try_from(seconds).ok().filter(|_| fits)
}

/// Three numbers of so many digits.
fn triple(text: &str, between: char, widths: [usize; 3]) -> Option<(i64, i64, i64)> {
    let mut parts = text.split(between).zip(widths).map(|(part, width)| number(part, width));
    let found = (parts.next()??, parts.next()??, parts.next()??);
    let length = widths.iter().sum::<usize>() + 2;
    (text.len() == length).then_some(found)
}

fn number(text: &str, width: usize) -> Option<i64> {
    let digits = text.len() == width && text.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `"Z" / ( "+" / "-" ) time-hour ":" time-minute`, in seconds.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("Z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the epoch to the first of January of this year.
fn days_to(year: i64) -> i64 {
    // Leap years before this one, less those before 1970.
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    days_to(year) + (1..month).map(|month| days_of(year, month)).sum::<i64>() + day - 1
}

/// In UTC. The largest is the end of the year 9999.
pub(crate) fn written(seconds: u64) -> String {
    let last = days(9999, 12, 31) * DAY + DAY - 1;
    let seconds = i64::try_from(seconds).map_or(last, |seconds| seconds.min(last));
    let (mut day, second) = (seconds / DAY, seconds % DAY);
    let mut year = 1970 + day / 366;
    while days_to(year + 1) <= day {
        year += 1;
    }
    day -= days_to(year);
    let mut month = 1;
    while day >= days_of(year, month) {
        day -= days_of(year, month);
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_and_out() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000Z", 0),
            ("1970-01-01T00:00:00.001z", 1),
            ("1970-01-01t01:00:00+00:59", 60),
            ("1969-12-31T23:00:00-01:30", 1800),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-28T16:45:07Z", 1_795_884_307),
            ("2038-01-19T03:14:08Z", 1 << 31),
            ("2016-12-31T23:59:60Z", 1_483_228_800),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(read(text), Some(seconds), "{text}");
        }
        for seconds in (0..4_200_000_000).step_by(86_399 * 3).chain([253_402_300_799]) {
            assert_eq!(read(&written(seconds)), Some(seconds), "{}", written(seconds));
        }
        assert_eq!(written(u64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(written(951_782_400), "2000-02-29T00:00:00Z");
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "2026",
            "2026-11-28",
            "2026-11-28T16:45Z",
            "2026-11-28 16:45:07Z",
            "2026-11-28T16:45:07",
            "2026-11-28T16:45:07.Z",
            "2026-11-28T16:45:07.5",
            "2026-11-28T16:45:07+1:00",
            "2026-11-28T16:45:07+24:00",
            "2026-11-28T16:45:07ZZ",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-11-28T24:00:00Z",
            "2026-11-28T23:60:00Z",
            "2026-11-28T23:59:61Z",
            "+026-11-28T23:59:59Z",
            "1969-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "2026-11-28T\u{e9}:45:07Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
