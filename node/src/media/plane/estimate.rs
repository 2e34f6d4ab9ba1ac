//! What viewers say of the packets they got, as limits to their video; and probes.
//!
//! Only a viewer of a track with several layers is estimated, and one of another that suffers: for the rest nothing depends on
//! it, and they pay nothing. Sound goes first: video gets what it leaves of the estimate, and waits where that is too little.

mod probe;

use std::time::Instant;

use super::choice::MEASURE_INTERVAL;
use super::track::{Layer, Track};
use super::viewer::LegPlace;
use super::{Plane, Role};
use crate::media::estimate::{Conditions, Distress, Estimator, ProbeEnd, ReportEstimator};
use crate::media::leg::Leg;
use crate::media::path::PeerKey;
use crate::media::rtcp::ReportBlock;
use crate::media::twcc::Feedback;

/// What is to be proved before a better layer is played, in percent of that layer's rate: more than its choice asks for, as
/// encoders overshoot.
const WANTED_PERCENT: u64 = 125;

/// What a trial allows, in percent of the next layer's rate: just more than its choice asks for.
const TRIAL_PERCENT: u64 = 120;

/// What is known of a viewer's path. Made with the first feedback after a picture of which there is a choice plays, or when
/// there is trouble with another; and anew after each change of path.
#[derive(Default)]
pub(super) struct ViewerEstimate {
    pub(super) distress: Distress,
    by_feedback: Option<Box<Estimator>>,
    by_reports: Option<Box<Reported>>,
}

/// Of a viewer without transport-wide feedback.
#[derive(Default)]
struct Reported {
    estimator: ReportEstimator,
    /// Payload bytes sent on the video leg at the last report, and when that came, in µs.
    sent: Option<(u32, i64)>,
    /// Of picture and sound.
    sent_bps: f64,
}

impl ViewerEstimate {
    /// Whether it rests on transport-wide feedback, which tells how much the path carries.
    pub(super) fn is_by_feedback(&self) -> bool {
        self.by_feedback.is_some()
    }

    /// Bits per second that the path is known to carry, if there is an estimate.
    pub(super) fn bitrate_bps(&self) -> Option<u64> {
        match &self.by_feedback {
            Some(estimator) => estimator.bitrate_bps(),
            None => self.by_reports.as_ref()?.estimator.bitrate_bps(),
        }
    }

    /// The most that may be sent, in bits per second; `None` while nothing says that the path carries less than there is.
    pub(super) fn limit_bps(&self) -> Option<u64> {
        match &self.by_feedback {
            Some(estimator) => estimator.limit_bps(),
            None => self.by_reports.as_ref()?.estimator.bitrate_bps(),
        }
    }

    /// The picture is held back, and `audio_bps` of sound are sent. `pictures`: payload bytes sent of it before; `more`:
    /// whether probes can tell that there is room for it, and what it takes with all else.
    pub(super) fn sound_alone(
        &mut self,
        now_micros: i64,
        pictures: u32,
        audio_bps: u64,
        (can_probe, next_bps): (bool, Option<u64>),
    ) {
        self.distress.forget_loss();
        if let Some(estimator) = &mut self.by_feedback {
            estimator.unheard(now_micros, next_bps.filter(|_| !can_probe));
        }
        if let Some(reported) = &mut self.by_reports {
            (reported.sent, reported.sent_bps) = (Some((pictures, now_micros)), audio_bps as f64);
            reported.estimator.unreported(now_micros, reported.sent_bps, next_bps);
        }
    }
}

