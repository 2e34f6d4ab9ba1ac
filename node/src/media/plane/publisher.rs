//! The publisher's side: its packets become packets of tracks, and what it has to be told is gathered here.

mod allocation;
mod canonicalise;
mod feedback;
mod pulse;
mod successor;
mod wall_clock;

use std::ops::Range;
use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;
use smallvec::SmallVec;

use super::clock::SenderClock;
use super::quality::{Quality, ratio};
use super::track::{Arrived, LAYERS_MAX, Layer, Source, Track};
use super::{Plane, PlaneError, Role};
use crate::media::counters::Counters;
use crate::media::demux::{Demux, Route, unwrap_rtx};
use crate::media::extension::ExtensionKind;
use crate::media::gather;
use crate::media::negotiated::NegotiatedMedia;
use crate::media::path::PeerKey;
use crate::media::reception::{Freshness, Received, Reception, ReceptionConfig, ReceptionTotals};
use crate::media::rtcp::{self, Packet, SenderInfo};
use crate::media::rtp::RtpHeader;
use crate::media::spec::{IngestSpec, IngestTrack, Layers, PlaneEvent};
use crate::media::srtp::{RtcpOpener, RtcpSealer, RtpOpener};
use crate::media::twcc::ArrivalRecorder;
use canonicalise::canonicalise;
use pulse::Pulse;
use successor::Waiting;
use wall_clock::WallClock;

/// How often a publisher hears how its packets arrive: libwebrtc's own interval for video.
pub(super) const RECEIVER_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A publisher but for what the hot path needs.
pub(super) struct Publisher {
    rtp_in: RtpOpener,
    rtcp_in: RtcpOpener,
    rtcp_out: RtcpSealer,
    demux: Demux,
    arrivals: ArrivalRecorder,
    tracks: SmallVec<[PublisherTrack; 2]>,
    wall_clock: WallClock,
    /// What our feedback calls itself.
    ssrc: u32,
    pulse: Pulse,
    keyframe_told: bool,
    /// Until it takes over from another: what is known of it.
    waiting: Option<Waiting>,
    due: Due,
    nack_scheduled: bool,
    feedback_scheduled: bool,
}

/// What the next flush has to tell a publisher.
#[derive(Debug, Clone, Copy, Default)]
struct Due {
    /// Whether it stands in the plane's list.
    listed: bool,
    receiver_reports: bool,
    transport_feedback: bool,
    nack: bool,
}

/// One of its tracks.
struct PublisherTrack {
    id: TrackId,
    /// Place of the track in the plane's table.
    place: usize,
    media: NegotiatedMedia,
    layers: Vec<PublisherLayer>,
    /// The layers of which a keyframe is wanted.
    keyframes_of: Layers,
    /// Number of the last full intra request.
    intra_requests: u8,
}

struct PublisherLayer {
    reception: Reception,
    /// Added to indices, so that those of a publisher that follows another go on above the other's.
    shift: u64,
    /// Whether a packet of it was taken in.
    has_begun: bool,
    /// What is counted of it. Of what the track's layer has lost that is its part: that of the publishers before goes on.
    counted: ReceptionTotals,
}

/// A packet that was opened and mapped: where it lies in its datagram, and what it is.
struct Mapped {
    route: Route,
    received: Received,
    start: usize,
    end: usize,
    /// Whether it is nothing but padding: probes go on without an encoder.
    is_padding: bool,
}

impl PublisherLayer {
    /// Says in the track's layer what is lost for good, and counts what is new of that, of what was missed and of what nobody
    /// waits for any more.
    fn note_lost(&mut self, layer: &mut Layer, counters: &mut Counters) {
        let totals = self.reception.totals();
        let before = std::mem::replace(&mut self.counted, totals);
        // A packet that came after all is not lost any more.
        layer.lost = (layer.lost + totals.lost_packets).saturating_sub(before.lost_packets);
        counters.rtp_unrepaired_packets += totals.lost_packets.saturating_sub(before.lost_packets);
        counters.rtp_missed_packets += totals.missed_packets.saturating_sub(before.missed_packets);
        counters.rtp_abandoned_packets += totals.abandoned_packets.saturating_sub(before.abandoned_packets);
    }
}

