//! The clocks of publishers that follow one another, of whose layers each has one of its own.

use super::shards::exchange;
use super::*;
use crate::media::rtcp::{self, Packet, SenderInfo};

/// Between two frames, of picture and sound.
const FRAME: Duration = Duration::from_millis(20);
const PICTURE_FRAME: u32 = 1_800;
const SOUND_FRAME: u32 = 960;

fn setup() -> Setup {
    Setup { audio: true, rids: vec!["a".to_owned(), "b".to_owned()], ..Setup::default() }
}

/// A publisher whose layers have clocks of their own, as libwebrtc's have.
struct Sender {
    publisher: Publisher,
    /// What each layer's clock shows at its first frame.
    clocks: [u32; 2],
    /// Seconds of its wall clock at its first frame.
    wall: u64,
    /// Of its next frame.
    step: u16,
    /// Its first sequence number.
    first: u16,
}

impl Sender {
    fn new(publisher: Publisher, clocks: [u32; 2], wall: u64, first: u16) -> Self {
        Self { publisher, clocks, wall, step: 0, first }
    }

    /// The packets of one instant: sound, and a picture of each of `layers`, of which layer 0 is the small one.
    fn frame(&mut self, layers: &[usize], keyframe: bool) -> Vec<Vec<u8>> {
        let step = self.step;
        self.step += 1;
        let mut packets = vec![self.publisher.audio(self.first + step, &[0x78])];
        for layer in layers.iter().copied() {
            let sent = Sent {
                sequence: self.first + step,
                timestamp: self.clocks[layer].wrapping_add(u32::from(step) * PICTURE_FRAME),
                keyframe,
                layer,
                size: if layer == 0 { 200 } else { 1_000 },
            };
            packets.push(self.publisher.video(&sent));
        }
        packets
    }

    /// What it says of its clocks at the frame that it sent last.
    fn reports(&mut self) -> Vec<Vec<u8>> {
        let step = u32::from(self.step) - 1;
        let passed = (u64::from(step) << 32) * FRAME.as_millis() as u64 / 1_000;
        let sound = (u32::from(self.first) + step) * SOUND_FRAME;
        let picture = self.clocks.map(|clock| clock.wrapping_add(step * PICTURE_FRAME));
        let clocks = [
            (PUBLISHER_AUDIO_SSRC, sound),
            (PUBLISHER_VIDEO_SSRC, picture[0]),
            (PUBLISHER_VIDEO_SSRC + 0x100, picture[1]),
        ];
        let ntp = (self.wall << 32) + passed;
        let report = |(ssrc, rtp_timestamp)| {
            let info = SenderInfo { ntp, rtp_timestamp, packet_count: 1, octet_count: 1 };
            self.publisher.client.rtcp(|writer| writer.sender_report(ssrc, &info, &[]).unwrap())
        };
        clocks.into_iter().map(report).collect()
    }
}

/// What a viewer was sent and told of one stream, in seconds since the first of it.
#[derive(Default)]
struct Seen {
    /// When each packet came, what its timestamp says, and how large it was.
    packets: Vec<(f64, f64, usize)>,
    /// Of each report: the wall clock, and what the timestamp says.
    reports: Vec<(f64, f64)>,
    first: Option<(Instant, u32)>,
}

impl Seen {
    fn seconds(&self, timestamp: u32, clock_rate_hz: f64) -> f64 {
        let first = self.first.map_or(timestamp, |(_, first)| first);
        f64::from(timestamp.wrapping_sub(first).cast_signed()) / clock_rate_hz
    }
}

/// A viewer, here or on another shard, and what it has seen of picture and sound.
struct Watch {
    viewer: Viewer,
    seen: [Seen; 2],
}

impl Watch {
    fn take(&mut self, now: Instant) {
        let ssrcs = [(self.viewer.ssrc, 90_000.0), (self.viewer.audio_ssrc, 48_000.0)];
        for (header, packet) in self.viewer.client.packets() {
            let place = ssrcs.iter().position(|(ssrc, _)| *ssrc == header.ssrc).unwrap();
            let seen = &mut self.seen[place];
            let (began, _) = *seen.first.get_or_insert((now, header.timestamp));
            let says = seen.seconds(header.timestamp, ssrcs[place].1);
            seen.packets.push(((now - began).as_secs_f64(), says, packet[header.payload()].len()));
        }
        for compound in self.viewer.client.rtcp.drain(..) {
            for packet in rtcp::packets(&compound) {
                let Packet::SenderReport(report) = packet.unwrap() else { continue };
                let place = ssrcs.iter().position(|(ssrc, _)| *ssrc == report.ssrc).unwrap();
                let says = self.seen[place].seconds(report.info.rtp_timestamp, ssrcs[place].1);
                self.seen[place].reports.push((report.info.ntp as f64 / 2_f64.powi(32), says));
            }
        }
    }

