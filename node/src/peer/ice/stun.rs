//! Connectivity checks on the wire (RFC 8489, RFC 8445 §7): read in place, answered from one small buffer.
//!
//! Checks come from anywhere, so nothing here trusts a length. The message is never copied or taken apart into owned
//! attributes: a node answers some checks per second and viewer for as long as they watch.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;
use bytes::Bytes;
use rtc_stun::attributes::{
    ATTR_ERROR_CODE, ATTR_FINGERPRINT, ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY,
    ATTR_UNKNOWN_ATTRIBUTES, ATTR_USE_CANDIDATE, ATTR_USERNAME, ATTR_XORMAPPED_ADDRESS, AttrType,
};
use rtc_stun::fingerprint::fingerprint_value;
use rtc_stun::message::{ATTRIBUTE_HEADER_SIZE, MAGIC_COOKIE, MESSAGE_HEADER_SIZE, TRANSACTION_ID_SIZE};
use subtle::ConstantTimeEq;

/// Message type of a Binding request.
pub(super) const BINDING_REQUEST: u16 = 0x0001;
/// Message type of a Binding success response.
pub(super) const BINDING_SUCCESS: u16 = 0x0101;
/// Message type of a Binding error response.
const BINDING_ERROR: u16 = 0x0111;

/// Bytes of a MESSAGE-INTEGRITY value: HMAC-SHA1.
const INTEGRITY_BYTES: usize = 20;

/// Bytes of a whole FINGERPRINT attribute.
const FINGERPRINT_ATTRIBUTE_BYTES: usize = 8;

/// Bytes of the longest answer that refuses nothing: header, IPv6 address, integrity, fingerprint.
const ANSWER_BYTES: usize = MESSAGE_HEADER_SIZE + 24 + 24 + FINGERPRINT_ATTRIBUTE_BYTES;

/// The errors that a check is answered with (RFC 8489 §9.1.3, §6.3.1; RFC 8445 §7.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckError {
    /// USERNAME or MESSAGE-INTEGRITY is missing.
    BadRequest,
    /// Wrong username or wrong password.
    Unauthorized,
    /// Attributes that must be understood are not.
    UnknownAttributes,
    /// The client believes to be controlled; but so are we, being lite.
    RoleConflict,
}

/// A well-formed Binding request with a good fingerprint; its sender is not authenticated yet.
#[derive(Debug)]
pub struct Check<'a> {
    bytes: &'a [u8],
    transaction: [u8; TRANSACTION_ID_SIZE],
    username: Option<&'a [u8]>,
    /// Offset of the MESSAGE-INTEGRITY attribute, and its value.
    integrity: Option<(usize, &'a [u8])>,
    has_unknown: bool,
    use_candidate: bool,
    controlled: bool,
}

