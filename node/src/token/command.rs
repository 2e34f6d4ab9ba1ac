//! `aforo token`: makes keys, and tokens with them.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aforo_cluster::id::{RoomName, StreamName};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::core::{Grants, Names};
use super::key::{self, KeyError};
use super::{issue, key_ring};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Print a token that lets its bearer into a room
    Create(Create),
    /// Make a key that signs tokens
    Keygen(Keygen),
}

/// What the token is for, and who signs it.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("grant").required(true).multiple(true)))]
pub struct Create {
    /// Room that it is good for, or * for every room
    #[arg(long)]
    room: Names<RoomName>,
    /// Stream that it is good for [default: every stream of the room]
    #[arg(long)]
    stream: Option<Names<StreamName>>,
    /// Lets its bearer publish
    #[arg(long, group = "grant")]
    publish: bool,
    /// Lets its bearer watch
    #[arg(long, group = "grant")]
    subscribe: bool,
    /// Lets its bearer look at the room through the API
    #[arg(long, group = "grant")]
    admin: bool,
    /// Who publishes with a higher one takes a live stream over from who has a lower one
    #[arg(long, default_value_t = 0)]
    priority: u32,
    /// Whom it is for: who publishes goes on with a later token of the same name while the earlier session lasts
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// How long it is good: a number of s, m, h or d, such as 90m
    #[arg(long, value_parser = lifetime)]
    ttl: Duration,
    /// Who it is for, where the server has auth.audience
    #[arg(long)]
    audience: Option<String>,
    /// The key, as `aforo token keygen` writes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Name of the key, if the file has several
    #[arg(long)]
    kid: Option<String>,
}

/// What kind of key, and where to.
#[derive(Debug, Args)]
pub struct Keygen {
    /// EdDSA: nodes need only the public half, which is printed; HS256: one secret for both
    #[arg(long, value_enum, default_value_t = KeyKind::Eddsa)]
    algorithm: KeyKind,
    /// The file to write; readable for its owner only. It must not be there yet
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Name of the key, for rotation [default: a random one]
    #[arg(long)]
    kid: Option<String>,
    /// Also writes the public half to this file, which must not be there yet (EdDSA only)
    #[arg(long, value_name = "FILE", conflicts_with = "add_to")]
    public: Option<PathBuf>,
    /// Also adds what nodes need of it to this file of keys. A node that has the file in auth.key_files takes it up at once
    #[arg(long, value_name = "FILE")]
    add_to: Option<PathBuf>,
}

/// Algorithms of tokens.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyKind {
    /// EdDSA with Ed25519
    Eddsa,
    /// HMAC with SHA-256
    Hs256,
}

