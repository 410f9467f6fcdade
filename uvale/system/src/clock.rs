//! Times of day, in the zone of this process.

use std::time::{SystemTime, UNIX_EPOCH};

/// A broken-down time and the distance of its zone from UTC in seconds.
#[allow(unsafe_code)]
fn local(time: SystemTime) -> libc::tm {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() as _);
    // SAFETY: all integers and a pointer: zero is valid for each.
    let mut tm: libc::tm = unsafe { core::mem::zeroed() };
    // SAFETY: reads `seconds` and writes `tm`, which are ours. The zone's tables are libc's, behind
    // its own lock.
    unsafe { libc::localtime_r(&seconds, &mut tm) };
    tm
}

/// `2026-11-29T14:03:07+01:00` (RFC 3339).
pub fn rfc3339(time: SystemTime) -> String {
    let tm = local(time);
    let east = tm.tm_gmtoff / 60;
    let sign = if east < 0 { '-' } else { '+' };
    let (hours, minutes) = (east.abs() / 60, east.abs() % 60);
    format!(
        "{}T{:02}:{:02}:{:02}{sign}{hours:02}:{minutes:02}",
        date(&tm),
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec
    )
}

/// `14:03`, with the date if it was another day.
pub fn short(time: SystemTime) -> String {
    let (tm, now) = (local(time), local(SystemTime::now()));
    let minute = format!("{:02}:{:02}", tm.tm_hour, tm.tm_min);
    if (tm.tm_year, tm.tm_yday) == (now.tm_year, now.tm_yday) {
        minute
    } else {
        format!("{} {minute}", date(&tm))
    }
}

fn date(tm: &libc::tm) -> String {
    let (year, month) = (tm.tm_year + 1900, tm.tm_mon + 1);
    format!("{year:04}-{month:02}-{:02}", tm.tm_mday)
}

/// Monotonic time in nanoseconds, which all processes of the machine share.
pub fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_have_a_date_and_a_zone() {
        let text = rfc3339(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let bytes = text.as_bytes();
        assert_eq!(text.len(), "2023-11-14T22:13:20+00:00".len(), "{text}");
        assert!(text.starts_with("2023-11-1") && bytes[10] == b'T', "{text}");
        assert!(bytes[19] == b'+' || bytes[19] == b'-', "{text}");
    }

    #[test]
    fn another_day_is_named() {
        let now = SystemTime::now();
        assert!(short(now).len() <= "2026-11-28 23:59".len());
        let long_ago = short(now - Duration::from_secs(3 * 86400));
        assert_eq!(long_ago.len(), "2026-11-28 23:59".len(), "{long_ago}");
    }
}
