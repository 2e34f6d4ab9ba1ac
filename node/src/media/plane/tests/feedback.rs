use super::*;
use crate::media::rtcp::{self, Packet, ReportBlock, SenderInfo};

pub(super) fn packets(client: &mut Client) -> Vec<Vec<u8>> {
    std::mem::take(&mut client.rtcp)
}

/// How often any of `compounds` has a packet that `pick` likes.
fn count(compounds: &[Vec<u8>], pick: impl Fn(&Packet<'_>) -> bool) -> usize {
    compounds
        .iter()
        .flat_map(|compound| rtcp::packets(compound))
        .filter(|packet| pick(packet.as_ref().unwrap()))
        .count()
}

pub(super) fn plis(compounds: &[Vec<u8>]) -> usize {
    count(
        compounds,
        |packet| matches!(packet, Packet::PictureLoss(loss) if loss.media_ssrc == PUBLISHER_VIDEO_SSRC),
    )
}

fn sequences_asked_for(compounds: &[Vec<u8>]) -> Vec<u16> {
    let packets = compounds.iter().flat_map(|compound| rtcp::packets(compound)).map(Result::unwrap);
    packets
        .flat_map(|packet| match packet {
            Packet::Nack(nack) => nack.sequences().collect(),
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn a_thousand_viewers_that_join_at_once_cause_one_keyframe_request_per_half_second() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let packet = publisher.video(&Sent::frame(1, true));
    rig.publish(&mut publisher, &packet, &mut []);
    // Nobody begins with a keyframe that is so old.
    rig.wait(Duration::from_secs(2), &mut [&mut publisher], &mut []);
    let mut viewers: Vec<_> = (1..=200).map(|index| rig.viewer(index, &setup)).collect();
    rig.flush(&mut [&mut publisher], &mut []);
    assert_eq!(plis(&packets(&mut publisher.client)), 1, "at once");
    rig.wait(Duration::from_millis(499), &mut [&mut publisher], &mut []);
    assert_eq!(plis(&packets(&mut publisher.client)), 0);
    rig.wait(Duration::from_millis(20), &mut [&mut publisher], &mut []);
    assert_eq!(plis(&packets(&mut publisher.client)), 1, "it did not come: again");
    let packet = publisher.video(&Sent::frame(2, true));
    rig.publish(&mut publisher, &packet, &mut viewers.iter_mut().collect::<Vec<_>>());
    let waited = PlaneEvent::KeyframeWaited(Duration::from_millis(519));
    assert!(rig.events().contains(&waited), "from the first who asked to the keyframe");
    assert!(viewers.iter_mut().all(|viewer| viewer.client.packets().len() == 1));
    rig.wait(Duration::from_secs(2), &mut [&mut publisher], &mut []);
    assert_eq!(plis(&packets(&mut publisher.client)), 0, "it came: nobody waits");
    // A burst of losses at many viewers is one request again.
    for viewer in &mut viewers {
        let pli = viewer.pli();
        rig.receive(&viewer.client, pli);
    }
    rig.flush(&mut [&mut publisher], &mut []);
    assert_eq!(plis(&packets(&mut publisher.client)), 1);
    assert_eq!(rig.plane.counters().keyframe_requests_received, 200);
}

#[test]
fn a_publisher_is_asked_for_what_was_lost_and_told_how_it_arrives() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    for sequence in 1..=40_u16 {
        if ![7, 8, 20].contains(&sequence) {
            let packet = publisher.video(&Sent::frame(sequence, sequence == 1));
            rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
        }
        rig.wait(Duration::from_millis(10), &mut [&mut publisher], &mut []);
    }
    let told = packets(&mut publisher.client);
    let mut asked = sequences_asked_for(&told);
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, [7, 8, 20]);
    let arrivals: usize = told
        .iter()
        .flat_map(|compound| rtcp::packets(compound))
        .filter_map(|packet| match packet.unwrap() {
            Packet::TransportCc(feedback) => Some(feedback.packets().count()),
            _ => None,
        })
        .sum();
    assert!(arrivals >= 25, "{arrivals} packets reported within 400 ms");
    // Repaired in time, nothing is asked for any more, and the report says what was lost on the way.
    for (sequence, rtx) in [(7, 1), (8, 2), (20, 3)] {
        let packet = publisher.video_rtx(&Sent::frame(sequence, false), rtx);
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    assert_eq!(viewer.client.packets().len(), 40);
    rig.wait(Duration::from_secs(1), &mut [&mut publisher], &mut []);
    let told = packets(&mut publisher.client);
    assert!(sequences_asked_for(&told).is_empty());
    let block = told
        .iter()
        .flat_map(|compound| rtcp::packets(compound))
        .find_map(|packet| match packet.unwrap() {
            Packet::ReceiverReport(report) => report.blocks().next(),
            _ => None,
        })
        .unwrap();
    assert_eq!((block.ssrc, block.cumulative_lost), (PUBLISHER_VIDEO_SSRC, 3));
    assert_eq!(rig.plane.track_report(rig.now, VIDEO).unwrap().lost, 0, "all repaired");
}

#[test]
fn viewers_hear_the_publishers_clock_once_a_second_each_at_a_time_of_its_own() {
    let setup = Setup { audio: true, ..Setup::default() };
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewers: Vec<_> = (1..=50).map(|index| rig.viewer(index, &setup)).collect();
    let report = publisher.client.rtcp(|writer| {
        let info = SenderInfo { ntp: 1_000 << 32, rtp_timestamp: 90_000, packet_count: 1, octet_count: 1 };
        writer.sender_report(PUBLISHER_VIDEO_SSRC, &info, &[]).unwrap();
    });
    rig.receive(&publisher.client, report);
    let packet = publisher.video(&Sent::frame(30, true));
    rig.publish(&mut publisher, &packet, &mut viewers.iter_mut().collect::<Vec<_>>());
    let mut at_most_together = 0;
    for _ in 0..101 {
        let before = rig.plane.counters().rtcp_sent_packets;
        rig.wait(
            Duration::from_millis(10),
            &mut [&mut publisher],
            &mut viewers.iter_mut().collect::<Vec<_>>(),
        );
        at_most_together = at_most_together.max(rig.plane.counters().rtcp_sent_packets - before);
    }
    assert!(at_most_together <= 8, "{at_most_together} of 50 reports at once");
    let told: Vec<_> = viewers.iter_mut().map(|viewer| packets(&mut viewer.client)).collect();
    for (viewer, told) in viewers.iter().zip(&told) {
        assert!((1..=2).contains(&told.len()), "{} compounds in a second", told.len());
        let mut packets = rtcp::packets(&told[0]).map(Result::unwrap);
        let Some(Packet::SenderReport(report)) = packets.next() else { panic!("a sender report first") };
        assert_eq!(report.ssrc, viewer.ssrc);
        assert_eq!((report.info.packet_count, report.info.octet_count), (1, 900));
        let elapsed = report.info.ntp.wrapping_sub(1_000 << 32);
        let units = report.info.rtp_timestamp - 90_000;
        let expected = (elapsed as f64 / f64::from(u32::MAX) * 90_000.0) as u32;
        assert!(units.abs_diff(expected) <= 2, "the two clocks go together: {units} {expected}");
        assert!(matches!(packets.next(), Some(Packet::SourceDescription(_))));
        assert!(packets.next().is_none(), "no report of sound, whose clock is not known");
    }
}

#[test]
fn a_publisher_without_sender_reports_is_given_our_clock_after_a_while() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    let mut silent = 0;
    for sequence in 0..100_u16 {
        let packet = publisher
            .video(&Sent { timestamp: u32::from(sequence) * 9_000, ..Sent::frame(sequence, sequence == 0) });
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
        rig.wait(Duration::from_millis(100), &mut [&mut publisher], &mut [&mut viewer]);
        silent += usize::from(viewer.client.rtcp.is_empty());
    }
    assert!((60..=71).contains(&silent), "{silent} tenths of a second");
    let told = packets(&mut viewer.client);
    let reports = told.iter().map(|compound| match rtcp::packets(compound).next() {
        Some(Ok(Packet::SenderReport(report))) => report.info,
        _ => panic!("a sender report"),
    });
    let reports: Vec<_> = reports.collect();
    let seconds = (reports[1].ntp - reports[0].ntp) as f64 / 2_f64.powi(32);
    let units = reports[1].rtp_timestamp.wrapping_sub(reports[0].rtp_timestamp);
    assert!((seconds - f64::from(units) / 90_000.0).abs() < 0.001, "{seconds} s are {units} units");
}

#[test]
fn loss_and_round_trip_are_read_from_a_viewers_report() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    let report = publisher.client.rtcp(|writer| {
        let info = SenderInfo { ntp: 77 << 32, rtp_timestamp: 0, packet_count: 1, octet_count: 1 };
        writer.sender_report(PUBLISHER_VIDEO_SSRC, &info, &[]).unwrap();
    });
    rig.receive(&publisher.client, report);
    for sequence in 1..20 {
        let packet = publisher.video(&Sent::frame(sequence, sequence == 1));
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    while viewer.client.rtcp.is_empty() {
        rig.wait(Duration::from_millis(10), &mut [&mut publisher], &mut [&mut viewer]);
    }
    let told = packets(&mut viewer.client);
    let Some(Ok(Packet::SenderReport(sent))) = rtcp::packets(&told[0]).next() else {
        panic!("a sender report")
    };
    let (ssrc, last_sender_report) = (viewer.ssrc, sent.info.middle_ntp());
    // 80 ms of way and 500 ms at the viewer.
    rig.wait(Duration::from_millis(580), &mut [&mut publisher], &mut []);
    let report = viewer.client.rtcp(|writer| {
        let delay_since_last_sender_report = 65_536 / 2;
        let block = ReportBlock {
            ssrc,
            fraction_lost: 64,
            last_sender_report,
            delay_since_last_sender_report,
            ..ReportBlock::default()
        };
        writer.receiver_report(1, &[block]).unwrap();
    });
    rig.receive(&viewer.client, report);
    let first = viewer.client.packets()[0].0.sequence;
    let ask = |rig: &mut Rig, viewer: &mut Viewer| {
        let nack = viewer.nack(&[first]);
        rig.receive(&viewer.client, nack);
        rig.flush(&mut [], &mut [viewer]);
        viewer.client.packets().len()
    };
    // The round trip rules how soon a packet is sent again: three quarters of 80 ms.
    assert_eq!(ask(&mut rig, &mut viewer), 1);
    rig.wait(Duration::from_millis(50), &mut [], &mut []);
    assert_eq!(ask(&mut rig, &mut viewer), 0);
    rig.wait(Duration::from_millis(25), &mut [], &mut []);
    assert_eq!(ask(&mut rig, &mut viewer), 1);
}

#[test]
fn transport_feedback_of_viewers_is_counted() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut viewer = rig.viewer(1, &setup);
    let mut recorder = crate::media::twcc::ArrivalRecorder::new(rig.now);
    [1, 2, 5].into_iter().for_each(|sequence| recorder.record(sequence, rig.now));
    let feedback = viewer.client.rtcp(|writer| {
        recorder.write_feedback(writer, 1, 2).unwrap();
    });
    rig.receive(&viewer.client, feedback);
    let counters = rig.plane.counters();
    assert_eq!((counters.feedback_received.twcc, counters.viewers_lost_packets), (1, 2));
}

