use proptest::prelude::*;

use super::*;

struct Scene {
    rig: Rig,
    publisher: Publisher,
    viewer: Viewer,
    /// Sequence number of the viewer's first packet, which is the publisher's `FIRST`.
    first: u16,
}

const FIRST: u16 = 100;

impl Scene {
    /// `count` packets have reached the viewer, whatever then became of them.
    fn new(setup: &Setup, count: u16) -> Self {
        let mut rig = Rig::new();
        let mut publisher = rig.publisher(0, setup);
        let mut viewer = rig.viewer(1, setup);
        for sequence in FIRST..FIRST + count {
            let packet = publisher.video(&Sent::frame(sequence, sequence == FIRST));
            rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
        }
        let packets = viewer.client.packets();
        assert_eq!(packets.len(), usize::from(count));
        Self { rig, publisher, viewer, first: packets[0].0.sequence }
    }

    /// The viewer asks for the packets at these steps from the first; what it then gets.
    fn nack(&mut self, steps: &[u16]) -> Vec<(rtp::RtpHeader, Vec<u8>)> {
        let sequences: Vec<_> = steps.iter().map(|step| self.first.wrapping_add(*step)).collect();
        let nack = self.viewer.nack(&sequences);
        self.rig.receive(&self.viewer.client, nack);
        self.rig.flush(&mut [], &mut [&mut self.viewer]);
        self.viewer.client.packets()
    }

    /// The same, of a viewer that waits for what comes at its pace.
    fn nack_patiently(&mut self, steps: &[u16]) -> Vec<(rtp::RtpHeader, Vec<u8>)> {
        let mut packets = self.nack(steps);
        self.wait_ms(200);
        packets.extend(self.viewer.client.packets());
        packets.retain(|(header, _)| header.ssrc == self.viewer.rtx_ssrc || header.ssrc == self.viewer.ssrc);
        packets
    }

    fn wait_ms(&mut self, ms: u64) {
        self.rig.wait(Duration::from_millis(ms), &mut [&mut self.publisher], &mut [&mut self.viewer]);
    }
}

#[test]
fn a_nack_is_answered_by_rtx_with_the_original_number_in_front() {
    let mut scene = Scene::new(&Setup::default(), 20);
    let packets = scene.nack(&[3, 4, 9]);
    let rtx_first = packets[0].0.sequence;
    assert_eq!(packets.len(), 3);
    for ((header, packet), (step, place)) in packets.iter().zip([(3_u16, 0), (4, 1), (9, 2)]) {
        assert_eq!((header.ssrc, header.payload_type), (scene.viewer.rtx_ssrc, 102));
        assert_eq!(header.sequence, rtx_first.wrapping_add(place));
        let payload = &packet[header.payload()];
        assert_eq!(payload[..2], scene.first.wrapping_add(step).to_be_bytes());
        let sent = Sent::frame(FIRST + step, false);
        assert_eq!(&payload[2..], &vp8(&sent)[..]);
        assert_eq!(header.timestamp, sent.timestamp);
        assert_eq!(header.extension(packet, 4), Some(&b"1"[..]), "the mid of the viewer");
        assert!(header.extension(packet, 5).is_some(), "a transport-wide number of its own");
    }
    assert_eq!(scene.rig.plane.counters().rtx_sent_packets, 3);
}

#[test]
fn the_same_packet_is_not_sent_twice_at_once_but_again_when_asked_later() {
    let mut scene = Scene::new(&Setup::default(), 10);
    assert_eq!(scene.nack(&[3, 3]).len(), 1);
    assert_eq!(scene.nack(&[3]).len(), 0);
    scene.wait_ms(200);
    assert_eq!(scene.nack(&[3]).len(), 1);
    assert_eq!(scene.rig.plane.counters().rtx_refused, 2);
}

