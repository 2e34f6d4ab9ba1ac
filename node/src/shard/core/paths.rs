//! Whose a path is, and what comes by one.
//!
//! A good check says who wrote it, and not where it came from. So it routes a path to its peer only while nobody is there for
//! sure: whoever has a session of its own could forge the address of another's client, and have what that sends led astray.
//! A peer is there for sure on the path that it is connected by, if it has proved it (by DTLS there, or by an answer) and was
//! heard by it lately.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_stun::message::TRANSACTION_ID_SIZE;
use smallvec::SmallVec;

use super::{PeerKey, ShardCore, ShardOutput, TRANSMIT_CAPACITY};
use crate::media::path::Path;
use crate::peer::ice::{Verdict, transaction_of_request, transaction_of_success, verdict_of_answer};
use crate::peer::message::{PeerEvent, PeerInput};

/// How long a peer of which nothing comes keeps others from its path: who asks for consent checks each 6 s at least
/// (RFC 7675 §5.1). Who only keeps its path alive, each 15 s (RFC 8445 §11), is heard by its media and reports meanwhile.
const THERE_FOR: Duration = Duration::from_secs(7);

/// Proved paths that are remembered of one peer: as many as it can have at a time (`peer::ice::core::PATHS_CAPACITY`).
const PROVED_MAX: usize = 8;

/// How often a peer is told that it sends by another path than the one in use.
const ELSEWHERE_INTERVAL: Duration = Duration::from_millis(200);

/// What the shard knows of a peer's paths besides its routes.
#[derive(Debug, Default)]
pub(super) struct Hold {
    proved: SmallVec<[Path; 1]>,
    /// When a good check last came by the path in use.
    checked: Option<Instant>,
    /// The path that it chose last of those that nobody else had.
    chosen: Option<Path>,
    /// The path that it chose and another peer has.
    refused: Option<Path>,
    /// What it asked its client last.
    asked: Option<[u8; TRANSACTION_ID_SIZE]>,
    /// Who asked last by a path of this one whether its own client is there.
    asker: Option<PeerKey>,
    /// When it was told last that its client sends by another path.
    elsewhere_told: Option<Instant>,
}

impl Hold {
    /// Whether `datagram` answers what its client was asked last.
    fn is_answer(&self, datagram: &[u8]) -> bool {
        self.asked.is_some() && transaction_of_success(datagram) == self.asked
    }
}

impl ShardCore {
    /// Whose question `datagram` answers, which came by a path of `owner`. Another's client may be where the owner's was: its
    /// answer is what proves it.
    pub(super) fn asker(&self, owner: PeerKey, datagram: &[u8]) -> Option<PeerKey> {
        let other = self.routes.get(owner)?.hold.asker;
        let is_answered =
            |peer: &PeerKey| self.routes.get(*peer).is_some_and(|it| it.hold.is_answer(datagram));
        [Some(owner), other].into_iter().flatten().find(is_answered)
    }

    /// Routes `path` to `peer`, unless another is there for sure. Whether it is the peer's.
    pub(super) fn claim(&mut self, peer: PeerKey, path: Path) -> bool {
        let owner = self.routes.by_path(&path).filter(|owner| *owner != peer);
        let has_proved = self.routes.get(peer).is_some_and(|known| known.hold.proved.contains(&path));
        if let Some(owner) = owner {
            if !has_proved && self.is_there(owner, path) {
                return false;
            }
            // To have it back is to prove it anew.
            self.routes.get_mut(owner).into_iter().for_each(|lost| lost.hold.proved.retain(|it| *it != path));
        }
        self.routes.add_path(peer, path);
        true
    }

    fn is_there(&self, peer: PeerKey, path: Path) -> bool {
        let Some(known) = self.routes.get(peer).filter(|known| known.connected_by == Some(path)) else {
            return false;
        };
        let last = known.heard.max(known.hold.checked);
        let lately = last.is_some_and(|at| self.now.saturating_duration_since(at) < THERE_FOR);
        lately && known.hold.proved.contains(&path)
    }

    /// The peer's client is at the other end of `path`, and nobody else.
    pub(super) fn prove(&mut self, peer: PeerKey, path: Path) {
        if let Some(known) = self.routes.get_mut(peer)
            && !known.hold.proved.contains(&path)
        {
            if known.hold.proved.len() >= PROVED_MAX {
                known.hold.proved.remove(0);
            }
            known.hold.proved.push(path);
        }
        self.take_checked(peer, path);
    }