/// Why there is no token or no key.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The key file.
    #[error("the key file {} cannot be read", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// What is in it.
    #[error("the key file {} is not good", .0.display())]
    Key(PathBuf, #[source] KeyError),
    /// The new file.
    #[error("the key file {} cannot be written, choose another name or folder", .0.display())]
    Write(PathBuf, #[source] std::io::Error),
    /// There is nothing to write for `--public`.
    #[error("an HS256 key is one secret for both sides: leave --public out, or take --algorithm eddsa")]
    NoPublicHalf,
    /// The new key.
    #[error("a key cannot be made")]
    Make(#[source] KeyError),
    /// The signature.
    #[error("the key of {} cannot sign", .0.display())]
    Sign(PathBuf, #[source] jsonwebtoken::errors::Error),
}

/// Runs the command. Returns what belongs on the standard output.
///
/// # Errors
///
/// See [`CommandError`].
pub fn run(command: TokenCommand) -> Result<String, CommandError> {
    match command {
        TokenCommand::Create(create) => run_create(create),
        TokenCommand::Keygen(keygen) => run_keygen(keygen),
    }
}

fn run_create(create: Create) -> Result<String, CommandError> {
    let Create { room, stream, publish, subscribe, admin, priority, .. } = create;
    let Create { subject, ttl, audience, key: path, kid, .. } = create;
    let text = std::fs::read_to_string(&path).map_err(|error| CommandError::Read(path.clone(), error))?;
    let key =
        key::signing_key(&text, kid.as_deref()).map_err(|error| CommandError::Key(path.clone(), error))?;
    let stream = stream.unwrap_or_default();
    let grants = Grants { room, stream, publish, subscribe, admin, priority, subject, issuer: None };
    issue::sign(&key, grants, audience.as_deref(), ttl, key_ring::seconds_now())
        .map_err(|error| CommandError::Sign(path, error))
}

fn run_keygen(keygen: Keygen) -> Result<String, CommandError> {
    let Keygen { algorithm, key: path, kid, public, add_to } = keygen;
    let (key, of_nodes, said) = match algorithm {
        KeyKind::Hs256 => {
            let key = issue::new_secret(kid).map_err(CommandError::Make)?;
            (key.clone(), key, format!("a secret for nodes and for who signs is in {}", path.display()))
        }
        KeyKind::Eddsa => {
            let (whole, public) = issue::new_pair(kid).map_err(CommandError::Make)?;
            let said = public.to_string();
            (whole, public, said)
        }
    };
    // Read first: a file that is none must not leave a key behind that nobody knows.
    let set = add_to.as_deref().map(|file| with_key(file, of_nodes.clone())).transpose()?;
    let public = match (public, algorithm) {
        (Some(_), KeyKind::Hs256) => return Err(CommandError::NoPublicHalf),
        (public, _) => public,
    };
    // Before the key: one whose public half could not be kept would be of no use, and in the way of the next try.
    if let Some(file) = &public {
        write(file, &of_nodes, FOR_EVERYBODY).map_err(|error| CommandError::Write(file.clone(), error))?;
    }
    if let Err(error) = write(&path, &key, FOR_ITS_OWNER) {
        // It is ours, of a moment ago, and fits no key.
        let _ = public.map(std::fs::remove_file);
        return Err(CommandError::Write(path, error));
    }
    if let (Some(file), Some(set)) = (add_to, set) {
        replace(&file, &set).map_err(|error| CommandError::Write(file, error))?;
    }
    Ok(said)
}

/// The keys of the file and one more.
fn with_key(file: &Path, key: Value) -> Result<Value, CommandError> {
    let text = std::fs::read_to_string(file).map_err(|error| CommandError::Read(file.to_owned(), error))?;
    issue::with_key(&text, key).map_err(|error| CommandError::Key(file.to_owned(), error))
}

/// Puts another text into the file, for the same readers, so that nobody ever reads half of it. A link goes on leading there.
fn replace(file: &Path, set: &Value) -> std::io::Result<()> {
    let file = &std::fs::canonicalize(file)?;
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    // What a run that was interrupted has left.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write(&beside, set, FOR_ITS_OWNER)?;
    std::fs::set_permissions(&beside, std::fs::metadata(file)?.permissions())?;
    std::fs::rename(&beside, file)
}

/// Who may read a file with a key that signs.
const FOR_ITS_OWNER: u32 = 0o600;

/// Who may read one with public halves only: nodes that run as somebody else, above all.
const FOR_EVERYBODY: u32 = 0o644;

/// Writes a new file for these readers.
fn write(path: &Path, key: &Value, readers: u32) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(readers).open(path)?;
    writeln!(file, "{key}")
}

/// Reads `90s`, `15m`, `1h` or `7d`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: a whole number and one of s, m, h, d is, such as 90m");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text.strip_suffix(unit).and_then(|count| count.parse().ok()).ok_or_else(wrong)?;
    // A hundred years: what is longer is a typing error.
    let total = count.checked_mul(seconds).filter(|total| (1..=3_155_760_000).contains(total));
    total.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_file_behind_a_link_is_replaced_whatever_was_left_beside_it() {
        let folder = std::env::temp_dir().join(format!("aforo-keys-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [file, left, link] = ["keys", "keys.new", "link"].map(|name| folder.join(name));
        std::fs::write(&file, "old").unwrap();
        std::fs::write(&left, "half").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, &Value::from("new")).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), "\"new\"");
        assert!(!left.exists() && link.is_symlink());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn lifetimes_have_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(lifetime(text).unwrap().as_secs(), seconds);
        }
        for text in [
            "",
            "h",
            "1",
            "0h",
            "-1h",
            "1.5h",
            "1hh",
            "1w",
            "9999999999d",
            "99999999999999999999s",
            "1\u{e9}",
        ] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }
}
