//! The `Date` header: clients set their clocks by it.

use headcount_export::iso8601;

/// `ms`, milliseconds since 1970-01-01 UTC, as in `Sun, 22 Mar 2015 11:42:25 GMT` (RFC 9110, section 5.6.7).
pub(crate) fn http_date(ms: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let iso = iso8601(ms);
    let (date, time) = iso.split_once('T').unwrap_or_default();
    let mut parts = date.split('-');
    let year = parts.next().unwrap_or_default();
    let month: usize = parts.next().and_then(|m| m.parse().ok()).unwrap_or(1);
    let month = MONTHS.get(month.wrapping_sub(1)).copied().unwrap_or_default();
    let number = parts.next().unwrap_or_default();
    let weekday = usize::try_from(ms / 86_400_000 % 7).ok().and_then(|day| DAYS.get(day)).copied().unwrap_or_default();
    format!("{weekday}, {number} {month} {year} {} GMT", time.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(1_427_024_545_943), "Sun, 22 Mar 2015 11:42:25 GMT");
        assert_eq!(http_date(951_782_399_999), "Mon, 28 Feb 2000 23:59:59 GMT");
    }
}
