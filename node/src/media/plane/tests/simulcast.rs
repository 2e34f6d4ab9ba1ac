use super::*;

fn setup() -> Setup {
    Setup { rids: vec!["a".into(), "b".into()], ..Setup::default() }
}

/// One frame of layer 0 (small) and one of layer 1 (large), 33 ms later than the one before.
fn frame(
    rig: &mut Rig,
    publisher: &mut Publisher,
    viewer: &mut Viewer,
    step: u16,
    keyframe: bool,
    layers: &[usize],
) {
    for layer in layers {
        let size = if *layer == 0 { 200 } else { 1_000 };
        let sequence = step.wrapping_add(500 * *layer as u16);
        let sent = Sent { sequence, timestamp: u32::from(step) * 3_000, keyframe, layer: *layer, size };
        let packet = publisher.video(&sent);
        rig.publish(publisher, &packet, &mut [viewer]);
    }
    rig.wait(Duration::from_millis(33), &mut [publisher], &mut [viewer]);
}

#[test]
fn viewers_get_the_best_layer_that_flows_and_switch_at_keyframes_without_a_seam() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup());
    let mut viewer = rig.viewer(1, &setup());
    for step in 0..40 {
        frame(&mut rig, &mut publisher, &mut viewer, step, step == 0, &[0, 1]);
    }
    let low = viewer.client.packets();
    assert!(low.iter().all(|(header, _)| header.payload().len() == 200), "the first layer seen");
    let report = rig.plane.track_report(rig.now, VIDEO).unwrap();
    assert_eq!(report.layers.iter().map(|layer| layer.selected).collect::<Vec<_>>(), [false, true]);
    assert!(report.layers[1].bitrate_bps > 3 * report.layers[0].bitrate_bps);
    // The better layer was chosen after a second and a keyframe of it asked for; nothing changes before it comes.
    let asked = publisher.client.rtcp.iter().flat_map(|compound| crate::media::rtcp::packets(compound));
    let asked = asked.filter(|packet| {
        matches!(packet, Ok(crate::media::rtcp::Packet::PictureLoss(loss)) if loss.media_ssrc == PUBLISHER_VIDEO_SSRC + 0x100)
    });
    assert!(asked.count() >= 1);
    for step in 40..80 {
        frame(&mut rig, &mut publisher, &mut viewer, step, step == 41, &[0, 1]);
    }
    let high = viewer.client.packets();
    // The small frames up to the one beside the large keyframe, and from then on large ones only.
    assert_eq!(high.iter().filter(|(header, _)| header.payload().len() == 200).count(), 2);
    assert_eq!(high.len(), 41);
    // The better layer ends: back to the other at its next keyframe, once its absence is noticed.
    for step in 80..160 {
        frame(&mut rig, &mut publisher, &mut viewer, step, step % 10 == 0, &[0]);
    }
    let back = viewer.client.packets();
    assert!(back.len() >= 10, "{} packets of the lower layer", back.len());
    assert!(back.iter().all(|(header, _)| header.payload().len() == 200));
    let all: Vec<_> = low.iter().chain(&high).chain(&back).map(|(header, _)| header).collect();
    assert!(all.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
    assert!(all.windows(2).all(|pair| pair[1].timestamp > pair[0].timestamp));
    assert_eq!(viewer.client.refused, 0);
}