    /// Every picture and every sound has the time at which it came, and every report says so.
    fn is_in_step(&self, what: &str) {
        for (seen, of) in self.seen.iter().zip(["picture", "sound"]) {
            for (came, says, _) in &seen.packets {
                assert!((came - says).abs() < 0.045, "{what}: {of} came after {came} s and says {says} s");
            }
            assert!(!seen.reports.is_empty(), "{what}: no report of {of}");
            let apart = |(ntp, says): &(f64, f64)| ntp - says;
            let first = apart(&self.seen[0].reports[0]);
            for report in &seen.reports {
                let off = apart(report) - first;
                assert!(off.abs() < 0.1, "{what}: a report of {of} is {off} s off");
            }
        }
    }
}

/// Two shards: publishers are on the first, and the viewer is on it too or on the second.
struct Rigs {
    near: Rig,
    far: Rig,
    watch: Watch,
    is_far: bool,
}

impl Rigs {
    fn new(is_far: bool) -> Self {
        let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
        far.now = near.now;
        let viewer = if is_far { far.viewer(1, &setup()) } else { near.viewer(1, &setup()) };
        Self { near, far, watch: Watch { viewer, seen: Default::default() }, is_far }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.near.now + time;
        while self.near.now < end {
            let step = (end - self.near.now).min(FRAME);
            let Self { near, far, watch, is_far } = self;
            if *is_far {
                exchange(near, far);
                near.wait(step, &mut [], &mut []);
                exchange(near, far);
                far.wait(step, &mut [], &mut [&mut watch.viewer]);
            } else {
                near.wait(step, &mut [], &mut [&mut watch.viewer]);
            }
            watch.take(near.now);
        }
    }

    /// `sender` sends so many frames of `layers`, beginning with a keyframe, and reports beside every `reports`th.
    fn broadcast(&mut self, sender: &mut Sender, layers: &[usize], frames: u16, reports: u16) {
        for number in 0..frames {
            let mut datagrams = sender.frame(layers, number % 25 == 0);
            datagrams.iter_mut().for_each(|packet| *packet = sender.publisher.client.seal(packet));
            if number % reports == reports - 1 {
                datagrams.extend(sender.reports());
            }
            for datagram in datagrams {
                self.near.receive(&sender.publisher.client, datagram);
            }
            let Self { near, far, watch, is_far } = self;
            if *is_far {
                near.flush(&mut [], &mut []);
                exchange(near, far);
                far.flush(&mut [], &mut [&mut watch.viewer]);
            } else {
                near.flush(&mut [], &mut [&mut watch.viewer]);
            }
            watch.take(near.now);
            self.pass(FRAME);
        }
    }

    fn publisher(&mut self, index: u32) -> Publisher {
        self.near.publisher(index, &setup())
    }

    fn leave(&mut self, sender: &Sender) {
        self.near.plane.remove_peer(self.near.now, sender.publisher.client.peer);
    }

    fn last_size(&self) -> usize {
        self.watch.seen[0].packets.last().unwrap().2
    }
}

#[test]
fn time_goes_on_for_a_viewer_whichever_layer_comes_back_and_whatever_its_clock_shows() {
    for is_far in [false, true] {
        for away in [1, 5, 59].map(Duration::from_secs) {
            for begins_with in [&[0, 1][..], &[1], &[0]] {
                let what = format!("far {is_far}, {away:?} away, {begins_with:?} first");
                let mut rigs = Rigs::new(is_far);
                let mut first = Sender::new(rigs.publisher(0), [7, 3_000_000_000], 1_000, 100);
                rigs.broadcast(&mut first, &[0, 1], 125, 20);
                assert_eq!(rigs.last_size(), 1_000, "{what}: the better layer is played");
                rigs.leave(&first);
                rigs.pass(away);
                let before = rigs.watch.seen[0].packets.len();
                let mut second = Sender::new(rigs.publisher(5), [2_000_000_000, 900_000_000], 70_000, 20_000);
                rigs.broadcast(&mut second, begins_with, 100, 20);
                rigs.broadcast(&mut second, &[0, 1], 150, 20);
                assert_eq!(rigs.last_size(), 1_000, "{what}: it is again");
                assert!(rigs.watch.seen[0].packets.len() > before + 150, "{what}: pictures are shown");
                rigs.watch.is_in_step(&what);
            }
        }
    }
}

#[test]
fn time_goes_on_over_a_publisher_of_whom_nothing_was_shown() {
    let mut rigs = Rigs::new(false);
    let mut first = Sender::new(rigs.publisher(0), [7, 3_000_000_000], 1_000, 100);
    rigs.broadcast(&mut first, &[0, 1], 125, 20);
    rigs.leave(&first);
    for (index, clocks) in [(5, [1, 2]), (6, [4_000_000_000, 77])] {
        rigs.pass(Duration::from_secs(3));
        let mut next = Sender::new(rigs.publisher(index), clocks, 5_000, 300);
        // Its keyframe never comes.
        for _ in 0..10 {
            let packets = next.frame(&[0, 1], false);
            for packet in packets.iter().skip(1) {
                let sealed = next.publisher.client.seal(packet);
                rigs.near.receive(&next.publisher.client, sealed);
            }
            rigs.pass(FRAME);
        }
        rigs.leave(&next);
    }
    let mut last = Sender::new(rigs.publisher(7), [500, 1_000_000_000], 70_000, 20_000);
    rigs.broadcast(&mut last, &[0, 1], 100, 20);
    rigs.watch.is_in_step("the third");
}
