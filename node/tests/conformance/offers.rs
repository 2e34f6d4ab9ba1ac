//! Offers of real clients, and changes to them.

const CHROMIUM_PUBLISH: &str = include_str!("../../src/signalling/sdp/fixtures/chromium-publish.sdp");
const CHROMIUM_SIMULCAST: &str =
    include_str!("../../src/signalling/sdp/fixtures/chromium-publish-simulcast.sdp");
const CHROMIUM_PLAY: &str = include_str!("../../src/signalling/sdp/fixtures/chromium-play.sdp");
const FFMPEG_PUBLISH: &str = include_str!("../../src/signalling/sdp/fixtures/ffmpeg-publish.sdp");
const FIREFOX_PLAY: &str = include_str!("../../src/signalling/sdp/fixtures/firefox-play.sdp");
const MDNS_PLAY: &str = include_str!("../../src/signalling/sdp/fixtures/chromium-play-mdns.sdp");
const OBS_SIMULCAST: &str = include_str!("../../src/signalling/sdp/fixtures/obs-publish-simulcast.sdp");
const SAFARI_PUBLISH: &str = include_str!("../../src/signalling/sdp/fixtures/safari-publish.sdp");

fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// Camera and microphone of Chromium.
pub fn publish() -> String {
    crlf(CHROMIUM_PUBLISH)
}

/// Three layers of Chromium, with RTX.
pub fn simulcast() -> String {
    crlf(CHROMIUM_SIMULCAST)
}

/// Three layers of OBS, without RTX.
pub fn simulcast_without_rtx() -> String {
    crlf(OBS_SIMULCAST)
}

/// FFmpeg's muxer, which wants to be the DTLS server.
pub fn passive() -> String {
    crlf(FFMPEG_PUBLISH)
}

/// After the manner of Safari with H265 before all others.
pub fn h265() -> String {
    crlf(SAFARI_PUBLISH)
}

/// Chromium's viewer, without candidates.
pub fn play() -> String {
    crlf(CHROMIUM_PLAY)
}

/// Chromium's viewer, whose candidates are mDNS names.
pub fn play_mdns() -> String {
    crlf(MDNS_PLAY)
}

/// Firefox without H264.
pub fn play_without_h264() -> String {
    crlf(FIREFOX_PLAY)
}

/// Only the session and the first section.
pub fn first_section(offer: &str) -> String {
    let second = offer.match_indices("\r\nm=").nth(1).map_or(offer.len(), |(index, _)| index + 2);
    offer[..second].to_owned()
}

/// The first section alone.
pub fn audio_section(offer: &str) -> String {
    let first = first_section(offer);
    first[first.find("\r\nm=").map_or(0, |index| index + 2)..].to_owned()
}

/// The last section.
pub fn last_section(offer: &str) -> String {
    offer[offer.rfind("\r\nm=").map_or(0, |index| index + 2)..].to_owned()
}

/// A fragment with these credentials and these lines.
pub fn fragment(credentials: (&str, &str), lines: &[&str]) -> String {
    let (ufrag, password) = credentials;
    let mut text = format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
    );
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text
}

/// The credentials of an offer or answer.
pub fn credentials(sdp: &str) -> (&str, &str) {
    let value = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    (value("a=ice-ufrag:"), value("a=ice-pwd:"))
}