impl<'a> Check<'a> {
    /// Reads a Binding request. `None` for everything else, broken or without a good FINGERPRINT (RFC 8445 §7.1).
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let transaction = transaction_of_request(bytes)?;
        let mut check = Self {
            bytes,
            transaction,
            username: None,
            integrity: None,
            has_unknown: false,
            use_candidate: false,
            controlled: false,
        };
        let mut fingerprint = None;
        let mut attributes = Attributes::of(bytes);
        for attribute in attributes.by_ref() {
            if fingerprint.is_some() {
                return None; // FINGERPRINT is last (RFC 8489 §14.7)
            }
            match attribute.kind {
                ATTR_FINGERPRINT => fingerprint = Some(attribute),
                // What follows MESSAGE-INTEGRITY is not covered by it and must be ignored (RFC 8489 §14.5).
                _ if check.integrity.is_some() => {}
                _ => check.take(&attribute),
            }
        }
        let fingerprint = fingerprint.filter(|_| attributes.rest.is_empty())?;
        let covered = bytes.get(..fingerprint.offset)?;
        let value = u32::from_be_bytes(fingerprint.value.try_into().ok()?);
        (value == fingerprint_value(covered)).then_some(check)
    }

    fn take(&mut self, attribute: &Attribute<'a>) {
        match attribute.kind {
            ATTR_USERNAME => self.username = self.username.or(Some(attribute.value)),
            ATTR_MESSAGE_INTEGRITY => self.integrity = Some((attribute.offset, attribute.value)),
            ATTR_USE_CANDIDATE => self.use_candidate = true,
            ATTR_ICE_CONTROLLED => self.controlled = true,
            kind => self.has_unknown |= is_unknown(kind),
        }
    }

    /// The USERNAME and the message's integrity, if both are there.
    ///
    /// # Errors
    ///
    /// [`CheckError::BadRequest`] if one of them is missing.
    pub fn username(&self) -> Result<&'a [u8], CheckError> {
        self.username.filter(|_| self.integrity.is_some()).ok_or(CheckError::BadRequest)
    }

    /// Whether the sender knows `key`.
    pub fn is_signed_with(&self, key: &hmac::Key) -> bool {
        self.integrity.is_some_and(|(offset, value)| bears_tag(self.bytes, offset, value, key))
    }

    /// What an authenticated check must still be refused for.
    ///
    /// # Errors
    ///
    /// Attributes that we should understand but do not, or a client that is not in control.
    pub fn acceptable(&self) -> Result<(), CheckError> {
        if self.has_unknown {
            return Err(CheckError::UnknownAttributes);
        }
        if self.controlled { Err(CheckError::RoleConflict) } else { Ok(()) }
    }

    /// Whether the client nominates the path that this check came on.
    pub fn nominates(&self) -> bool {
        self.use_candidate
    }

    /// The success response, telling the client its address as we see it.
    pub fn success(&self, client: SocketAddr, key: &hmac::Key) -> Bytes {
        let mut answer = Draft::new(BINDING_SUCCESS, &self.transaction);
        answer.xor_mapped_address(client, &self.transaction);
        answer.finish(Some(key))
    }

    /// The error response; signed with `key` if the sender proved to know it (RFC 8489 §9.1.4).
    pub fn error(&self, error: CheckError, key: Option<&hmac::Key>) -> Bytes {
        let mut answer = Draft::new(BINDING_ERROR, &self.transaction);
        let (class, number) = match error {
            CheckError::BadRequest => (4, 0),
            CheckError::Unauthorized => (4, 1),
            CheckError::UnknownAttributes => (4, 20),
            CheckError::RoleConflict => (4, 87),
        };
        // No reason phrase: it may be empty, and an answer to a stranger is never longer than the question.
        answer.attribute(ATTR_ERROR_CODE, &[0, 0, class, number]);
        if error == CheckError::UnknownAttributes {
            answer.attribute(ATTR_UNKNOWN_ATTRIBUTES, &self.unknown_attributes());
        }
        answer.finish(key)
    }

    /// The types of all attributes that must be understood and are not (RFC 8489 §14.13): two bytes each, of four or more that
    /// each has in the check.
    fn unknown_attributes(&self) -> Vec<u8> {
        let end = self.integrity.map_or(usize::MAX, |(offset, _)| offset);
        let covered = Attributes::of(self.bytes).take_while(|attribute| attribute.offset < end);
        let unknown = covered.filter(|attribute| is_unknown(attribute.kind));
        unknown.flat_map(|attribute| attribute.kind.value().to_be_bytes()).collect()
    }
}

/// Whether a check must be refused for an attribute of this type (RFC 8489 §14): comprehension-required, and none of those that
/// we know.
fn is_unknown(kind: AttrType) -> bool {
    const KNOWN: [AttrType; 6] = [
        ATTR_USERNAME,
        ATTR_MESSAGE_INTEGRITY,
        ATTR_USE_CANDIDATE,
        ATTR_ICE_CONTROLLED,
        ATTR_PRIORITY,
        ATTR_FINGERPRINT,
    ];
    kind.required() && !KNOWN.contains(&kind)
}

/// The ufrag of ours that a check names (`USERNAME` is `ours:theirs`), without looking at anything else. Allocates nothing.
pub fn ufrag_of_check(datagram: &[u8]) -> Option<&str> {
    transaction_of_request(datagram)?;
    let username = Attributes::of(datagram).find(|attribute| attribute.kind == ATTR_USERNAME)?;
    std::str::from_utf8(username.value).ok()?.split_once(':').map(|(ours, _)| ours)
}

