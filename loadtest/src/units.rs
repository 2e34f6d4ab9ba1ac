//! Amounts as a person types them: `1.5M`, `30s`, `100/s`, `5%`.

use std::time::Duration;

/// Splits `12.5abc` into 12.5 and `abc`.
fn split(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let value: f64 = number.parse().map_err(|_| format!("{text:?} does not start with a number"))?;
    Ok((value, unit.trim()))
}

/// Bits per second: `800k`, `1.5M`, `2000000`, with or without `bps` or `bit/s`.
///
/// # Errors
///
/// No number, an unknown unit, or nothing per second.
pub fn parse_bitrate(text: &str) -> Result<u64, String> {
    let (value, unit) = split(text)?;
    let unit = unit.trim_end_matches("bit/s").trim_end_matches("bps");
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "m" | "M" => 1e6,
        "g" | "G" => 1e9,
        _ => return Err(format!("unknown unit in {text:?}: use k, M or G (bits per second)")),
    };
    let bits = (value * factor).round();
    if bits < 1.0 { Err(format!("{text:?} is no bitrate")) } else { Ok(bits as u64) }
}

/// A time: `500us`, `30ms`, `2s`, `1.5m`, `1h`; a bare number is seconds.
///
/// # Errors
///
/// No number or an unknown unit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (value, unit) = split(text)?;
    let factor = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit in {text:?}: use us, ms, s, m or h")),
    };
    Duration::try_from_secs_f64(value * factor).map_err(|error| format!("{text:?}: {error}"))
}

/// Events per second: `100/s`, `100`, `6000/m`.
///
/// # Errors
///
/// No number, an unknown unit, or zero.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let (value, unit) = split(text)?;
    let per_second = match unit {
        "" | "/s" => value,
        "/m" | "/min" => value / 60.0,
        _ => return Err(format!("unknown unit in {text:?}: use /s or /m")),
    };
    if per_second > 0.0 { Ok(per_second) } else { Err(format!("{text:?} is no rate")) }
}

/// A share from 0 to 1: `0.05` or `5%`.
///
/// # Errors
///
/// No number, an unknown unit, or outside 0 to 1.
pub fn parse_ratio(text: &str) -> Result<f64, String> {
    let (value, unit) = split(text)?;
    let ratio = match unit {
        "" => value,
        "%" => value / 100.0,
        _ => return Err(format!("unknown unit in {text:?}: use a share from 0 to 1, or %")),
    };
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(format!("{text:?} is not between 0 and 1")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitrates() {
        assert_eq!(parse_bitrate("1.5M"), Ok(1_500_000));
        assert_eq!(parse_bitrate("800k"), Ok(800_000));
        assert_eq!(parse_bitrate("64000"), Ok(64_000));
        assert_eq!(parse_bitrate("2Mbit/s"), Ok(2_000_000));
        assert!(parse_bitrate("fast").is_err());
        assert!(parse_bitrate("3x").is_err());
        assert!(parse_bitrate("0").is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("30ms"), Ok(Duration::from_millis(30)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
        assert!(parse_duration("2 weeks").is_err());
    }

    #[test]
    fn rates_and_ratios() {
        assert_eq!(parse_rate("100/s"), Ok(100.0));
        assert_eq!(parse_rate("60/m"), Ok(1.0));
        assert!(parse_rate("0/s").is_err());
        assert_eq!(parse_ratio("5%"), Ok(0.05));
        assert_eq!(parse_ratio("0.05"), Ok(0.05));
        assert!(parse_ratio("1.5").is_err());
    }
}
