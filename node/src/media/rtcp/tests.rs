#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;
use rtc_rtcp::goodbye::Goodbye as TheirGoodbye;
use rtc_rtcp::packet::Packet as TheirPacket;
use rtc_rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest as TheirFir};
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication as TheirPli;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::receiver_report::ReceiverReport as TheirReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport as TheirSenderReport;
use rtc_rtcp::source_description::{
    SdesType, SourceDescription as TheirDescription, SourceDescriptionChunk, SourceDescriptionItem,
};
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use std::collections::BTreeSet;

fn block() -> impl Strategy<Value = ReportBlock> {
    (any::<[u32; 5]>(), any::<u8>(), 0..0x7F_FFFF).prop_map(|(words, fraction_lost, cumulative_lost)| {
        ReportBlock {
            ssrc: words[0],
            fraction_lost,
            cumulative_lost,
            highest_sequence: words[1],
            jitter: words[2],
            last_sender_report: words[3],
            delay_since_last_sender_report: words[4],
        }
    })
}

fn theirs(block: &ReportBlock) -> ReceptionReport {
    ReceptionReport {
        ssrc: block.ssrc,
        fraction_lost: block.fraction_lost,
        total_lost: block.cumulative_lost as u32,
        last_sequence_number: block.highest_sequence,
        jitter: block.jitter,
        last_sender_report: block.last_sender_report,
        delay: block.delay_since_last_sender_report,
    }
}

fn read_by_them(bytes: &[u8]) -> Vec<Box<dyn TheirPacket>> {
    rtc_rtcp::packet::unmarshal(&mut &bytes[..]).unwrap()
}

fn cast<T: 'static + Clone>(packet: &dyn TheirPacket) -> T {
    packet.as_any().downcast_ref::<T>().unwrap().clone()
}

