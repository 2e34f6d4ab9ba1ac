//! How a client answers checks of the node's own.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_SUCCESS, Message, Setter};
use rtc_stun::xoraddr::XorMappedAddress;

use super::REMOTE;

/// What a full agent with this password answers to a check.
pub fn answer_to(question: &[u8], password: &str) -> Bytes {
    let provider = AwsLcRsProvider::new();
    let mut message = Message::new();
    message.unmarshal_binary(question).unwrap();
    let transaction = message.transaction_id;
    let mut answer = Message::new();
    let setters: Vec<Box<dyn Setter>> = vec![
        Box::new(transaction),
        Box::new(BINDING_SUCCESS),
        Box::new(XorMappedAddress { ip: REMOTE.ip(), port: REMOTE.port() }),
    ];
    answer.build(&setters).unwrap();
    MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), provider.crypto())
        .add_to(&mut answer)
        .unwrap();
    FINGERPRINT.add_to(&mut answer).unwrap();
    Bytes::from(answer.raw)
}
