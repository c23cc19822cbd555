//! Billing periods in days and months.

const DAY: i64 = 86_400;

/// The moment so many days, weeks, months or years after `start` (Unix seconds). A month that has no such day ends on its
/// last one.
pub(crate) fn add_interval(start: i64, interval: &str, count: i64) -> i64 {
    match interval {
        "day" => start.saturating_add(count.saturating_mul(DAY)),
        "week" => start.saturating_add(count.saturating_mul(7 * DAY)),
        "year" => add_months(start, count.saturating_mul(12)),
        _ => add_months(start, count),
    }
}

fn add_months(start: i64, months: i64) -> i64 {
    let (year, month, day) = civil(start.div_euclid(DAY));
    let month = month - 1 + months.min(12_000);
    let (year, month) = (year + month.div_euclid(12), month.rem_euclid(12) + 1);
    let day = day.min(days_in(year, month));
    days(year, month, day)
        .saturating_mul(DAY)
        .saturating_add(start.rem_euclid(DAY))
}

fn days_in(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days(next_year, next, 1) - days(year, month, 1)
}

/// Days since 1970-01-01. Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day. The same source, `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The day of a moment (Unix seconds), as invoices say it: `24 Nov 2026`.
pub(crate) fn day(moment: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day) = civil(moment.clamp(0, 253_402_300_799).div_euclid(DAY));
    let name = usize::try_from(month - 1).ok().and_then(|place| MONTHS.get(place));
    format!("{day} {} {year}", name.copied().unwrap_or_default())
}

/// A moment (Unix seconds) as RFC 3339 has it: `2026-11-24T12:00:00.000Z`.
pub(crate) fn date_time(moment: i64) -> String {
    // Years of four digits only.
    let moment = moment.clamp(0, 253_402_300_799);
    let (year, month, day) = civil(moment.div_euclid(DAY));
    let second = moment.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        let at = |year, month, day| days(year, month, day) * DAY + 3600;
        for (start, interval, count, end) in [
            (at(2026, 1, 31), "month", 1, at(2026, 2, 28)),
            (at(2024, 1, 31), "month", 1, at(2024, 2, 29)),
            (at(2026, 11, 30), "month", 3, at(2027, 2, 28)),
            (at(2024, 2, 29), "year", 1, at(2025, 2, 28)),
            (at(2026, 12, 31), "day", 1, at(2027, 1, 1)),
            (at(2026, 1, 1), "week", 2, at(2026, 1, 15)),
        ] {
            assert_eq!(add_interval(start, interval, count), end, "{start} {interval} {count}");
        }
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(civil(days(2026, 11, 24)), (2026, 11, 24));
        assert_eq!(day(1_795_478_400), "24 Nov 2026");
        assert_eq!(date_time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date_time(1_700_000_000), "2023-11-14T22:13:20.000Z");
        for interval in ["day", "week", "month", "year"] {
            assert_eq!(add_interval(i64::MAX, interval, 1095), i64::MAX, "{interval}");
        }
    }
}
