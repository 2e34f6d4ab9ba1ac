//! Connectivity checks: which peer they are for, and which of those of strangers a peer gets to see.
//!
//! A peer opens and answers a check for some 7 us, thread hops and answer included, whoever sent it; ufrags are in the clear,
//! so anybody who overheard one can send checks in its name. What comes by a peer's own path, or comes at a rate at which
//! people join, is passed on as it is. Beyond that the shard looks at the signature itself, which is a fifth of the work, so
//! that a flood costs little and still keeps out nobody who has the password.

use std::time::{Duration, Instant};

use super::{Resident, ShardCore, ShardOutput};
use crate::media::negotiated::IceCredentials;
use crate::media::path::{Path, PeerKey};
use crate::peer::ice::{is_signed_by, transaction_of_request, ufrag_of_check};
use crate::peer::message::PeerInput;

/// Strangers' checks in [`CALM_WINDOW`] that are passed on unseen: 250 a second, more than two for each of 100 joins.
const CALM_CHECKS: u32 = 25;

/// Short, so that a flood is noticed within one look at the socket or a few.
const CALM_WINDOW: Duration = Duration::from_millis(100);

/// Credentials that are kept of one peer: those in use, and those of the restarts that came last.
const CREDENTIALS_KEPT: usize = 3;

/// How many checks came by paths that nobody has proved.
#[derive(Debug)]
pub(super) struct Strangers {
    since: Instant,
    checks: u32,
}

impl Strangers {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, checks: 0 }
    }

    /// One more came; whether it is one of the few that are passed on unseen.
    fn is_calm(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= CALM_WINDOW {
            (self.since, self.checks) = (now, 0);
        }
        self.checks = self.checks.saturating_add(1);
        self.checks <= CALM_CHECKS
    }
}

impl ShardCore {
    /// Takes a STUN message.
    pub(super) fn take_check(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let owner = self.routes.by_path(&path);
        match (ufrag_of_check(datagram).and_then(|ufrag| self.routes.by_ufrag(ufrag)), owner) {
            (Some(named), _) => self.take_request(now, named, (path, owner == Some(named)), datagram),
            (None, Some(owner)) => self.take_nameless(now, owner, path, datagram),
            (None, None) => self.counters.stun_unknown += 1,
        }
    }

    /// `own`: it came by a path that is the peer's.
    fn take_request(&mut self, now: Instant, peer: PeerKey, (path, own): (Path, bool), datagram: &[u8]) {
        if !self.admits(now, peer, own, datagram) {
            self.counters.stun_forged += 1;
            return;
        }
        self.counters.stun_routed += 1;
        self.tell_heard(peer, path);
        self.pass_on(peer, path, datagram);
    }

    /// What names no peer of ours came by the path of one: an answer to a question, or a check that its peer refuses.
    fn take_nameless(&mut self, now: Instant, owner: PeerKey, path: Path, datagram: &[u8]) {
        if let Some(asker) = self.asker(owner, datagram) {
            let has_room = self.routes.get_mut(asker).is_some_and(|known| known.intake.takes_answer(now));
            if has_room {
                self.pass_on(asker, path, datagram);
            }
        } else if transaction_of_request(datagram).is_some() {
            self.take_request(now, owner, (path, true), datagram);
        } else {
            self.counters.stun_unknown += 1;
        }
    }

    /// Whether the peer gets to see it. `own`: it came by a path that the peer has proved.
    fn admits(&mut self, now: Instant, peer: PeerKey, own: bool, datagram: &[u8]) -> bool {
        let Some(Resident { credentials, intake, .. }) = self.routes.get_mut(peer) else { return false };
        let is_signed = || credentials.iter().any(|local| is_signed_by(datagram, &local.password));
        if own {
            intake.takes_check(now, is_signed)
        } else {
            self.strangers.is_calm(now) || (is_signed() && intake.takes_signed(now))
        }
    }

    /// From now on checks under `local` may come for `peer`.
    pub(super) fn note_restart(&mut self, peer: PeerKey, local: &IceCredentials) {
        let Some(resident) = self.routes.get_mut(peer) else { return };
        if resident.credentials.len() >= CREDENTIALS_KEPT {
            resident.credentials.remove(0);
        }
        resident.credentials.push(local.clone());
    }

