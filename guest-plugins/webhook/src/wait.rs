//! Retry-After (RFC 9110 section 10.2.3): so many seconds, or a date.

/// The longest wait that is passed on, seconds; the queue may still wait longer.
const MOST: u32 = 86_400;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds from now; none: it says nothing that can be understood.
pub(crate) fn seconds(value: &str, now: u32) -> Option<u32> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit()) {
        // So many digits are very long.
        return Some(value.parse().unwrap_or(MOST).min(MOST));
    }
    let then = date(value)?;
    let wait = u32::try_from(then.saturating_sub(now.into()).max(0)).unwrap_or(MOST);
    Some(wait.min(MOST))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, in seconds since 1970. The older forms are not understood.
fn date(text: &str) -> Option<i64> {
    let (_, rest) = text.split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts[..] else { return None };
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let (day, year) = (day.parse::<u8>().ok()?.into(), year.parse::<u16>().ok()?.into());
    let clock: Vec<&str> = time.split(':').collect();
    let [hours, minutes, seconds] = clock[..] else { return None };
    let number = |text: &str| text.parse::<u8>().ok().map(i64::from);
    let (hours, minutes, seconds) = (number(hours)?, number(minutes)?, number(seconds)?);
    let fits = (1..=31).contains(&day) && hours < 24 && minutes < 60 && seconds <= 60 && year >= 1970;
    fits.then(|| days(year, month, day) * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

/// Days since 1970 of the Gregorian calendar; the year begins in March, so that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_years = 365 * year + year / 4 - year / 100 + year / 400;
    let of_months = (153 * month + 2) / 5;
    of_years + of_months + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits() {
        for (value, now, expected) in [
            ("120", 0, Some(120)),
            (" 0 ", 0, Some(0)),
            ("999999", 0, Some(MOST)),
            ("99999999999999999999", 0, Some(MOST)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777, Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_700, Some(77)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 800_000_000, Some(0)),
            ("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_399, Some(1)),
            ("Thu, 01 Jan 1970 00:00:05 GMT", 0, Some(5)),
            ("Sun, 06 Nov 2094 08:49:37 GMT", 0, Some(MOST)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 0, None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", 0, None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", 0, None),
            ("-5", 0, None),
            ("", 0, None),
            ("soon", 0, None),
        ] {
            assert_eq!(seconds(value, now), expected, "{value:?} at {now}");
        }
    }
}
