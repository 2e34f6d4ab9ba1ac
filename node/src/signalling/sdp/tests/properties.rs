//! Whatever an offer looks like, there is no panic; and whatever is answered, the answer fits its offer.

use std::collections::BTreeSet;
use std::io::Cursor;

use proptest::prelude::*;
use rtc_sdp::description::session::SessionDescription;

use super::*;
use crate::signalling::sdp::{fragment, lines};

fn capabilities() -> Vec<Capabilities> {
    let h264 = track(CodecKind::H264, "packetization-mode=1;profile-level-id=42e01f");
    vec![
        Capabilities::publish(local()),
        Capabilities::play(local(), &[opus(), track(CodecKind::Vp8, "")]),
        Capabilities::play(local(), &[h264]),
        Capabilities::play(local(), &[opus()]),
    ]
}

/// One `m=` section of a text: kind, payload types, mid, extension ids.
#[derive(Debug, PartialEq)]
struct Shape {
    kind: String,
    rejected: bool,
    formats: BTreeSet<String>,
    mid: Option<String>,
    extensions: BTreeSet<String>,
}

fn shapes(sdp: &str) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = Vec::new();
    for line in sdp.lines().map(str::trim) {
        if let Some(value) = line.strip_prefix("m=") {
            let words: Vec<&str> = value.split_whitespace().collect();
            shapes.push(Shape {
                kind: words[0].into(),
                rejected: words[1] == "0",
                formats: words[3..].iter().map(|word| (*word).to_owned()).collect(),
                mid: None,
                extensions: BTreeSet::new(),
            });
        } else if let Some(shape) = shapes.last_mut() {
            if let (Some(mid), None) = (line.strip_prefix("a=mid:"), &shape.mid) {
                shape.mid = Some(mid.trim().to_owned());
            }
            if let Some(value) = line.strip_prefix("a=extmap:") {
                let mut words = value.split_whitespace();
                let (entry, uri) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
                let id = entry.split('/').next().unwrap();
                shape.extensions.insert(format!("{id} {uri}"));
            }
        }
    }
    shapes
}

fn group(sdp: &str) -> Vec<&str> {
    sdp.lines()
        .find_map(|line| line.strip_prefix("a=group:BUNDLE"))
        .unwrap_or("")
        .split_whitespace()
        .collect()
}

#[track_caller]
fn check(offer: &str, capabilities: &Capabilities) {
    let Ok((answer, negotiated)) = answer(offer, capabilities) else { return };
    let (offered, answered) = (shapes(offer), shapes(&answer.sdp));
    assert_eq!(offered.len(), answered.len(), "{offer}\n{}", answer.sdp);
    for (ours, theirs) in answered.iter().zip(&offered) {
        assert_eq!((&ours.kind, &ours.mid), (&theirs.kind, &theirs.mid), "{offer}");
        assert!(ours.formats.is_subset(&theirs.formats), "{ours:?} {theirs:?}");
        assert!(ours.extensions.is_subset(&theirs.extensions), "{ours:?} {theirs:?}");
    }
    let in_group = group(&answer.sdp);
    let accepted: Vec<&Shape> = answered.iter().filter(|shape| !shape.rejected).collect();
    let flowing = answer.sdp.lines().filter(|line| matches!(*line, "a=sendonly" | "a=recvonly")).count();
    assert_eq!(flowing, negotiated.media.len());
    assert!(flowing > 0 && accepted.len() <= flowing + 1);
    for mid in &in_group {
        assert!(accepted.iter().any(|shape| shape.mid.as_deref() == Some(mid)), "{}", answer.sdp);
    }
    assert!(accepted.len() == 1 || in_group.len() == accepted.len());
    assert_eq!(answer.sdp.matches("a=end-of-candidates").count(), 1);
    assert!(answer.sdp.lines().all(|line| line.as_bytes()[1] == b'='), "{}", answer.sdp);
}

fn any_fixture() -> impl Strategy<Value = String> {
    (0..FIXTURES.len()).prop_map(|index| fixture(FIXTURES[index].0))
}

