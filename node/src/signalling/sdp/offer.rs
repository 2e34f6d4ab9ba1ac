//! An offer, cut into its sections.

use crate::media::codec::MediaKind;
use crate::signalling::sdp::lines::{self, Attribute, MediaSection};
use crate::signalling::sdp::refusal::{MAX_OFFER_BYTES, Refusal};

/// Most sections of an offer, ours and foreign. A browser that plays one stream offers two or three.
const MAX_SECTIONS: usize = 32;

/// Longest `a=mid` in bytes: what a one-byte header extension can carry (RFC 8285 §4.2).
const MAX_MID_BYTES: usize = 16;

/// An offer whose lines are well formed; nothing is decided yet.
#[derive(Debug)]
pub(super) struct Offer {
    /// Session-level `a=` lines.
    pub(super) session: Attributes,
    /// In the order of the `m=` lines.
    pub(super) sections: Vec<Section>,
    /// The mids of each BUNDLE group.
    pub(super) bundles: Vec<Vec<String>>,
}

/// One `m=` section.
#[derive(Debug)]
pub(super) struct Section {
    /// The first field of the `m=` line.
    pub(super) media: String,
    /// Audio or video; none for data channels and whatever else there is.
    pub(super) kind: Option<MediaKind>,
    /// The offer itself says that this section is not used: port 0 without `bundle-only` (RFC 9143 §6).
    pub(super) rejected: bool,
    /// The third field of the `m=` line.
    pub(super) protocol: String,
    /// The rest of the `m=` line: payload types.
    pub(super) formats: Vec<String>,
    /// `a=mid`; may be missing where nothing is bundled.
    pub(super) mid: Option<String>,
    /// Of the section, or else of the session, or else `sendrecv` (RFC 8866 §6.7).
    pub(super) direction: SectionDirection,
    /// Its `a=` lines.
    pub(super) attributes: Attributes,
}

/// `a=sendrecv` and its kin (RFC 8866 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SectionDirection {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl SectionDirection {
    const ALL: [Self; 4] = [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub(super) fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub(super) fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    fn among(attributes: &Attributes) -> Option<Self> {
        Self::ALL.into_iter().find(|direction| attributes.has(direction.as_str()))
    }
}

/// `a=` lines in their order.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<Attribute>);

impl Attributes {
    /// Whether there is a line with this name, with a value or without.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|attribute| attribute.name() == name)
    }

    /// The values of every line with this name.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |attribute| attribute.name() == name);
        named.filter_map(|attribute| Some(attribute.value()?.trim()))
    }

    /// The first value.
    pub(super) fn value<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// Name and value of every line that has a value.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|attribute| Some((attribute.name(), attribute.value()?.trim())))
    }
}

impl Section {
    /// The section's name in messages to people.
    pub(super) fn name(&self) -> String {
        self.mid.clone().unwrap_or_else(|| self.media.clone())
    }
}

/// Reads an offer. Lines that we do not know are no error; lines that are not lines are.
pub(super) fn parse(text: &str) -> Result<Offer, Refusal> {
    if text.len() > MAX_OFFER_BYTES {
        return Err(Refusal::TooLarge(text.len()));
    }
    check_characters(text)?;
    let description = lines::parse(text).map_err(|error| malformed(&error.to_string()))?;
    if description.sections.len() > MAX_SECTIONS {
        return Err(malformed("it has too many sections"));
    }
    let session = Attributes(description.attributes);
    let bundles: Vec<Vec<String>> = session
        .values("group")
        .filter_map(|value| value.strip_prefix("BUNDLE"))
        .map(|mids| mids.split_ascii_whitespace().map(str::to_owned).collect())
        .collect();
    let inherited = SectionDirection::among(&session).unwrap_or(SectionDirection::SendRecv);
    let sections: Vec<Section> =
        description.sections.into_iter().map(|media| section(media, inherited)).collect();
    check_mids(&sections)?;
    let is_there = |mid: &String| sections.iter().any(|section| section.mid.as_ref() == Some(mid));
    if !bundles.iter().flatten().all(is_there) {
        return Err(malformed("a BUNDLE group names a section that is not there, was the offer cut off?"));
    }
    Ok(Offer { session, sections, bundles })
}

/// Lines end at LF only and may hold other control characters; parts of them go into our answer, where a stray CR would
/// start a line that the client never wrote as one.
fn check_characters(text: &str) -> Result<(), Refusal> {
    let bytes = text.as_bytes();
    let lone_cr = bytes.windows(2).any(|pair| matches!(pair, [b'\r', next] if *next != b'\n'));
    let control = bytes.iter().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\r' | b'\n' | b'\t'));
    if lone_cr || control {
        return Err(malformed("it has control characters inside of lines"));
    }
    Ok(())
}

fn check_mids(sections: &[Section]) -> Result<(), Refusal> {
    for (index, section) in sections.iter().enumerate() {
        let Some(mid) = &section.mid else { continue };
        if mid.is_empty() || mid.len() > MAX_MID_BYTES || mid.contains(char::is_whitespace) {
            return Err(malformed("an a=mid has not between 1 and 16 bytes, or has spaces"));
        }
        if sections.iter().take(index).any(|earlier| earlier.mid.as_ref() == Some(mid)) {
            return Err(malformed("two sections have the same a=mid"));
        }
    }
    Ok(())
}

fn section(section: MediaSection, inherited: SectionDirection) -> Section {
    let MediaSection { media, port, protocol, formats, attributes } = section;
    let attributes = Attributes(attributes);
    let kind = match media.as_str() {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    };
    Section {
        media,
        kind,
        rejected: port == 0 && !attributes.has("bundle-only"),
        protocol,
        formats,
        mid: attributes.value("mid").map(str::to_owned),
        direction: SectionDirection::among(&attributes).unwrap_or(inherited),
        attributes,
    }
}

pub(super) fn malformed(reason: &str) -> Refusal {
    Refusal::Malformed(reason.to_owned())
}
