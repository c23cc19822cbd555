//! Times on the command line, and in what people read.

use std::time::Duration;

use inflight::sim::Latency;

/// Longer than any run; beyond it clocks overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// `1500ms`, `60s`, `2m`, `1h`, `30d`; a number alone is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?;
    if time.is_zero() {
        return Err("it must be more than zero".into());
    }
    Ok(time)
}

/// `100ms`, or a range `50ms..150ms`.
pub(crate) fn parse_latency(text: &str) -> Result<Latency, String> {
    let Some((from, to)) = text.split_once("..") else {
        return parse_time(text).map(Latency::fixed);
    };
    let (from, to) = (parse_time(from)?, parse_time(to)?);
    if to < from {
        return Err("the range's end comes before its start".into());
    }
    Ok(Latency::range(from..to))
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number
        .parse()
        .map_err(|_| "it must be a number with a unit, such as 100ms, 60s or 2m".to_owned())?;
    let unit = match unit.trim() {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 24.0 * 3600.0,
        other => return Err(format!("`{other}` is no unit of time: use ms, s, m, h or d")),
    };
    match Duration::try_from_secs_f64(number * unit) {
        Ok(time) if time <= LONGEST => Ok(time),
        _ => Err("it is too long: at most a year".into()),
    }
}

/// A time as a person reads it: `84 ms`, `1.25 s`, `2 m 5 s`.
pub(crate) fn readable(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 0.9995 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 99.995 => format!("{seconds:.2} s"),
        _ => format!("{} m {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

/// A time in milliseconds, with microseconds as the fraction.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in [
            ("100ms", 100),
            ("1.5s", 1500),
            ("2", 2000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in ["", "ms", "-1s", "1 fortnight", "0", "1e400s", "99999999999h", "1..2"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn latencies_may_be_ranges_and_zero() {
        assert_eq!(parse_latency("0ms"), Ok(Latency::fixed(Duration::ZERO)));
        let range = Duration::from_millis(50)..Duration::from_millis(150);
        assert_eq!(parse_latency("50ms..150ms"), Ok(Latency::range(range)));
        assert!(parse_latency("150ms..50ms").is_err());
    }

    #[test]
    fn times_read_well() {
        for (milliseconds, text) in [(4, "4 ms"), (1250, "1.25 s"), (125_000, "2 m 5 s")] {
            assert_eq!(readable(Duration::from_millis(milliseconds)), text);
        }
    }
}