    /// A check came by `checked`: whether the peer moves there depends on when its path in use was last heard.
    fn tell_heard(&mut self, peer: PeerKey, checked: Path) {
        let Some(resident) = self.routes.get(peer) else { return };
        if let (Some(path), Some(at)) = (resident.connected_by, resident.heard)
            && path != checked
        {
            self.outputs.push_back(ShardOutput::ToPeer(peer, PeerInput::PathHeard { path, at }));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::net::SocketAddr;

    use aforo_cluster::id::SessionId;
    use rtc_dtls::crypto_provider::RTCCryptoProvider;
    use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
    use rtc_stun::attributes::ATTR_USERNAME;
    use rtc_stun::fingerprint::FINGERPRINT;
    use rtc_stun::integrity::MessageIntegrity;
    use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};
    use rtc_stun::textattrs::TextAttribute;

    use super::*;
    use crate::media::path::ShardId;
    use crate::peer::message::PeerOutput;
    use crate::shard::core::ShardCoreConfig;
    use crate::shard::message::PeerMedia;

    fn credentials(ufrag: &str, password: &str) -> IceCredentials {
        IceCredentials { ufrag: ufrag.to_owned(), password: password.to_owned() }
    }

    fn check(local: &IceCredentials) -> Vec<u8> {
        let mut message = Message::new();
        let username = format!("{}:them", local.ufrag);
        let setters: [Box<dyn Setter>; 3] = [
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId::new()),
            Box::new(TextAttribute::new(ATTR_USERNAME, username)),
        ];
        message.build(&setters).unwrap();
        let provider = AwsLcRsProvider::new();
        MessageIntegrity::new_short_term_integrity_with_provider(local.password.clone(), provider.crypto())
            .add_to(&mut message)
            .unwrap();
        FINGERPRINT.add_to(&mut message).unwrap();
        message.raw
    }

    fn path(port: u16) -> Path {
        Path::Udp(SocketAddr::from(([192, 0, 2, 1], port)))
    }

    #[test]
    fn a_flood_of_forged_checks_ends_at_the_shard_and_genuine_ones_do_not() {
        let start = Instant::now();
        let config = ShardCoreConfig { id: ShardId(0), seed: 1, peers_max: 8, silence_limit: None };
        let mut core = ShardCore::new(config, start);
        let local = credentials("aaaa", "password of the session");
        let peer = core.add_peer(SessionId::random(), &local, PeerMedia::Egress(Vec::new())).unwrap();
        core.handle_peer(start, peer, PeerOutput::PathValidated(path(1)));
        let forged = check(&credentials("aaaa", "password of a stranger"));
        for port in 0..1_000 {
            core.handle_datagram(start, start, path(1_000 + port), &mut forged.clone());
        }
        let passed_on = u64::from(CALM_CHECKS);
        assert_eq!(
            (core.counters().stun_routed, core.counters().stun_forged),
            (passed_on, 1_000 - passed_on)
        );

        core.handle_datagram(start, start, path(2), &mut check(&local));
        assert_eq!(core.counters().stun_routed, passed_on + 1, "who has the password comes in from anywhere");
        core.handle_datagram(start, start, path(1), &mut forged.clone());
        assert_eq!(
            core.counters().stun_routed,
            passed_on + 2,
            "the peer itself judges what comes by its path"
        );

        let restarted = credentials("bbbb", "password of the restart");
        let input = PeerInput::RestartIce { local: restarted.clone(), remote: credentials("them", "theirs") };
        core.tell(peer, input);
        for local in [&restarted, &local] {
            core.handle_datagram(start, start, path(3), &mut check(local));
        }
        assert_eq!(core.counters().stun_routed, passed_on + 4, "before and after the restart");

        let later = start + CALM_WINDOW;
        core.handle_datagram(later, later, path(9), &mut forged.clone());
        assert_eq!(core.counters().stun_routed, passed_on + 5, "a few are answered as they always were");
    }
}