#[track_caller]
fn check_attributes(ours: &[lines::Attribute], theirs: &[rtc_sdp::description::common::Attribute]) {
    let ours: Vec<_> = ours.iter().map(|attribute| (attribute.name(), attribute.value())).collect();
    let theirs: Vec<_> = theirs.iter().map(|other| (other.key.as_str(), other.value.as_deref())).collect();
    assert_eq!(ours, theirs);
}

/// Changes lines the way that odd clients and attackers do: dropped, doubled, swapped, cut, spliced.
fn mutate(offer: &str, edits: &[(u8, prop::sample::Index, prop::sample::Index, String)]) -> String {
    let mut lines: Vec<String> = offer.split("\r\n").map(str::to_owned).collect();
    for (how, first, second, text) in edits {
        let (a, b) = (first.index(lines.len()), second.index(lines.len()));
        match how % 6 {
            0 if lines.len() > 1 => drop(lines.remove(a)),
            1 => lines.insert(a, lines[b].clone()),
            2 => lines.swap(a, b),
            3 => {
                let keep = second.index(lines[a].chars().count() + 1);
                lines[a] = lines[a].chars().take(keep).collect();
            }
            4 => lines[a].push_str(text),
            _ => lines.insert(a, format!("a={text}")),
        }
    }
    lines.join("\r\n")
}

proptest! {
    #[test]
    fn mutated_offers_get_a_fitting_answer_or_none(
        offer in any_fixture(),
        edits in prop::collection::vec(
            (any::<u8>(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), "[ -~\r\t]{0,12}|[0-9:;=/ ]{0,8}|\\PC{0,4}"),
            0..5,
        ),
    ) {
        let offer = mutate(&offer, &edits);
        for capabilities in capabilities() {
            check(&offer, &capabilities);
        }
    }

    #[test]
    fn lines_are_read_as_another_parser_reads_them(
        offer in any_fixture(),
        edits in prop::collection::vec(
            (any::<u8>(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), "[ -~\r\t]{0,12}|[0-9:;=/ ]{0,8}|\\PC{0,4}"),
            0..3,
        ),
    ) {
        let text = mutate(&offer, &edits);
        // It looks into lines that mean nothing to us, so it may refuse more, never less.
        let Ok(theirs) = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes())) else { return Ok(()) };
        let ours = lines::parse(&text);
        prop_assert!(ours.is_ok(), "{ours:?} {text}");
        let ours = ours.unwrap();
        prop_assert_eq!(ours.sections.len(), theirs.media_descriptions.len());
        check_attributes(&ours.attributes, &theirs.attributes);
        for (ours, theirs) in ours.sections.iter().zip(&theirs.media_descriptions) {
            let name = &theirs.media_name;
            prop_assert_eq!((&ours.media, ours.port as isize), (&name.media, name.port.value));
            prop_assert_eq!((&ours.protocol, &ours.formats), (&name.protos.join("/"), &name.formats));
            check_attributes(&ours.attributes, &theirs.attributes);
        }
    }

    #[test]
    fn cut_offers_never_panic(offer in any_fixture(), at in any::<prop::sample::Index>()) {
        let cut = at.index(offer.len() + 1);
        for capabilities in capabilities() {
            check(&offer[..cut], &capabilities);
        }
    }

    #[test]
    fn any_text_never_panics(text in "\\PC*|([a-z]=\\PC{0,20}\r\n){0,12}") {
        for capabilities in capabilities() {
            let _any = answer(&text, &capabilities);
        }
        let _any = fragment::parse(&text);
    }

    #[test]
    fn any_fragment_never_panics(text in "((a=(candidate|mid|ice-ufrag|ice-pwd|end-of-candidates)|m|b)[:=]?[ -~]{0,40}\r?\n?){0,8}") {
        let _any = fragment::parse(&text);
    }
}

#[test]
fn every_fixture_is_answered_in_its_direction() {
    for (name, _) in FIXTURES {
        let offer = fixture(name);
        let answered: Vec<bool> = capabilities().iter().map(|known| answer(&offer, known).is_ok()).collect();
        assert_eq!(answered[0], name.contains("publish"), "{name}");
        assert_eq!(answered[1], name.contains("play"), "{name}");
        capabilities().iter().for_each(|known| check(&offer, known));
    }
}