#[test]
fn without_rtx_the_packet_goes_out_again_bit_for_bit() {
    for profile in crate::media::keys::SrtpProfile::PREFERRED {
        let setup = Setup { rtx: false, profile, ..Setup::default() };
        let mut rig = Rig::new();
        let mut publisher = rig.publisher(0, &setup);
        let mut viewer = rig.viewer(1, &setup);
        let mut sealed = Vec::new();
        for sequence in 1..10 {
            let packet = publisher.video(&Sent::frame(sequence, sequence == 1));
            let datagram = publisher.client.seal(&packet);
            rig.receive(&publisher.client, datagram);
            rig.plane.flush(rig.now, &mut rig.batch, &mut rig.sent);
            sealed.extend(rig.sent.0.drain(..).map(|(_, datagram)| datagram));
        }
        // The viewer missed all of them, asks for one, and takes it for the original, which it is.
        let sequence = u16::from_be_bytes([sealed[4][2], sealed[4][3]]);
        let nack = viewer.nack(&[sequence]);
        rig.receive(&viewer.client, nack);
        rig.plane.flush(rig.now, &mut rig.batch, &mut rig.sent);
        let again: Vec<_> = rig.sent.0.drain(..).map(|(_, datagram)| datagram).collect();
        assert_eq!(again, [sealed[4].clone()]);
        viewer.client.take(&again[0]);
        assert_eq!(viewer.client.packets().len(), 1);
    }
}

#[test]
fn what_is_not_there_is_not_sent() {
    let mut scene = Scene::new(&Setup::default(), 10);
    assert_eq!(scene.nack(&[10, 11, 5_000]).len(), 0, "not sent yet");
    assert_eq!(scene.nack(&[0_u16.wrapping_sub(1)]).len(), 0, "before the leg");
    let nack = scene.viewer.client.rtcp(|writer| writer.nack(1, 77, &[1, 2]).unwrap());
    scene.rig.receive(&scene.viewer.client, nack);
    assert_eq!(scene.rig.plane.counters().rtx_sent_packets, 0);
    let counters = scene.rig.plane.counters();
    assert_eq!((counters.rtx_gone, counters.rtx_refused), (4, 2), "of no leg: refused");
}

#[test]
fn a_viewer_that_asks_for_everything_gets_its_budget() {
    let mut scene = Scene::new(&Setup::default(), 550);
    scene.rig.plane.resend_pace_percent = 1_000_000;
    let steps: Vec<_> = (0..550).collect();
    let sent = steps.chunks(100).map(|steps| scene.nack(steps).len()).sum::<usize>();
    assert_eq!(sent, 500);
    scene.wait_ms(1_000);
    assert_eq!(scene.nack(&[549]).len(), 1);
}

#[test]
fn damaged_and_replayed_feedback_is_counted_and_changes_nothing() {
    let mut scene = Scene::new(&Setup::default(), 10);
    let nack = scene.viewer.nack(&[scene.first]);
    let mut damaged = nack.clone();
    damaged[20] ^= 1;
    scene.rig.receive(&scene.viewer.client, damaged);
    assert_eq!(scene.rig.plane.counters().rtcp_unauthentic, 1);
    scene.rig.receive(&scene.viewer.client, nack.clone());
    scene.rig.receive(&scene.viewer.client, nack);
    scene.rig.receive(&scene.viewer.client, vec![0x80, 201, 0]);
    scene.rig.receive(&scene.viewer.client, vec![0x80; 60]);
    let counters = scene.rig.plane.counters();
    assert_eq!((counters.rtcp_replayed, counters.rtcp_malformed, counters.rtp_malformed), (1, 1, 1));
    assert_eq!(counters.feedback_received.nack, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Losses between plane and viewer, with and without RTX: what is asked for comes, with the right bytes. The ledger of the
    /// viewer's sealer checks every nonce on the way.
    #[test]
    fn whatever_is_lost_comes_again(rtx in any::<bool>(), lost in prop::collection::btree_set(0_u16..60, 1..20)) {
        let mut scene = Scene::new(&Setup { rtx, ..Setup::default() }, 60);
        let lost: Vec<_> = lost.into_iter().collect();
        if rtx {
            let packets = scene.nack_patiently(&lost);
            prop_assert_eq!(packets.len(), lost.len());
            for ((header, packet), step) in packets.iter().zip(&lost) {
                let sent = Sent::frame(FIRST + step, *step == 0);
                prop_assert_eq!(&packet[header.payload()][2..], &vp8(&sent)[..]);
            }
        } else {
            // The test's viewer got them already, so that its window refuses the copies.
            prop_assert_eq!(scene.nack_patiently(&lost).len(), 0);
            prop_assert_eq!(scene.viewer.client.refused, lost.len());
        }
    }
}