impl Plane {
    /// A viewer's transport-wide feedback.
    pub(super) fn viewer_feeds_back(&mut self, now: Instant, peer: PeerKey, feedback: &Feedback<'_>) {
        let now_ms = self.since_epoch_ms(now);
        let depends = self.estimate_matters(now_ms, peer, |distress| {
            distress.feedback(now_ms, feedback.status_count.into(), feedback.lost() as u32);
        });
        let is_counted = depends && self.video_is_counted(peer);
        let now_micros = self.since_epoch_micros(now);
        let pads = self.padding_leg(peer).is_some();
        let next_bps = if pads { None } else { self.next_bps(now, peer) };
        let Some(transport) = self.transports.get_mut(peer.index).filter(|known| known.key == peer) else {
            return;
        };
        let Some(Role::Viewer(viewer)) = self.roles.get_mut(peer.index) else { return };
        let Some(log) = &mut transport.sent_log else {
            if depends && is_counted {
                transport.keep_log();
                viewer.estimate.by_feedback = Some(Box::new(Estimator::new()));
                viewer.estimate.by_reports = None;
            }
            self.counters.viewers_lost_packets += feedback.lost() as u64;
            return;
        };
        let round_trip = viewer.round_trip();
        let Some(estimator) = &mut viewer.estimate.by_feedback else { return };
        let conditions = Conditions { round_trip, can_probe: pads, next_bps };
        let reading = estimator.read(now_micros, feedback, log, conditions);
        self.counters.viewers_lost_packets += u64::from(reading.lost);
        match reading.probe {
            Some(ProbeEnd::Proved) => self.counters.probes_proved += 1,
            Some(ProbeEnd::Failed) => self.counters.probes_failed += 1,
            None => {}
        }
        if !depends {
            return self.forget_estimate(now, peer);
        }
        self.limit_video(now, peer);
        if pads {
            self.probe_if_wanted(now, peer);
        }
    }

    /// A viewer's own estimate (REMB).
    pub(super) fn viewer_estimates(&mut self, now: Instant, peer: PeerKey, bps: u64) {
        let now_micros = self.since_epoch_micros(now);
        let held = self.holds_picture(peer);
        let Some(Role::Viewer(viewer)) = self.roles.get_mut(peer.index) else { return };
        if let Some(reported) = &mut viewer.estimate.by_reports {
            if held {
                // Of so little it can tell what arrives, but not what would.
                reported.estimator.receiver_knows_more(bps as f64);
            } else {
                reported.estimator.receiver_estimate(now_micros, bps as f64, reported.sent_bps);
            }
            self.limit_video(now, peer);
        }
    }

    /// What a receiver report says of the last `packets` of a leg, for viewers that send nothing better.
    pub(super) fn viewer_reports_loss(
        &mut self,
        now: Instant,
        peer: PeerKey,
        place: LegPlace,
        (block, packets): (&ReportBlock, u32),
    ) {
        let now_micros = self.since_epoch_micros(now);
        let held = self.holds_picture(peer);
        if self.viewer(peer).is_none_or(|viewer| viewer.estimate.is_by_feedback()) {
            return;
        }
        let Some(track) = self.tracks.get(place.track) else { return };
        let Some(leg) = track.legs.get(place.leg) else { return };
        let (octets, said) = (leg.octets, track.lost_on_path(leg, block, packets));
        // Sound speaks for the path while it is all that is sent, and a picture that is held back has nothing to say then.
        if track.is_video() && held && said.lost == 0 || !track.is_video() && !held {
            return;
        }
        let Some(viewer) = self.viewer(peer) else { return };
        let known = viewer.legs.iter_mut().find(|leg| leg.ssrc == place.ssrc);
        let Some(loss) = known.and_then(|known| known.told.look(said)) else { return };
        let now_ms = self.since_epoch_ms(now);
        if !self.estimate_matters(now_ms, peer, |distress| distress.report(now_ms, loss)) {
            return self.forget_estimate(now, peer);
        }
        let (audio_bps, next_bps) = (self.audio_bps(now, peer), self.next_bps(now, peer));
        let Some(viewer) = self.viewer(peer) else { return };
        let reported = viewer.estimate.by_reports.get_or_insert_default();
        if held {
            reported.estimator.report(now_micros, loss, audio_bps as f64, next_bps);
            return self.limit_video(now, peer);
        }
        if let Some((before, at)) = reported.sent.replace((octets, now_micros)) {
            let passed = (now_micros - at).max(1) as f64;
            let video_bps = f64::from(octets.wrapping_sub(before)) * 8e6 / passed;
            reported.sent_bps = video_bps + audio_bps as f64;
            reported.estimator.report(now_micros, loss, reported.sent_bps, next_bps);
            self.limit_video(now, peer);
        }
    }

