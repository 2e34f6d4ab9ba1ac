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
fn what_is_refused_takes_nothing_of_what_may_be_sent_again() {
    let mut scene = Scene::new(&Setup::default(), 550);
    // One packet each 150 ms, so that all but the first wait.
    scene.rig.plane.resend_pace_percent = 5;
    let steps: Vec<_> = (0..500).collect();
    steps.chunks(100).for_each(|steps| drop(scene.nack(steps)));
    let refused = scene.rig.plane.counters().rtx_refused as u16;
    assert!((200..300).contains(&refused), "there is room for some only: {refused}");
    scene.rig.plane.resend_pace_percent = 1_000_000;
    // Time for seventy-five packets more.
    scene.wait_ms(150);
    assert!(repaired(&mut scene).len() > 200);
    // What was refused was the last that was asked for.
    let steps: Vec<_> = (500 - refused..500).collect();
    let sent: usize = steps.chunks(100).map(|steps| scene.nack(steps).len()).sum();
    assert_eq!(sent, usize::from(refused));
    let gone: Vec<_> = (550..970).collect();
    gone.chunks(60).for_each(|steps| assert!(scene.nack(steps).is_empty()));
    let steps: Vec<_> = (0..60).collect();
    assert_eq!(scene.nack(&steps).len(), 60, "what is not there takes nothing either");
}

/// Which packets the viewer got again, counted from its first.
fn repaired(scene: &mut Scene) -> Vec<u16> {
    let packets = scene.viewer.client.packets();
    let repairs = packets.iter().filter(|(header, _)| header.ssrc == scene.viewer.rtx_ssrc);
    let number = |(header, packet): &(rtp::RtpHeader, Vec<u8>)| {
        let payload = &packet[header.payload()];
        u16::from_be_bytes([payload[0], payload[1]]).wrapping_sub(scene.first)
    };
    repairs.map(number).collect()
}

#[test]
fn what_had_to_wait_is_sent_once_to_who_asks_again_before_it_can_have_come() {
    let mut scene = Scene::new(&Setup::default(), 200);
    // One packet each 150 ms.
    scene.rig.plane.resend_pace_percent = 5;
    scene.nack(&[2, 3, 4]);
    for _ in 0..400 {
        scene.wait_ms(1);
        if scene.rig.plane.counters().rtx_sent_packets > 1 {
            break;
        }
    }
    assert_eq!(repaired(&mut scene), [3]);
    scene.nack(&[3, 4]);
    scene.wait_ms(1_000);
    assert_eq!(repaired(&mut scene), [4]);
}

#[test]
fn a_long_burst_is_answered_once() {
    let mut scene = Scene::new(&Setup::default(), 250);
    scene.rig.plane.resend_pace_percent = 1_000_000;
    let steps: Vec<_> = (0..250).collect();
    let sent: usize = (0..2).map(|_| scene.nack(&steps).len()).sum();
    assert_eq!(sent, 250);
}

#[test]
fn what_waits_goes_before_what_is_asked_for_later() {
    for percent in 1..60 {
        let mut scene = Scene::new(&Setup::default(), 50);
        scene.rig.plane.resend_pace_percent = percent;
        let steps: Vec<_> = (0..8).collect();
        let mut order: Vec<_> = Vec::new();
        for step in steps.chunks(2) {
            let nack: Vec<_> = step.iter().map(|step| scene.first + step).collect();
            let nack = scene.viewer.nack(&nack);
            scene.rig.receive(&scene.viewer.client, nack);
            scene.rig.flush(&mut [], &mut [&mut scene.viewer]);
            // Between two steps.
            scene.rig.now += Duration::from_millis(4);
            scene.rig.flush(&mut [], &mut [&mut scene.viewer]);
            order.extend(repaired(&mut scene));
        }
        scene.wait_ms(10_000);
        order.extend(repaired(&mut scene));
        assert_eq!(order, steps, "{percent} %");
    }
}

#[test]
fn who_waits_for_much_takes_nobody_elses_place() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewers: Vec<_> = (1..6).map(|index| rig.viewer(index, &setup)).collect();
    for sequence in FIRST..FIRST + 400 {
        let packet = publisher.video(&Sent::frame(sequence, sequence == FIRST));
        rig.publish(&mut publisher, &packet, &mut viewers.iter_mut().collect::<Vec<_>>());
    }
    rig.plane.resend_pace_percent = 20;
    let mut modest = viewers.pop().unwrap();
    let ask = |rig: &mut Rig, viewer: &mut Viewer, count: u16| {
        let first = viewer.client.packets()[0].0.sequence;
        let sequences: Vec<_> = (0..count).map(|step| first.wrapping_add(step)).collect();
        for sequences in sequences.chunks(100) {
            let nack = viewer.nack(sequences);
            rig.receive(&viewer.client, nack);
        }
        rig.flush(&mut [], &mut [viewer]);
    };
    viewers.iter_mut().for_each(|viewer| ask(&mut rig, viewer, 400));
    let refused = rig.plane.counters().rtx_refused;
    ask(&mut rig, &mut modest, 20);
    assert_eq!(rig.plane.counters().rtx_refused, refused);
    rig.wait(Duration::from_secs(5), &mut [], &mut [&mut modest]);
    let repairs = modest.client.packets().iter().filter(|(header, _)| header.ssrc == modest.rtx_ssrc).count();
    assert_eq!(repairs, 20);
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
