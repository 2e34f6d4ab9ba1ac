//! The controlling side of ICE, reduced to one pair: checks with nomination, answers to the server's own checks.

use std::net::{IpAddr, SocketAddrV4};

use anyhow::{Result, anyhow};
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, RawAttribute,
};
use rtc_stun::crypto::RTCCryptoProvider;
use rtc_stun::fingerprint::FingerprintAttr;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId};
use rtc_stun::xoraddr::XorMappedAddress;

use super::sdp::IceCredentials;

/// Priority of a peer-reflexive candidate of the first interface (RFC 8445 §5.1.2.1).
const CHECK_PRIORITY: u32 = 1_862_270_975;

fn attribute(typ: rtc_stun::attributes::AttrType, value: &[u8]) -> Box<dyn Setter> {
    Box::new(RawAttribute { typ, length: value.len() as u16, value: value.to_vec() })
}

fn build(setters: &[Box<dyn Setter + '_>]) -> Result<Vec<u8>> {
    let mut message = Message::new();
    message.build(setters).map_err(|error| anyhow!("cannot build a STUN message: {error}"))?;
    Ok(message.raw)
}

/// A connectivity check that nominates its pair (RFC 8445 §7.2.2); later the same message renews consent (RFC 7675).
///
/// # Errors
///
/// The crypto provider refuses the key.
pub fn check(
    local: &IceCredentials,
    remote: &IceCredentials,
    transaction: [u8; 12],
    provider: &dyn RTCCryptoProvider,
) -> Result<Vec<u8>> {
    let username = format!("{}:{}", remote.ufrag, local.ufrag);
    let integrity =
        MessageIntegrity::new_short_term_integrity_with_provider(remote.password.clone(), provider.crypto());
    build(&[
        Box::new(TransactionId(transaction)),
        Box::new(BINDING_REQUEST),
        attribute(ATTR_USERNAME, username.as_bytes()),
        attribute(ATTR_ICE_CONTROLLING, &transaction.first_chunk::<8>().copied().unwrap_or_default()),
        attribute(ATTR_USE_CANDIDATE, &[]),
        attribute(ATTR_PRIORITY, &CHECK_PRIORITY.to_be_bytes()),
        Box::new(integrity),
        Box::new(FingerprintAttr {}),
    ])
}

/// What an incoming STUN message means to a viewer.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The server answers a check, and it is really the server.
    Success,
    /// The server checks us (it is not ICE-lite); send this back.
    Respond(Vec<u8>),
    /// Nothing of use.
    Nothing,
}

/// Reads an incoming STUN message.
pub fn receive(
    datagram: &[u8],
    from: SocketAddrV4,
    local: &IceCredentials,
    remote: &IceCredentials,
    provider: &dyn RTCCryptoProvider,
) -> Incoming {
    let mut message = Message::new();
    if message.unmarshal_binary(datagram).is_err() {
        return Incoming::Nothing;
    }
    if message.typ == BINDING_SUCCESS {
        let checked = MessageIntegrity::check(&mut message, remote.password.as_bytes(), provider.crypto());
        return if checked.is_ok() { Incoming::Success } else { Incoming::Nothing };
    }
    if message.typ != BINDING_REQUEST
        || MessageIntegrity::check(&mut message, local.password.as_bytes(), provider.crypto()).is_err()
    {
        return Incoming::Nothing;
    }
    let integrity =
        MessageIntegrity::new_short_term_integrity_with_provider(local.password.clone(), provider.crypto());
    let response = build(&[
        Box::new(message.transaction_id),
        Box::new(BINDING_SUCCESS),
        Box::new(XorMappedAddress { ip: IpAddr::V4(*from.ip()), port: from.port() }),
        Box::new(integrity),
        Box::new(FingerprintAttr {}),
    ]);
    response.map_or(Incoming::Nothing, Incoming::Respond)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_check_is_answered_by_the_other_side_and_the_answer_is_believed() {
        let provider = rtc_stun::crypto::default_provider().unwrap();
        let credentials = |name: &str| IceCredentials {
            ufrag: name.to_owned(),
            password: format!("password-of-{name}-which-is-long"),
        };
        let (viewer, server) = (credentials("viewer"), credentials("server"));
        let from = "127.16.0.1:4000".parse().unwrap();
        let request = check(&viewer, &server, [7; 12], &*provider).unwrap();
        let Incoming::Respond(response) = receive(&request, from, &server, &viewer, &*provider) else {
            unreachable!("the check was not answered")
        };
        assert_eq!(receive(&response, from, &viewer, &server, &*provider), Incoming::Success);
        assert_eq!(receive(&response, from, &viewer, &viewer, &*provider), Incoming::Nothing);
        assert_eq!(receive(b"\0\x01garbage", from, &viewer, &server, &*provider), Incoming::Nothing);
    }
}