/// A report on `viewer`'s pictures.
fn report_loss(rig: &mut Rig, viewer: &mut Viewer, cumulative_lost: i32) {
    let block =
        ReportBlock { ssrc: viewer.ssrc, fraction_lost: 64, cumulative_lost, ..ReportBlock::default() };
    let report = viewer.client.rtcp(|writer| writer.receiver_report(1, &[block]).unwrap());
    rig.receive(&viewer.client, report);
}

#[test]
fn what_viewers_lose_is_counted_by_their_reports_until_they_send_feedback() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    let mut send = |rig: &mut Rig, viewer: &mut Viewer, sequences: std::ops::Range<u16>| {
        for sequence in sequences {
            let packet = publisher.video(&Sent::frame(sequence, sequence == 1));
            rig.publish(&mut publisher, &packet, &mut [viewer]);
        }
    };
    send(&mut rig, &mut viewer, 1..11);
    let lost = |rig: &Rig| rig.plane.counters().viewers_lost_packets;
    // A duplicate makes the number smaller (RFC 3550 section 6.4.1), and finds nothing again.
    for (told, counted) in [(3, 3), (3, 3), (2, 3)] {
        report_loss(&mut rig, &mut viewer, told);
        assert_eq!(lost(&rig), counted);
    }
    send(&mut rig, &mut viewer, 11..16);
    report_loss(&mut rig, &mut viewer, 8_000_000);
    assert_eq!(lost(&rig), 8, "no more than it was sent since");
    let mut recorder = crate::media::twcc::ArrivalRecorder::new(rig.now);
    [1, 2, 5].into_iter().for_each(|sequence| recorder.record(sequence, rig.now));
    let feedback = viewer.client.rtcp(|writer| {
        recorder.write_feedback(writer, 1, 2).unwrap();
    });
    rig.receive(&viewer.client, feedback);
    send(&mut rig, &mut viewer, 16..26);
    report_loss(&mut rig, &mut viewer, 8_000_005);
    assert_eq!(lost(&rig), 10, "what feedback says is not counted twice");
}

