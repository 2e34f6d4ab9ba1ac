//! ICE and DTLS as the offer describes them (RFC 8839, RFC 8842), of the section that carries the whole BUNDLE.

use crate::media::negotiated::{DtlsRole, Fingerprint, FingerprintAlgorithm, IceCredentials};
use crate::signalling::sdp::offer::{Attributes, Offer, Section};
use crate::signalling::sdp::refusal::Refusal;

/// Most fingerprints that are kept; one for each hash function is what clients send.
const MAX_FINGERPRINTS: usize = 8;

/// The client's end of the connection.
#[derive(Debug)]
pub(super) struct RemoteTransport {
    pub(super) ice: IceCredentials,
    pub(super) dtls_role: DtlsRole,
    pub(super) fingerprints: Vec<Fingerprint>,
}

/// Reads the transport of `tagged`, the first accepted section of the BUNDLE (RFC 9143 §7.3.1). What it lacks comes
/// from the session, or else from another section: a `bundle-only` section may leave its transport out.
pub(super) fn read(offer: &Offer, tagged: &Section) -> Result<RemoteTransport, Refusal> {
    if offer.session.has("ice-lite") {
        return Err(Refusal::IceLite);
    }
    let others =
        offer.sections.iter().filter(|section| section.mid != tagged.mid).map(|section| &section.attributes);
    let levels: Vec<&Attributes> = [&tagged.attributes, &offer.session].into_iter().chain(others).collect();
    let ice = levels.iter().find_map(|level| credentials(level)).ok_or(Refusal::NoIceCredentials)?;
    let fingerprints = levels
        .iter()
        .map(|level| fingerprints(level))
        .find(|fingerprints| !fingerprints.is_empty())
        .ok_or(Refusal::NoFingerprint)?;
    let setup = levels.iter().find_map(|level| level.value("setup"));
    let dtls_role = match setup {
        // An offer without a role is `active` (RFC 4145 §4).
        Some("actpass" | "active") | None => DtlsRole::Server,
        Some("passive") => DtlsRole::Client,
        Some(other) => return Err(Refusal::Setup(other.chars().take(32).collect())),
    };
    Ok(RemoteTransport { ice, dtls_role, fingerprints })
}

/// The credentials of one level, if both lines are there and good.
pub(super) fn credentials(level: &Attributes) -> Option<IceCredentials> {
    let (ufrag, password) = (level.value("ice-ufrag")?, level.value("ice-pwd")?);
    (is_ufrag(ufrag) && is_password(password))
        .then(|| IceCredentials { ufrag: ufrag.to_owned(), password: password.to_owned() })
}

/// 4 to 256 ice-chars (RFC 8839 §5.4).
pub(super) fn is_ufrag(text: &str) -> bool {
    (4..=256).contains(&text.len()) && text.bytes().all(is_ice_char)
}

/// 22 to 256 ice-chars (RFC 8839 §5.4).
pub(super) fn is_password(text: &str) -> bool {
    (22..=256).contains(&text.len()) && text.bytes().all(is_ice_char)
}

fn is_ice_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// The fingerprints of one level by hash functions that we have; others are passed over (RFC 8122 §5).
fn fingerprints(level: &Attributes) -> Vec<Fingerprint> {
    level.values("fingerprint").filter_map(fingerprint).take(MAX_FINGERPRINTS).collect()
}

fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (name, digest) = value.split_once(char::is_whitespace)?;
    let algorithm =
        [FingerprintAlgorithm::Sha256, FingerprintAlgorithm::Sha384, FingerprintAlgorithm::Sha512]
            .into_iter()
            .find(|algorithm| algorithm_name(*algorithm).eq_ignore_ascii_case(name))?;
    let byte = |pair: &str| {
        let good = pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
        good.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
    };
    let digest: Vec<u8> = digest.trim().split(':').map(byte).collect::<Option<_>>()?;
    let length = match algorithm {
        FingerprintAlgorithm::Sha256 => 32,
        FingerprintAlgorithm::Sha384 => 48,
        FingerprintAlgorithm::Sha512 => 64,
    };
    (digest.len() == length).then_some(Fingerprint { algorithm, digest })
}

/// The value of `a=fingerprint` (RFC 8122 §5: upper case, colons).
pub(super) fn fingerprint_line(fingerprint: &Fingerprint) -> String {
    let name = algorithm_name(fingerprint.algorithm);
    let mut line = String::with_capacity(name.len() + 1 + 3 * fingerprint.digest.len());
    line.push_str(name);
    // By hand: the formatter would take as long for these few bytes as for all the rest of a section.
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase();
    for (index, byte) in fingerprint.digest.iter().enumerate() {
        line.push(if index == 0 { ' ' } else { ':' });
        line.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    line
}

fn algorithm_name(algorithm: FingerprintAlgorithm) -> &'static str {
    match algorithm {
        FingerprintAlgorithm::Sha256 => "sha-256",
        FingerprintAlgorithm::Sha384 => "sha-384",
        FingerprintAlgorithm::Sha512 => "sha-512",
    }
}
