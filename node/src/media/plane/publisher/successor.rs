//! A publisher that takes over from one that is on air: that one plays on until its successor has a picture to show.
//!
//! Until then the successor's packets are received, reported and asked for as those of any publisher, and go nowhere. With
//! the first packet of a keyframe, or any packet if it sends no picture, all its tracks change over at once, so that
//! sound and picture stay together; so they do with any packet once the one on air has left or is silent. How long it may
//! take is its room's business.

use std::time::Instant;

use aforo_cluster::id::TrackId;
use smallvec::SmallVec;

use super::super::keyframe::KEYFRAME_REQUEST_INTERVAL;
use super::super::track::Source;
use super::super::{Plane, Role};
use super::{Mapped, Publisher, shift_above};
use crate::media::codec::{MediaKind, starts_keyframe, starts_unaided};
use crate::media::path::PeerKey;
use crate::media::reception::Freshness;
use crate::media::rtp::RtpHeader;
use crate::media::spec::PlaneEvent;

/// A successor that has not taken over yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waiting {
    /// When it was asked for a keyframe last.
    asked: Option<Instant>,
}

impl Publisher {
    /// It takes over once it has something to show.
    pub(in super::super) fn wait(&mut self) {
        self.waiting = Some(Waiting::default());
    }

    fn is_picture(&self, track: usize) -> bool {
        self.tracks.get(track).is_some_and(|track| track.media.kind == MediaKind::Video)
    }

    /// Whether a packet shows what it sends. A keyframe's first one that comes late shows nothing: what came before it is lost, as
    /// nobody kept it.
    fn shows(&self, mapped: &Mapped, datagram: &[u8]) -> bool {
        let number = usize::from(mapped.route.track);
        if !self.is_picture(number) {
            return !(0..self.tracks.len()).any(|other| self.is_picture(other));
        }
        let Some(track) = self.tracks.get(number) else { return false };
        let Some(packet) = datagram.get(mapped.start..mapped.end) else { return false };
        let payload = RtpHeader::parse(packet).ok().and_then(|header| packet.get(header.payload()));
        let codec = track.media.codec.kind;
        let begins = |payload| starts_keyframe(codec, payload) && starts_unaided(codec, payload);
        mapped.received.freshness == Freshness::Fresh && payload.is_some_and(begins)
    }
}

impl Plane {
    /// Whether a publisher that is not silent has one of these tracks, so that whoever comes next has to wait.
    pub(in super::super) fn are_on_air(&self, mut tracks: impl Iterator<Item = TrackId>) -> bool {
        tracks.any(|id| {
            let track = self.places.get(&id).and_then(|place| self.tracks.get(*place));
            let Some(Source::Publisher { place, .. }) = track.map(|track| track.source) else { return false };
            matches!(self.roles.get(place), Some(Role::Publisher(publisher)) if !publisher.pulse.is_silent())
        })
    }

    /// A packet of a successor that waits. Whether it takes over with it; the packet's index then follows on what its layer
    /// has had.
    #[cold]
    pub(super) fn lets_succeed(
        &mut self,
        now: Instant,
        peer: PeerKey,
        mapped: &mut Mapped,
        datagram: &[u8],
    ) -> bool {
        let Some(Role::Publisher(publisher)) = self.roles.get_mut(peer.index) else { return false };
        if mapped.is_padding || !matches!(mapped.received.freshness, Freshness::Fresh | Freshness::Late) {
            return false;
        }
        // It sends, even if no track takes it in yet.
        let resumed = publisher.pulse.heard(now);
        self.events.extend(resumed.then_some(PlaneEvent::MediaResumed(peer)));
        let Some(Role::Publisher(publisher)) = self.roles.get(peer.index) else { return false };
        let (track, layer) = (usize::from(mapped.route.track), usize::from(mapped.route.layer));
        let shift = |publisher: &Publisher| Some(publisher.tracks.get(track)?.layers.get(layer)?.shift);
        let before = shift(publisher).unwrap_or(0);
        if !publisher.shows(mapped, datagram) && self.are_on_air(publisher.ids()) {
            self.ask_successor(now, peer);
            return false;
        }
        self.succeed(now, peer);
        let Some(Role::Publisher(publisher)) = self.roles.get(peer.index) else { return false };
        let after = shift(publisher).unwrap_or(0);
        mapped.received.index = mapped.received.index.wrapping_sub(before).wrapping_add(after);
        true
    }

    /// Asks a successor for a keyframe of each layer that it is known to send, as often as a publisher is asked.
    pub(in super::super) fn ask_successor(&mut self, now: Instant, peer: PeerKey) {
        let Some(Role::Publisher(publisher)) = self.roles.get(peer.index) else { return };
        let asked = publisher.waiting.and_then(|waiting| waiting.asked);
        if asked.is_some_and(|at| now < at + KEYFRAME_REQUEST_INTERVAL) {
            return;
        }
        let pictures =
            (0_u8..).zip(&publisher.tracks).filter(|(_, track)| track.media.kind == MediaKind::Video);
        let layers: SmallVec<[(u8, u8); 4]> = pictures
            .flat_map(|(number, track)| (0_u8..).zip(&track.layers).map(move |(layer, _)| (number, layer)))
            .collect();
        let known = layers
            .into_iter()
            .filter(|(number, layer)| self.publisher_owes_keyframe(peer.index, *number, *layer))
            .count();
        if let Some(Role::Publisher(publisher)) = self.roles.get_mut(peer.index)
            && let Some(waiting) = publisher.waiting.as_mut().filter(|_| known > 0)
        {
            waiting.asked = Some(now);
        }
    }

    /// All tracks of a successor are its own from now on. Where they stand is looked up again: who had them may have left
    /// since, and its tracks with it.
    fn succeed(&mut self, now: Instant, peer: PeerKey) {
        let Some(Role::Publisher(publisher)) = self.roles.get_mut(peer.index) else { return };
        let asked = publisher.waiting.take().and_then(|waiting| waiting.asked);
        let tracks = (0_u8..).zip(&publisher.tracks);
        let tracks: SmallVec<[_; 2]> =
            tracks.map(|(number, track)| (number, track.id, track.media.codec.kind)).collect();
        for (number, id, codec) in &tracks {
            let place = self.track_place(now, *id, *codec);
            let (Some(known), Some(Role::Publisher(publisher))) =
                (self.tracks.get_mut(place), self.roles.get_mut(peer.index))
            else {
                continue;
            };
            let Some(track) = publisher.tracks.get_mut(usize::from(*number)) else { continue };
            track.place = place;
            for (index, layer) in track.layers.iter_mut().enumerate() {
                layer.shift = shift_above(known, index);
            }
            let source = Source::Publisher { place: peer.index, number: *number };
            known.begin_anew(now, source, &track.media.rids);
            if let Some(at) = asked {
                known.layers.iter_mut().for_each(|layer| layer.requests.asked(at));
            }
        }
        for (_, id, _) in tracks {
            self.publisher_begins(now, id);
        }
    }
}