#[test]
fn loss_is_shown_once_for_each_report() {
    use crate::media::plane::quality::Quality;
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    let mut since = rig.now;
    let mut shown = |rig: &mut Rig| {
        let mut shown = Vec::new();
        rig.plane.sample_quality(since..rig.now, |quality| match quality {
            Quality::SentLoss(ratio) => shown.push(("sent", ratio)),
            Quality::ReceivedLoss(ratio) => shown.push(("received", ratio)),
            _ => {}
        });
        since = rig.now;
        shown
    };
    for sequence in [1, 2, 3, 5, 6, 7, 8, 9] {
        let packet = publisher.video(&Sent::frame(sequence, sequence == 1));
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    assert_eq!(shown(&mut rig), [], "before the first report");
    report_loss(&mut rig, &mut viewer, 1);
    assert_eq!(shown(&mut rig), [], "this millisecond is the next sample's");
    rig.now += Duration::from_millis(1);
    assert_eq!(shown(&mut rig), [("sent", 0.25)]);
    assert_eq!(shown(&mut rig), [], "the same one is not shown again");
    rig.wait(Duration::from_secs(2), &mut [&mut publisher], &mut [&mut viewer]);
    let received = shown(&mut rig);
    assert_eq!(received, [("received", 28.0 / 256.0)], "and our own report of nine, one of them lost");
    assert_eq!(rig.plane.counters().rtp_missed_packets, 1);
}

#[test]
fn only_some_of_the_feedbacks_in_one_datagram_are_read() {
    let mut rig = Rig::new();
    let mut viewer = rig.viewer(1, &Setup::default());
    let feedback = viewer.client.rtcp(|writer| {
        for _ in 0..20 {
            let mut recorder = crate::media::twcc::ArrivalRecorder::new(rig.now);
            [1, 2, 5].into_iter().for_each(|sequence| recorder.record(sequence, rig.now));
            recorder.write_feedback(writer, 1, 2).unwrap();
        }
    });
    rig.receive(&viewer.client, feedback);
    let counters = rig.plane.counters();
    assert_eq!((counters.feedback_received.twcc, counters.viewers_lost_packets), (20, 16));
}

#[test]
fn idle_viewers_cost_no_more_than_their_reports() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    for index in 1..=300 {
        rig.viewer(index, &setup);
    }
    let mut wakes = 0;
    let end = rig.now + Duration::from_secs(1);
    while let Some(at) = rig.plane.poll_timeout().filter(|at| *at < end) {
        rig.plane.handle_timeout(at);
        wakes += 1;
    }
    assert!(wakes <= 100, "{wakes} wakes a second");
}

