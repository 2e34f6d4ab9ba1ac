//! What is kept of a finished handshake: enough to say goodbye and to understand the peer's.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::alert::{CLOSE_NOTIFY, FATAL, WARNING};
use super::identity::DtlsIdentity;
use super::library::Parked;
use super::record::{ALERT, Record};
use super::session::Session;
use crate::media::negotiated::DtlsRole;

/// See the module.
pub enum Association {
    /// Of our own handshake, as server.
    Ours(Session),
    /// Of the library's, in either role.
    Library(DtlsRole, Parked),
}

impl Association {
    /// Whether an encrypted record is a fatal alert or a goodbye that the peer really sent; then what to answer.
    pub fn end(&mut self, now: Instant, identity: &DtlsIdentity, record: &Record<'_>) -> Option<Vec<Bytes>> {
        match self {
            Self::Ours(session) => match session.open(record)?.as_slice() {
                [_, CLOSE_NOTIFY] => Some(goodbye(session)),
                [FATAL, _] => Some(Vec::new()),
                _ => None,
            },
            Self::Library(role, parked) => parked.end(now, *role, identity, record.whole),
        }
    }

    /// Our goodbye.
    pub fn goodbye(&mut self, now: Instant, identity: &DtlsIdentity) -> Vec<Bytes> {
        match self {
            Self::Ours(session) => goodbye(session),
            Self::Library(role, parked) => parked.goodbye(now, *role, identity),
        }
    }
}

fn goodbye(session: &mut Session) -> Vec<Bytes> {
    let mut datagram = BytesMut::new();
    match session.seal(&mut datagram, ALERT, &[WARNING, CLOSE_NOTIFY]) {
        Ok(()) => vec![datagram.freeze()],
        Err(_) => Vec::new(),
    }
}