proptest! {
    #[test]
    fn reports_and_names_agree_with_another_implementation(
        ssrc: u32, ntp: u64, rtp_timestamp: u32, counts: (u32, u32),
        blocks in proptest::collection::vec(block(), 0..=31), cname in "[a-z0-9]{0,40}",
    ) {
        let info = SenderInfo { ntp, rtp_timestamp, packet_count: counts.0, octet_count: counts.1 };
        let mut buffer = [0xAA; 2048];
        let mut writer = Writer::new(&mut buffer);
        writer.sender_report(ssrc, &info, &blocks).unwrap();
        writer.cname(ssrc, &cname).unwrap();
        writer.receiver_report(ssrc, &blocks).unwrap();
        writer.goodbye(ssrc).unwrap();
        let len = writer.len();
        let bytes = &buffer[..len];

        let expected: Vec<_> = blocks.iter().map(theirs).collect();
        let read = read_by_them(bytes);
        let report: TheirSenderReport = cast(read[0].as_ref());
        prop_assert_eq!((report.ssrc, report.ntp_time, report.rtp_time), (ssrc, ntp, rtp_timestamp));
        prop_assert_eq!((report.packet_count, report.octet_count), counts);
        prop_assert_eq!(&report.reports, &expected);
        let description: TheirDescription = cast(read[1].as_ref());
        prop_assert_eq!(description.chunks[0].source, ssrc);
        prop_assert_eq!(&description.chunks[0].items[0].text[..], cname.as_bytes());
        prop_assert_eq!(cast::<TheirReceiverReport>(read[2].as_ref()).reports, expected);
        prop_assert_eq!(cast::<TheirGoodbye>(read[3].as_ref()).sources, vec![ssrc]);

        let mut ours = packets(bytes).map(Result::unwrap);
        let Some(Packet::SenderReport(report)) = ours.next() else { panic!("no sender report") };
        prop_assert_eq!((report.ssrc, report.info), (ssrc, info));
        prop_assert_eq!(&report.blocks().collect::<Vec<_>>(), &blocks);
        let Some(Packet::SourceDescription(names)) = ours.next() else { panic!("no names") };
        prop_assert_eq!(names.cnames().collect::<Vec<_>>(), vec![(ssrc, cname.as_bytes())]);
        let Some(Packet::ReceiverReport(report)) = ours.next() else { panic!("no receiver report") };
        prop_assert_eq!(&report.blocks().collect::<Vec<_>>(), &blocks);
        let Some(Packet::Goodbye(goodbye)) = ours.next() else { panic!("no goodbye") };
        prop_assert_eq!(goodbye.ssrcs().collect::<Vec<_>>(), vec![ssrc]);
        prop_assert!(ours.next().is_none());
    }

    #[test]
    fn a_nack_names_what_it_was_given(
        sender: u32, media: u32, base: u16, offsets in proptest::collection::btree_set(0u16..300, 1..60),
    ) {
        let sequences: Vec<u16> = offsets.iter().map(|offset| base.wrapping_add(*offset)).collect();
        let mut buffer = [0; 512];
        let mut writer = Writer::new(&mut buffer);
        writer.nack(sender, media, &sequences).unwrap();
        let len = writer.len();
        let theirs: TransportLayerNack = cast(read_by_them(&buffer[..len])[0].as_ref());
        let read: BTreeSet<u16> = theirs.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
        prop_assert_eq!(&read, &sequences.iter().copied().collect());
        let Some(Ok(Packet::Nack(ours))) = packets(&buffer[..len]).next() else { panic!("no nack") };
        prop_assert_eq!((ours.sender_ssrc, ours.media_ssrc), (sender, media));
        prop_assert_eq!(ours.sequences().collect::<Vec<_>>(), sequences);
    }

    #[test]
    fn feedback_of_another_implementation_is_read(
        sender: u32, media: u32, sequences in proptest::collection::btree_set(any::<u16>(), 1..20),
        entries in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..5),
        ssrcs in proptest::collection::vec(any::<u32>(), 0..5), bitrate in 1000u32..100_000_000, cname in "[a-z]{1,9}",
    ) {
        let sequences: Vec<u16> = sequences.into_iter().collect();
        let fir = entries.iter().map(|(ssrc, number)| FirEntry { ssrc: *ssrc, sequence_number: *number });
        let item = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: cname.clone().into() };
        let chunks = ssrcs.iter().map(|ssrc| SourceDescriptionChunk { source: *ssrc, items: vec![item.clone()] });
        let bytes = rtc_rtcp::packet::marshal(&[
            Box::new(TransportLayerNack {
                sender_ssrc: sender,
                media_ssrc: media,
                nacks: nack_pairs_from_sequence_numbers(&sequences),
            }),
            Box::new(TheirPli { sender_ssrc: sender, media_ssrc: media }),
            Box::new(TheirFir { sender_ssrc: sender, media_ssrc: 0, fir: fir.collect() }),
            Box::new(ReceiverEstimatedMaximumBitrate { sender_ssrc: sender, bitrate: bitrate as f32, ssrcs: ssrcs.clone() }),
            Box::new(TheirDescription { chunks: chunks.collect() }),
        ]).unwrap();
        let mut ours = packets(&bytes).map(Result::unwrap);
        let Some(Packet::Nack(nack)) = ours.next() else { panic!("no nack") };
        prop_assert_eq!(nack.sequences().collect::<BTreeSet<_>>(), sequences.into_iter().collect());
        let Some(Packet::PictureLoss(pli)) = ours.next() else { panic!("no pli") };
        prop_assert_eq!(pli, PictureLossIndication { sender_ssrc: sender, media_ssrc: media });
        let Some(Packet::FullIntra(fir)) = ours.next() else { panic!("no fir") };
        prop_assert_eq!(fir.entries().collect::<Vec<_>>(), entries);
        let Some(Packet::ReceiverEstimate(remb)) = ours.next() else { panic!("no remb") };
        prop_assert!((remb.bitrate_bps as f64 / f64::from(bitrate) - 1.0).abs() < 1e-4);
        prop_assert_eq!(&remb.ssrcs().collect::<Vec<_>>(), &ssrcs);
        let Some(Packet::SourceDescription(names)) = ours.next() else { panic!("no names") };
        let expected: Vec<_> = ssrcs.iter().map(|ssrc| (*ssrc, cname.as_bytes())).collect();
        prop_assert_eq!(names.cnames().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        consume(&bytes);
    }

    #[test]
    fn arbitrary_bodies_are_read_or_refused(
        bodies in proptest::collection::vec(
            (200u8..208, 0u8..64, proptest::collection::vec(any::<u8>(), 0..80)), 0..6,
        ),
    ) {
        let mut compound = Vec::new();
        for (packet_type, bits, mut body) in bodies {
            body.resize(body.len().next_multiple_of(4), 0);
            compound.extend([0x80 | bits, packet_type, 0, (body.len() / 4) as u8]);
            compound.extend(body);
        }
        consume(&compound);
    }
}