    /// Hands the video of `peer` what sound leaves of the limit.
    pub(super) fn limit_video(&mut self, now: Instant, peer: PeerKey) {
        let Some(Role::Viewer(viewer)) = self.roles.get(peer.index) else { return };
        let (limit_bps, lossy) = (viewer.estimate.limit_bps(), viewer.estimate.distress.is_heavy());
        let audio_bps = limit_bps.map_or(0, |_| self.audio_bps(now, peer));
        self.measure_single_layers(now, peer);
        let video_bps = limit_bps.map(|bps| bps.saturating_sub(audio_bps));
        self.select(now, peer, |selection| {
            selection.protect_sound(audio_bps > 0, lossy);
            selection.limit(video_bps);
        });
    }

    /// A track with one layer is measured only for those who suffer, with what they say.
    fn measure_single_layers(&mut self, now: Instant, peer: PeerKey) {
        let Some(Role::Viewer(viewer)) = self.roles.get(peer.index) else { return };
        for place in &viewer.legs {
            let Some(track) = self.tracks.get_mut(place.track).filter(|track| track.is_video()) else {
                continue;
            };
            let single = track.layers.len() == 1 && !track.layers.iter().any(Layer::is_scalable);
            if single && now >= track.measured_at + MEASURE_INTERVAL {
                track.measure(now);
            }
        }
    }

    /// A viewer is reached by another path, of which nothing is known: what it plays goes on, and the estimate begins anew.
    /// What is still said of packets that went the old way is nobody's business any more.
    pub(super) fn forget_path(&mut self, now: Instant, peer: PeerKey) {
        self.forget_estimate(now, peer);
        if let Some(viewer) = self.viewer(peer) {
            viewer.forget_path();
        }
    }

    /// Nothing depends on the estimate of a viewer any more.
    fn forget_estimate(&mut self, now: Instant, peer: PeerKey) {
        let Some(viewer) = self.viewer(peer) else { return };
        let estimate = &mut viewer.estimate;
        if estimate.by_feedback.take().is_none() && estimate.by_reports.take().is_none() {
            return;
        }
        estimate.by_reports = None;
        if let Some(transport) = self.transport_mut(peer) {
            transport.sent_log = None;
        }
        self.limit_bitrate(now, peer, None);
    }

    /// Whether anything depends on the estimate of `peer`: there is a choice, or trouble of which `look` takes in the newest
    /// signs. A picture that is held back is trouble.
    fn estimate_matters(&mut self, now_ms: u32, peer: PeerKey, look: impl FnOnce(&mut Distress)) -> bool {
        if self.plays_choice(peer) {
            if let Some(viewer) = self.viewer(peer) {
                look(&mut viewer.estimate.distress);
            }
            return true;
        }
        let held = self.legs_of(peer).find_map(|place| {
            let track = self.tracks.get(place.track).filter(|track| track.is_video())?;
            let leg = track.legs.get(place.leg).filter(|leg| leg.is_live())?;
            Some(leg.selection.holds_picture())
        });
        let Some(held) = held else { return false };
        let Some(viewer) = self.viewer(peer) else { return false };
        let distress = &mut viewer.estimate.distress;
        look(distress);
        if held {
            distress.suffers(now_ms);
        }
        distress.is_there(now_ms)
    }

    /// Whether there is a choice in what `peer` is sent now. Sound alone says nothing of what a picture needs, and
    /// who waits for the first one would be kept from the best.
    fn plays_choice(&self, peer: PeerKey) -> bool {
        self.legs_of(peer).any(|place| {
            let track = self.tracks.get(place.track).filter(|track| has_choice(track));
            track.and_then(|track| track.legs.get(place.leg)).is_some_and(Leg::is_live)
        })
    }

