//! The lines of a session description (RFC 8866 §5), in their order: what belongs to the session, what to which section.
//!
//! Attributes are kept as they stand; of everything else only what an answer needs.

/// Types of media of an `m=` line (RFC 8866 §5.14, RFC 6466).
const MEDIA: [&str; 6] = ["audio", "video", "text", "application", "message", "image"];

/// A session description.
#[derive(Debug)]
pub(super) struct Description {
    /// Session-level `a=` lines.
    pub(super) attributes: Vec<Attribute>,
    /// In the order of the `m=` lines.
    pub(super) sections: Vec<MediaSection>,
}

/// An `m=` line and the `a=` lines after it.
#[derive(Debug)]
pub(super) struct MediaSection {
    pub(super) media: String,
    pub(super) port: u16,
    pub(super) protocol: String,
    pub(super) formats: Vec<String>,
    pub(super) attributes: Vec<Attribute>,
}

/// An `a=` line.
#[derive(Debug)]
pub(super) struct Attribute {
    /// `name` or `name:value`: one allocation for both.
    text: Box<str>,
    name_bytes: usize,
}

impl Attribute {
    fn new(text: &str) -> Self {
        Self { text: text.into(), name_bytes: text.find(':').unwrap_or(text.len()) }
    }

    /// What stands before the first colon.
    pub(super) fn name(&self) -> &str {
        self.text.get(..self.name_bytes).unwrap_or_default()
    }

    /// What stands after it, if there is one.
    pub(super) fn value(&self) -> Option<&str> {
        self.text.get(self.name_bytes + 1..)
    }
}

/// A line that is not what its place asks for, counted from 1; or the end of the text before the times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not what a session description has there")]
pub(super) struct LineError(usize);

/// What comes next.
#[derive(Clone, Copy)]
enum Place {
    Version,
    Origin,
    Name,
    /// What may stand between the name and the first times.
    BeforeTimes,
    AfterTimes,
    Section,
}

/// Cuts `text` into its lines. Blank ones are passed over, letters that a level does not know are an error.
pub(super) fn parse(text: &str) -> Result<Description, LineError> {
    let mut description = Description { attributes: Vec::new(), sections: Vec::new() };
    let mut place = Place::Version;
    let mut count = 0;
    for (index, line) in text.split('\n').enumerate() {
        count = index + 1;
        let line = line.trim_start_matches('\r');
        if line.is_empty() {
            continue;
        }
        place = take(&mut description, place, line).ok_or(LineError(count))?;
    }
    match place {
        Place::AfterTimes | Place::Section => Ok(description),
        Place::Version | Place::Origin | Place::Name | Place::BeforeTimes => Err(LineError(count)),
    }
}

/// Takes one line; `None` if it does not belong here.
fn take(description: &mut Description, place: Place, line: &str) -> Option<Place> {
    let (letter, value) = line.split_at_checked(1)?;
    let value = value.strip_prefix('=')?.trim();
    match (place, letter) {
        (Place::Version, "v") => (value.parse() == Ok(0_u32)).then_some(Place::Origin),
        (Place::Origin, "o") => is_origin(value).then_some(Place::Name),
        (Place::Name, "s") => Some(Place::BeforeTimes),
        (Place::BeforeTimes, "i" | "u" | "e" | "p" | "c" | "b") => Some(place),
        (Place::BeforeTimes | Place::AfterTimes, "t") => is_timing(value).then_some(Place::AfterTimes),
        (Place::AfterTimes, "r" | "z" | "k") => Some(place),
        (Place::AfterTimes, "a") => {
            description.attributes.push(Attribute::new(value));
            Some(place)
        }
        (Place::AfterTimes | Place::Section, "m") => {
            description.sections.push(section(value)?);
            Some(Place::Section)
        }
        (Place::Section, "i" | "c" | "b" | "k") => Some(place),
        (Place::Section, "a") => {
            description.sections.last_mut()?.attributes.push(Attribute::new(value));
            Some(place)
        }
        _ => None,
    }
}

/// `<username> <sess-id> <sess-version> <nettype> <addrtype> <unicast-address>`.
fn is_origin(value: &str) -> bool {
    let mut words = value.split_whitespace();
    let (user, id, version) = (words.next(), words.next(), words.next());
    let (network, family, address, more) = (words.next(), words.next(), words.next(), words.next());
    let is_number = |word: Option<&str>| word.is_some_and(|word| word.parse::<u64>().is_ok());
    user.is_some()
        && is_number(id)
        && is_number(version)
        && network == Some("IN")
        && matches!(family, Some("IP4" | "IP6"))
        && address.is_some()
        && more.is_none()
}

/// `<start-time> <stop-time>`.
fn is_timing(value: &str) -> bool {
    let mut words = value.split_whitespace();
    let mut is_number = || words.next().is_some_and(|word| word.parse::<u64>().is_ok());
    is_number() && is_number()
}

/// `<media> <port>["/" <number of ports>] <proto> <fmt> ...`.
fn section(value: &str) -> Option<MediaSection> {
    let mut words = value.split_whitespace();
    let media = words.next().filter(|media| MEDIA.contains(media))?;
    let (port, ports) = match words.next()? {
        word if word.contains('/') => word.split_once('/')?,
        word => (word, "1"),
    };
    ports.split('/').next()?.parse::<i32>().ok()?;
    let protocol = words.next().filter(|protocol| protocol.split('/').all(|part| !part.is_empty()))?;
    let formats: Vec<String> = words.map(str::to_owned).collect();
    (!formats.is_empty()).then_some(())?;
    Some(MediaSection {
        media: media.to_owned(),
        port: port.parse().ok()?,
        protocol: protocol.to_owned(),
        formats,
        attributes: Vec::new(),
    })
}