#[test]
fn what_a_publisher_says_is_counted_by_type_though_only_its_clock_matters() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let info = SenderInfo { ntp: 1 << 32, rtp_timestamp: 0, packet_count: 1, octet_count: 1 };
    let said = publisher.client.rtcp(|writer| {
        writer.sender_report(PUBLISHER_VIDEO_SSRC, &info, &[]).unwrap();
        writer.picture_loss(PUBLISHER_VIDEO_SSRC, 1).unwrap();
        writer.nack(PUBLISHER_VIDEO_SSRC, 1, &[7]).unwrap();
    });
    rig.receive(&publisher.client, said);
    let counted = rig.plane.counters().feedback_received;
    assert_eq!((counted.rr, counted.sr, counted.pli, counted.nack), (1, 1, 1, 1));
    assert_eq!((counted.fir, counted.twcc, counted.remb), (0, 0, 0));
}

#[test]
fn reports_are_counted_and_empty_ones_are_not() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    for sequence in 1..=300_u16 {
        let packet = publisher.video(&Sent::frame(sequence, sequence == 1));
        rig.publish(&mut publisher, &packet, &mut []);
        rig.wait(Duration::from_millis(10), &mut [&mut publisher], &mut []);
    }
    let told = packets(&mut publisher.client);
    let reports = count(
        &told,
        |packet| matches!(packet, Packet::ReceiverReport(report) if report.blocks().next().is_some()),
    );
    let counted = rig.plane.counters().feedback_sent;
    assert!((2..=4).contains(&reports) && counted.twcc > 20, "{reports} reports, {counted:?}");
    assert_eq!(counted.rr, reports as u64);
}