/// Walks everything that can be walked.
fn consume(bytes: &[u8]) -> usize {
    packets(bytes)
        .flatten()
        .map(|packet| match packet {
            Packet::SenderReport(report) => report.blocks().count(),
            Packet::ReceiverReport(report) => report.blocks().count(),
            Packet::SourceDescription(names) => names.cnames().count(),
            Packet::Goodbye(goodbye) => goodbye.ssrcs().count(),
            Packet::Nack(nack) => nack.sequences().count(),
            Packet::FullIntra(fir) => fir.entries().count(),
            Packet::ReceiverEstimate(remb) => remb.ssrcs().count(),
            Packet::TransportCc(feedback) => feedback.packets().count(),
            Packet::PictureLoss(_) | Packet::Other { .. } => 1,
        })
        .sum()
}

#[test]
fn keyframe_requests_are_read_by_another_implementation() {
    let mut buffer = [0; 64];
    let mut writer = Writer::new(&mut buffer);
    writer.picture_loss(1, 2).unwrap();
    writer.full_intra(1, 2, 9).unwrap();
    let len = writer.len();
    let read = read_by_them(&buffer[..len]);
    assert_eq!(cast::<TheirPli>(read[0].as_ref()), TheirPli { sender_ssrc: 1, media_ssrc: 2 });
    let fir: TheirFir = cast(read[1].as_ref());
    assert_eq!(fir.fir, [FirEntry { ssrc: 2, sequence_number: 9 }]);
}

#[test]
fn losses_below_zero_survive() {
    let block = ReportBlock { cumulative_lost: -3, ..ReportBlock::default() };
    let mut buffer = [0; 64];
    let mut writer = Writer::new(&mut buffer);
    writer.receiver_report(7, &[block]).unwrap();
    let len = writer.len();
    let Some(Ok(Packet::ReceiverReport(report))) = packets(&buffer[..len]).next() else {
        panic!("no report")
    };
    assert_eq!(report.blocks().next().unwrap().cumulative_lost, -3);
}

#[test]
fn what_is_unknown_or_broken_is_stepped_over() {
    let mut bytes = vec![0x8B, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]; // RFC 8888
    bytes.extend([0x80, 204, 0, 2, 0, 0, 0, 1, b'a', b'b', b'c', b'd']); // APP
    bytes.extend([0x81, 201, 0, 1, 0, 0, 0, 1]); // a receiver report that lacks its block
    bytes.extend([0xA0, 206, 0, 1, 0, 0, 0, 9]); // padding longer than the packet
    bytes.extend([0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    bytes.extend([0x81, 206, 0, 3, 0, 0, 0, 1]); // a frame longer than the datagram
    let mut read = packets(&bytes);
    assert!(matches!(read.next(), Some(Ok(Packet::Other { packet_type: 205, format: 11 }))));
    assert!(matches!(read.next(), Some(Ok(Packet::Other { packet_type: 204, format: 0 }))));
    assert_eq!(read.next().unwrap().unwrap_err(), RtcpError::Truncated(201));
    assert_eq!(read.next().unwrap().unwrap_err(), RtcpError::Padding(9));
    assert!(matches!(read.next(), Some(Ok(Packet::PictureLoss(_)))));
    assert_eq!(read.next().unwrap().unwrap_err(), RtcpError::Truncated(206));
    assert!(read.next().is_none());
}

#[test]
fn a_packet_that_does_not_fit_leaves_the_compound_as_it_was() {
    let mut buffer = [0; 20];
    let mut writer = Writer::new(&mut buffer);
    writer.picture_loss(1, 2).unwrap();
    assert_eq!(writer.receiver_report(1, &[ReportBlock::default()]), Err(RtcpError::NoRoom));
    assert_eq!(writer.receiver_report(1, &[ReportBlock::default(); 32]), Err(RtcpError::TooMany));
    assert_eq!(writer.cname(1, &"x".repeat(256)), Err(RtcpError::TooMany));
    writer.nack(1, 2, &[]).unwrap();
    assert_eq!(writer.len(), 12);
    assert_eq!(packets(&buffer[..12]).count(), 1);
}
