//! Alerts: their numbers, and those in plain text, which nobody vouches for (RFC 5246 §7.2).

use bytes::{Bytes, BytesMut};

use super::record::{ALERT, Record, Records, write_record};

/// Level: the association may go on.
pub const WARNING: u8 = 1;
/// Level: it is over.
pub const FATAL: u8 = 2;

/// The peer says goodbye.
pub const CLOSE_NOTIFY: u8 = 0;
/// A message that has no place here.
pub const UNEXPECTED_MESSAGE: u8 = 10;
/// There are no common terms.
pub const HANDSHAKE_FAILURE: u8 = 40;
/// The certificate cannot be read, or is not the announced one.
pub const BAD_CERTIFICATE: u8 = 42;
/// A value is not one of those offered.
pub const ILLEGAL_PARAMETER: u8 = 47;
/// A message cannot be read.
pub const DECODE_ERROR: u8 = 50;
/// A signature or a Finished is wrong.
pub const DECRYPT_ERROR: u8 = 51;
/// We failed.
pub const INTERNAL_ERROR: u8 = 80;

/// The number of an alert's record in plain text: above all that went before it, so that it is no replay.
const NUMBER: u64 = 64;

/// A fatal alert in plain text.
pub fn fatal(description: u8) -> Bytes {
    let mut datagram = BytesMut::new();
    write_record(&mut datagram, ALERT, NUMBER, &[FATAL, description]);
    datagram.freeze()
}

/// The description of an alert that would end the handshake if it were signed.
pub fn ending(record: &Record<'_>) -> Option<u8> {
    match *record.body {
        [level, description] if level == FATAL || description == CLOSE_NOTIFY => Some(description),
        _ => None,
    }
}

/// The description of a fatal alert that our own datagram carries in plain text.
pub fn of_datagram(datagram: &[u8]) -> Option<u8> {
    Records::of(datagram).filter(|record| record.kind == ALERT && record.epoch == 0).find_map(|record| {
        match *record.body {
            [FATAL, description] => Some(description),
            _ => None,
        }
    })
}