impl Publisher {
    pub(super) fn new(now: Instant, spec: &IngestSpec, ssrc: u32) -> Result<Self, PlaneError> {
        let keys = &spec.keys;
        Ok(Self {
            rtp_in: RtpOpener::new(keys.profile, &keys.remote).map_err(PlaneError::Keys)?,
            rtcp_in: RtcpOpener::new(keys.profile, &keys.remote).map_err(PlaneError::Keys)?,
            rtcp_out: RtcpSealer::new(keys.profile, &keys.local).map_err(PlaneError::Keys)?,
            demux: Demux::new(spec.tracks.iter().map(|track| &track.media)),
            arrivals: ArrivalRecorder::new(now),
            tracks: SmallVec::new(),
            wall_clock: WallClock::default(),
            ssrc,
            pulse: Pulse::new(now),
            keyframe_told: false,
            waiting: None,
            due: Due::default(),
            nack_scheduled: false,
            feedback_scheduled: false,
        })
    }

    /// Adds the next track of its list, which stands at `place` of the plane's table.
    pub(super) fn attach(&mut self, now: Instant, place: usize, ingest: &IngestTrack, track: &Track) {
        let config = ReceptionConfig::of(&ingest.media);
        let layers = 0..ingest.media.rids.len().clamp(1, LAYERS_MAX);
        let layers = layers.map(|index| PublisherLayer {
            reception: Reception::new(config, now),
            shift: shift_above(track, index),
            has_begun: false,
            counted: ReceptionTotals::default(),
        });
        self.tracks.push(PublisherTrack {
            id: ingest.id,
            place,
            media: ingest.media.clone(),
            layers: layers.collect(),
            keyframes_of: Layers::NONE,
            intra_requests: 0,
        });
    }

    /// Its tracks.
    pub(super) fn ids(&self) -> impl Iterator<Item = TrackId> {
        self.tracks.iter().map(|track| track.id)
    }

    /// Places of its tracks in the plane's table.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.tracks.iter().map(|track| track.place)
    }

    /// See [`Plane::sample_quality`].
    pub(super) fn sample_quality(&self, time: &Range<Instant>, observe: &mut impl FnMut(Quality)) {
        for track in &self.tracks {
            let clock_rate_hz = f64::from(track.media.codec.kind.clock_rate_hz());
            for layer in track.layers.iter().filter(|layer| layer.reception.totals().received_packets > 0) {
                let jitter = f64::from(layer.reception.jitter()) / clock_rate_hz;
                observe(Quality::Jitter(Duration::from_secs_f64(jitter)));
                let lost = layer.reception.fraction_lost_within(time);
                lost.map(|lost| Quality::ReceivedLoss(ratio(lost))).into_iter().for_each(&mut *observe);
                if let Some(round_trip) = layer.reception.round_trip() {
                    observe(Quality::PublisherRoundTrip(round_trip));
                }
            }
        }
    }

    /// Opens `datagram` in place, finds where it belongs, and notes that it came.
    fn open(&mut self, arrival: Instant, datagram: &mut [u8], counters: &mut Counters) -> Option<Mapped> {
        let Ok(header) = RtpHeader::parse_protected(datagram) else {
            counters.rtp_malformed += 1;
            return None;
        };
        let opened = match self.rtp_in.open(datagram, header.header_len()) {
            Ok(opened) => opened,
            Err(error) => {
                counters.rtp_refused(error);
                return None;
            }
        };
        counters.rtp_received_packets += 1;
        let packet = datagram.get_mut(..opened.len)?;
        let Ok(header) = RtpHeader::parse(packet) else {
            counters.rtp_malformed += 1;
            return None;
        };
        let Ok(route) = self.demux.route(&header, packet) else {
            counters.rtp_unmapped += 1;
            return None;
        };
        let track = self.tracks.get_mut(usize::from(route.track))?;
        let is_red = track.media.red_payload_type == Some(header.payload_type);
        counters.red_received_packets += u64::from(is_red);
        let transport_id = track.media.extensions.id(ExtensionKind::TransportWideCc);
        let sequence = transport_id.and_then(|id| header.extension(packet, id)).and_then(<[u8]>::first_chunk);
        if let Some(sequence) = sequence {
            self.arrivals.record(u16::from_be_bytes(*sequence), arrival);
        }
        let layer = track.layers.get_mut(usize::from(route.layer))?;
        let (start, mut received) = if route.rtx {
            counters.rtx_received_packets += 1;
            let media_ssrc = self.demux.media_ssrc(route.track, route.layer)?;
            let original = unwrap_rtx(packet, &header, track.media.codec.payload_type, media_ssrc)?;
            let sequence = original.get(2..).and_then(<[u8]>::first_chunk)?;
            let start = opened.len - original.len();
            (start, layer.reception.receive_repaired(arrival, u16::from_be_bytes(*sequence))?)
        } else {
            (0, layer.reception.receive(arrival, header.ssrc, header.sequence, header.timestamp))
        };
        match received.freshness {
            Freshness::Duplicate => counters.rtp_duplicate += 1,
            Freshness::TooOld => counters.rtp_too_old += 1,
            Freshness::Fresh | Freshness::Late => {}
        }
        received.index = received.index.wrapping_add(layer.shift);
        let is_padding = header.payload().is_empty();
        Some(Mapped { route, received, start, end: opened.len, is_padding })
    }
}