    /// A good check came by `path`, or what is more than that.
    fn take_checked(&mut self, peer: PeerKey, path: Path) {
        if !self.claim(peer, path) {
            return;
        }
        let now = self.now;
        let Some(known) = self.routes.get_mut(peer) else { return };
        if known.connected_by == Some(path) {
            known.hold.checked = Some(now);
        }
        if known.hold.refused == Some(path) {
            self.select(peer, path);
        }
    }

    /// The peer does not know `path` any more.
    pub(super) fn forget_path(&mut self, peer: PeerKey, path: Path) {
        self.routes.get_mut(peer).into_iter().for_each(|known| known.hold.proved.retain(|it| *it != path));
        if self.routes.remove_path(peer, &path) {
            self.close(path);
        }
    }

    /// The peer chose `path`. While another is there its media stays where it was; only its own STUN and DTLS still
    /// goes to `path`, which is bounded.
    pub(super) fn select(&mut self, peer: PeerKey, path: Path) {
        let is_own = self.claim(peer, path);
        if is_own {
            self.plane.move_peer(self.now, peer, path);
        }
        let Some(resident) = self.routes.get_mut(peer) else { return };
        resident.hold.refused = (!is_own).then_some(path);
        if is_own {
            resident.hold.chosen = Some(path);
        }
        if is_own && resident.connected_by.is_some_and(|by| by != path) {
            (resident.connected_by, resident.heard, resident.hold.checked) = (Some(path), None, None);
        }
        if !std::mem::replace(&mut resident.path_told, true) {
            let notice = self.notice(peer, PeerEvent::PathFound);
            self.outputs.extend(notice);
        }
    }

    /// Where the media of a peer goes that has just connected by `path`: if another is there, where the peer was before.
    /// `None` if that is nobody's any more, or another's.
    pub(super) fn path_to_connect(&mut self, peer: PeerKey, path: Path) -> Option<Path> {
        if self.claim(peer, path) {
            return Some(path);
        }
        let chosen = self.routes.get(peer)?.hold.chosen?;
        (self.routes.by_path(&chosen) == Some(peer)).then_some(chosen)
    }

    /// What a peer sends by itself.
    pub(super) fn transmit(&mut self, peer: PeerKey, path: Path, bytes: Bytes) {
        match verdict_of_answer(&bytes) {
            Some(Verdict::Answered) => {
                self.counters.stun_answered += 1;
                // Each good check claims the path anew: another peer may have claimed it since the one before, and the
                // peer that knows the path already has no reason to say so again.
                self.take_checked(peer, path);
            }
            Some(Verdict::Refused) => self.counters.stun_refused += 1,
            None => {}
        }
        if let Some(asked) = transaction_of_request(&bytes) {
            self.note_question(peer, path, asked);
        }
        if self.transmits.len() >= TRANSMIT_CAPACITY {
            self.counters.transmit_full += 1;
            return;
        }
        self.transmits.push((path, bytes));
    }

    fn note_question(&mut self, peer: PeerKey, path: Path, asked: [u8; TRANSACTION_ID_SIZE]) {
        self.routes.get_mut(peer).into_iter().for_each(|known| known.hold.asked = Some(asked));
        if let Some(owner) = self.routes.by_path(&path).filter(|owner| *owner != peer) {
            self.routes.get_mut(owner).into_iter().for_each(|known| known.hold.asker = Some(peer));
        }
    }

    /// Takes RTP or RTCP that came by a path of this peer. Only what authenticates says that the peer is there.
    pub(super) fn take_media(
        &mut self,
        now: Instant,
        arrival: Instant,
        (peer, path): (PeerKey, Path),
        datagram: &mut [u8],
    ) {
        let authentic = |core: &Self| {
            let counters = core.plane.counters();
            counters.rtp_received_packets + counters.rtcp_received_packets
        };
        let before = authentic(self);
        self.plane.receive(now, arrival, peer, datagram);
        if authentic(self) == before {
            return;
        }
        let Some(known) = self.routes.get_mut(peer) else { return };
        if known.connected_by.is_none_or(|by| by == path) {
            known.heard = known.connected_by.map(|_| arrival);
            return;
        }
        let told = known.hold.elsewhere_told;
        if told.is_none_or(|at| now.saturating_duration_since(at) >= ELSEWHERE_INTERVAL) {
            known.hold.elsewhere_told = Some(now);
            let input = PeerInput::SendsElsewhere { path, at: arrival };
            self.outputs.push_back(ShardOutput::ToPeer(peer, input));
        }
    }
}