    /// Whether feedback speaks of pictures: not to a viewer that wants packets again as they were, who has reports for them.
    fn video_is_counted(&self, peer: PeerKey) -> bool {
        self.legs_of(peer).any(|place| {
            let track = self.tracks.get(place.track).filter(|track| track.is_video());
            let class = track.and_then(|track| {
                let leg = track.legs.get(place.leg)?;
                track.classes.get(usize::from(leg.class))
            });
            class.is_some_and(|class| class.class.counts_transport())
        })
    }

    pub(super) fn legs_of(&self, peer: PeerKey) -> impl Iterator<Item = LegPlace> {
        let legs = match self.roles.get(peer.index) {
            Some(Role::Viewer(viewer)) => viewer.legs.as_slice(),
            _ => &[],
        };
        legs.iter().copied()
    }

    /// The leg whose packets a probe can send again: that needs retransmissions with an SSRC of their own.
    pub(super) fn padding_leg(&self, peer: PeerKey) -> Option<LegPlace> {
        self.legs_of(peer).find(|place| {
            let track = self.tracks.get(place.track).filter(|track| track.is_video());
            let leg = track.and_then(|track| track.legs.get(place.leg));
            leg.is_some_and(|leg| leg.rtx_ssrc.is_some() && leg.is_live())
        })
    }

    /// Bits per second of the sound that `peer` gets.
    pub(super) fn audio_bps(&self, now: Instant, peer: PeerKey) -> u64 {
        let sent_bps = |place: LegPlace| {
            let track = self.tracks.get(place.track).filter(|track| !track.is_video())?;
            let class = track.classes.get(usize::from(track.legs.get(place.leg)?.class))?;
            Some(track.layers.first()?.sent_bps(now, &class.class))
        };
        self.legs_of(peer).filter_map(sent_bps).sum()
    }

    /// What has to be known to arrive for `peer` to get the best layers; `None` if it has them.
    fn wanted_bps(&self, now: Instant, peer: PeerKey) -> Option<u64> {
        let mut lacks = false;
        let mut video_bps = 0;
        for place in self.legs_of(peer) {
            let Some(track) = self.tracks.get(place.track).filter(|track| track.is_video()) else { continue };
            let Some(leg) = track.legs.get(place.leg) else { continue };
            let Some(best) = leg.selection.best(&track.ladder) else { continue };
            // Of what is chosen, the viewer may want a part.
            let part = leg.selection.within_wish(best.pick());
            let less = leg.selection.holds_picture() || leg.selection.within_wish(leg.chosen) != part;
            lacks |= leg.is_live() && less;
            video_bps += track.ladder.rung(part).unwrap_or(best).bitrate_bps;
        }
        lacks.then(|| video_bps * WANTED_PERCENT / 100 + self.audio_bps(now, peer))
    }

    /// What `peer` would be sent with the next better layer, with room for its choice; `None` if it has the best.
    pub(super) fn next_bps(&self, now: Instant, peer: PeerKey) -> Option<u64> {
        let mut lacks = false;
        let mut video_bps = 0;
        for place in self.legs_of(peer) {
            let Some(track) = self.tracks.get(place.track).filter(|track| track.is_video()) else { continue };
            let Some(leg) = track.legs.get(place.leg) else { continue };
            let next = leg.selection.next(&track.ladder, leg.chosen);
            lacks |= next.is_some();
            let rung = next.or_else(|| track.ladder.rung(leg.selection.within_wish(leg.chosen)));
            video_bps += rung.map_or(0, |rung| rung.bitrate_bps);
        }
        lacks.then(|| video_bps * TRIAL_PERCENT / 100 + self.audio_bps(now, peer))
    }
}

/// Whether there is more than one layer to play.
fn has_choice(track: &Track) -> bool {
    track.is_video() && track.ladder.rungs().len() > 1
}