/// What puts the indices of a publisher above those that layer `index` of `track` has had.
fn shift_above(track: &Track, index: usize) -> u64 {
    let before = track.layers.get(index).and_then(Layer::highest);
    before.map_or(0, |highest| (highest & !0xFFFF) + (2 << 16))
}

impl Plane {
    /// RTP of a publisher.
    pub(super) fn receive_rtp(&mut self, now: Instant, arrival: Instant, peer: PeerKey, datagram: &mut [u8]) {
        let Some(Role::Publisher(publisher)) = self.roles.get_mut(peer.index) else { return };
        let waits = publisher.waiting.is_some();
        if let Some(mut mapped) = publisher.open(arrival, datagram, &mut self.counters)
            && (!waits || self.lets_succeed(now, peer, &mut mapped, datagram))
        {
            self.take_in(now, arrival, peer, &mapped, datagram);
        }
        self.schedule_feedback(now, peer, true);
    }

    /// Hands an opened packet to its track.
    fn take_in(
        &mut self,
        now: Instant,
        arrival: Instant,
        peer: PeerKey,
        mapped: &Mapped,
        datagram: &mut [u8],
    ) {
        let Some(Role::Publisher(publisher)) = self.roles.get_mut(peer.index) else { return };
        let Mapped { route, received, start, end, is_padding } = mapped;
        if !matches!(received.freshness, Freshness::Fresh | Freshness::Late) {
            return;
        }
        let Some(from) = publisher.tracks.get_mut(usize::from(route.track)) else { return };
        let place = from.place;
        let (Some(track), Some(packet)) = (self.tracks.get_mut(place), datagram.get_mut(*start..*end)) else {
            return;
        };
        if track.source != (Source::Publisher { place: peer.index, number: route.track }) {
            return self.counters.rtp_unmapped += 1;
        }
        let Some(packet) = canonicalise(packet, &from.media) else {
            return self.counters.rtp_malformed += 1;
        };
        let (keyframe, waited) = match track.arrive(now, route.layer, received.index, packet) {
            Arrived::New { keyframe, waited } => (keyframe, waited),
            Arrived::Duplicate => return self.counters.rtp_duplicate += 1,
            Arrived::Unusable => return self.counters.rtp_too_old += 1,
        };
        self.counters.taken_in.add(from.media.codec.kind, 1, packet.len() as u64);
        if !is_padding {
            self.events.extend(publisher.pulse.media_came(now, peer));
        }
        from.follow_allocation(route.layer, track, &mut self.counters);
        let mut keyframe_wanted = false;
        if let Some(layer) = from.layers.get_mut(usize::from(route.layer)) {
            // One wish is enough: it is repeated until a keyframe comes, or nobody watches.
            let begins = received.restarted || !std::mem::replace(&mut layer.has_begun, true);
            keyframe_wanted |= begins && track.is_video() && !keyframe;
            if keyframe {
                layer.reception.keyframe_started(received.index.wrapping_sub(layer.shift));
            }
            keyframe_wanted |=
                layer.reception.take_keyframe_wanted() && track.watched().contains(route.layer);
            for index in track.take_recovered() {
                // Shifts are of whole rounds of sequence numbers.
                layer.reception.receive_repaired(arrival, index as u16);
            }
            if let Some(report) = track.layers.get_mut(usize::from(route.layer)) {
                layer.note_lost(report, &mut self.counters);
            }
        }
        if keyframe {
            from.keyframes_of = from.keyframes_of.without(Layers::of(route.layer));
            self.events.extend(waited.map(PlaneEvent::KeyframeWaited));
            if !std::mem::replace(&mut publisher.keyframe_told, true) {
                self.events.push_back(PlaneEvent::FirstKeyframe(peer));
            }
        }
        if track.open_window(arrival) {
            let window = gather::window(self.sent_rate.per_second(now));
            self.departures.open(place, arrival.min(now), window);
        }
        if track.ends_frame(route.layer) {
            self.departures.hasten(place, now);
        }
        if keyframe_wanted {
            self.want_keyframe(now, place, route.layer);
        }
    }