/// Whether `datagram` is a whole check by somebody who knows the ICE password `password`.
pub fn is_signed_by(datagram: &[u8], password: &str) -> bool {
    Check::parse(datagram).is_some_and(|check| check.is_signed_with(&integrity_key(password)))
}

/// Whether `datagram` is a message of this type and transaction, signed with `key`.
pub(super) fn is_signed(
    datagram: &[u8],
    kind: u16,
    transaction: &[u8; TRANSACTION_ID_SIZE],
    key: &hmac::Key,
) -> bool {
    if header_of(datagram, kind).as_ref() != Some(transaction) {
        return false;
    }
    let tag = Attributes::of(datagram).find(|attribute| attribute.kind == ATTR_MESSAGE_INTEGRITY);
    tag.is_some_and(|tag| bears_tag(datagram, tag.offset, tag.value, key))
}

/// Whether `value` is what `key` makes of the message up to its MESSAGE-INTEGRITY, which begins at `offset`.
fn bears_tag(message: &[u8], offset: usize, value: &[u8], key: &hmac::Key) -> bool {
    let (Some(header), Some(attributes)) =
        (message.first_chunk::<MESSAGE_HEADER_SIZE>(), message.get(MESSAGE_HEADER_SIZE..offset))
    else {
        return false;
    };
    // The length field counts up to the end of MESSAGE-INTEGRITY and no further (RFC 8489 §14.5).
    let covered = attributes.len() + ATTRIBUTE_HEADER_SIZE + INTEGRITY_BYTES;
    let [kind_0, kind_1, _, _, rest @ ..] = *header;
    let Ok(length) = u16::try_from(covered) else { return false };
    let mut context = hmac::Context::with_key(key);
    context.update(&[kind_0, kind_1]);
    context.update(&length.to_be_bytes());
    context.update(&rest);
    context.update(attributes);
    context.sign().as_ref().ct_eq(value).into()
}

/// How a check was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// With success.
    Answered,
    /// With an error.
    Refused,
}

/// How the check was answered that `datagram` of ours answers; `None` for every other datagram.
pub fn verdict_of_answer(datagram: &[u8]) -> Option<Verdict> {
    match u16::from_be_bytes(*datagram.first_chunk()?) {
        BINDING_SUCCESS => Some(Verdict::Answered),
        BINDING_ERROR => Some(Verdict::Refused),
        _ => None,
    }
}

/// The transaction id, if `bytes` starts with the header of a Binding request of exactly this length.
pub fn transaction_of_request(bytes: &[u8]) -> Option<[u8; TRANSACTION_ID_SIZE]> {
    header_of(bytes, BINDING_REQUEST)
}

/// The same of a Binding success response.
pub fn transaction_of_success(bytes: &[u8]) -> Option<[u8; TRANSACTION_ID_SIZE]> {
    header_of(bytes, BINDING_SUCCESS)
}

/// The same of any message type.
fn header_of(bytes: &[u8], kind: u16) -> Option<[u8; TRANSACTION_ID_SIZE]> {
    let [kind_0, kind_1, length_0, length_1, cookie_0, cookie_1, cookie_2, cookie_3, transaction @ ..] =
        *bytes.first_chunk::<MESSAGE_HEADER_SIZE>()?;
    let length = usize::from(u16::from_be_bytes([length_0, length_1]));
    let fits = u16::from_be_bytes([kind_0, kind_1]) == kind
        && u32::from_be_bytes([cookie_0, cookie_1, cookie_2, cookie_3]) == MAGIC_COOKIE
        && bytes.len() == MESSAGE_HEADER_SIZE + length
        && length.is_multiple_of(4);
    fits.then_some(transaction)
}

/// One attribute of a message.
struct Attribute<'a> {
    /// Where its header starts in the message.
    offset: usize,
    kind: AttrType,
    value: &'a [u8],
}

