//! Wall-clock time as packets carry it.
//!
//! Publisher and viewers share one machine's clock, so the capture time in a packet (abs-capture-time: 64 bits of NTP
//! time) and the kernel's arrival time may be subtracted.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970), RFC 5905 appendix A.
const NTP_UNIX_OFFSET_SECONDS: u64 = 2_208_988_800;

/// Nanoseconds since the Unix epoch.
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// NTP time (32.32 fixed point) of a Unix time in nanoseconds.
pub fn ntp_of_unix_ns(unix_ns: u64) -> u64 {
    let seconds = unix_ns / 1_000_000_000 + NTP_UNIX_OFFSET_SECONDS;
    let fraction = ((unix_ns % 1_000_000_000) << 32) / 1_000_000_000;
    (seconds << 32) | fraction
}

/// Unix time in nanoseconds of an NTP time (32.32 fixed point); 0 for times before 1970.
pub fn unix_ns_of_ntp(ntp: u64) -> u64 {
    let seconds = (ntp >> 32).saturating_sub(NTP_UNIX_OFFSET_SECONDS);
    let fraction = ((ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
    seconds * 1_000_000_000 + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_and_back_is_within_a_nanosecond() {
        for time in [0, 1, 999_999_999, 1_700_000_000_123_456_789] {
            assert!(unix_ns_of_ntp(ntp_of_unix_ns(time)).abs_diff(time) <= 1);
        }
    }
}