    /// RTCP of a publisher: its clocks. What it says of our feedback does not matter.
    pub(super) fn receive_rtcp_from_publisher(
        &mut self,
        now: Instant,
        arrival: Instant,
        peer: PeerKey,
        datagram: &mut [u8],
    ) {
        let Some(Role::Publisher(publisher)) = self.roles.get_mut(peer.index) else { return };
        let compound = match publisher.rtcp_in.open(datagram) {
            Ok(compound) => compound,
            Err(error) => return self.counters.rtcp_refused(error),
        };
        self.counters.rtcp_received_packets += 1;
        for packet in rtcp::packets(compound) {
            match packet {
                Ok(packet) => {
                    self.counters.feedback_received.count(&packet);
                    if let Packet::SenderReport(report) = packet {
                        self.publisher_reports(now, arrival, peer, report.ssrc, &report.info);
                    }
                }
                Err(_) => self.counters.rtcp_malformed += 1,
            }
        }
    }

    fn publisher_reports(
        &mut self,
        now: Instant,
        arrival: Instant,
        peer: PeerKey,
        ssrc: u32,
        info: &SenderInfo,
    ) {
        let Some(Role::Publisher(publisher)) = self.roles.get_mut(peer.index) else { return };
        let Some(route) = publisher.demux.route_of(ssrc).filter(|route| !route.rtx) else { return };
        let Some(track) = publisher.tracks.get_mut(usize::from(route.track)) else { return };
        let place = track.place;
        let Some(layer) = track.layers.get_mut(usize::from(route.layer)) else { return };
        layer.reception.sender_report(arrival, info);
        let has_come = layer.reception.totals().received_packets > 0;
        let known = self.tracks.get(place).filter(|track| track.comes_from(peer.index));
        let Some(known) = known else { return };
        let was_played =
            known.layers.get(usize::from(route.layer)).is_some_and(|layer| layer.highest().is_some());
        if was_played && !has_come {
            // Legs still go by what the publisher before sent of it.
            return;
        }
        let (before, clock_rate_hz) = (known.clock_before, known.clock_rate_hz());
        let ntp = publisher.wall_clock.carry_on(info.ntp, || Some(before?.at(arrival, clock_rate_hz).0));
        let rtp_timestamp = info.rtp_timestamp;
        self.set_clock(now, place, route.layer, SenderClock { ntp, rtp_timestamp, at: arrival });
    }
}