/// The attributes of a message, in order; ends early at the first that does not fit.
struct Attributes<'a> {
    offset: usize,
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    fn of(message: &'a [u8]) -> Self {
        Self { offset: MESSAGE_HEADER_SIZE, rest: message.get(MESSAGE_HEADER_SIZE..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (header, rest) = self.rest.split_first_chunk::<ATTRIBUTE_HEADER_SIZE>()?;
        let [kind_0, kind_1, length_0, length_1] = *header;
        let length = usize::from(u16::from_be_bytes([length_0, length_1]));
        let (padded, rest) = rest.split_at_checked(length.next_multiple_of(4))?;
        let attribute = Attribute {
            offset: self.offset,
            kind: AttrType(u16::from_be_bytes([kind_0, kind_1])),
            value: padded.get(..length)?,
        };
        self.offset += ATTRIBUTE_HEADER_SIZE + padded.len();
        self.rest = rest;
        Some(attribute)
    }
}

/// A message under construction.
pub(super) struct Draft(Vec<u8>);

impl Draft {
    pub(super) fn new(kind: u16, transaction: &[u8; TRANSACTION_ID_SIZE]) -> Self {
        let mut bytes = Vec::with_capacity(ANSWER_BYTES);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        bytes.extend_from_slice(transaction);
        Self(bytes)
    }

    /// Writes the length field as if `following` more bytes of attributes were there already.
    fn set_length(&mut self, following: usize) {
        let length = self.0.len() + following - MESSAGE_HEADER_SIZE;
        let field = self.0.get_mut(2..4).zip(u16::try_from(length).ok());
        if let Some((field, length)) = field {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Appends an attribute, of which no more than its length field can say is kept.
    pub(super) fn attribute(&mut self, kind: AttrType, value: &[u8]) {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        let value = value.get(..usize::from(length)).unwrap_or(value);
        self.0.extend_from_slice(&kind.value().to_be_bytes());
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// RFC 8489 §14.2: port and address, masked with the cookie and the transaction id.
    fn xor_mapped_address(&mut self, address: SocketAddr, transaction: &[u8; TRANSACTION_ID_SIZE]) {
        let cookie = MAGIC_COOKIE.to_be_bytes();
        let [cookie_0, cookie_1, ..] = cookie;
        let port = address.port() ^ u16::from_be_bytes([cookie_0, cookie_1]);
        let mut value = [0_u8; 20];
        let mask = cookie.iter().chain(transaction);
        let family = match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                write_masked(&mut value, &ip.octets(), mask);
                1
            }
            IpAddr::V6(ip) => {
                write_masked(&mut value, &ip.octets(), mask);
                2
            }
        };
        let [_, family_byte, port_0, port_1, ..] = &mut value;
        *family_byte = family;
        [*port_0, *port_1] = port.to_be_bytes();
        let length = if family == 1 { 8 } else { 20 };
        self.attribute(ATTR_XORMAPPED_ADDRESS, value.get(..length).unwrap_or_default());
    }

    /// Appends MESSAGE-INTEGRITY, if there is a key, and FINGERPRINT.
    pub(super) fn finish(mut self, key: Option<&hmac::Key>) -> Bytes {
        if let Some(key) = key {
            self.set_length(ATTRIBUTE_HEADER_SIZE + INTEGRITY_BYTES);
            let tag = hmac::sign(key, &self.0);
            self.attribute(ATTR_MESSAGE_INTEGRITY, tag.as_ref());
        }
        self.set_length(FINGERPRINT_ATTRIBUTE_BYTES);
        let fingerprint = fingerprint_value(&self.0);
        self.attribute(ATTR_FINGERPRINT, &fingerprint.to_be_bytes());
        Bytes::from(self.0)
    }
}

/// Writes `address` behind the first four bytes of `value`, xored with `mask`.
fn write_masked<'a>(value: &mut [u8], address: &[u8], mask: impl Iterator<Item = &'a u8>) {
    for ((to, byte), mask) in value.iter_mut().skip(4).zip(address).zip(mask) {
        *to = byte ^ mask;
    }
}

/// The HMAC key of an ICE password (short-term credentials, RFC 8489 §9.1.1).
pub fn integrity_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}
