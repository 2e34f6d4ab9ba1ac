//! What viewers can choose from as layers come and go, and publishers with them.

use super::*;
use crate::media::codec::Point;
use crate::media::selection::Rung;

fn setup() -> Setup {
    Setup { rids: vec!["a".into(), "b".into()], ..Setup::default() }
}

/// Pictures of `layer`, 30 a second, of two temporal layers: in each second one begins with a keyframe.
struct Encoder {
    layer: usize,
    size: usize,
}

impl Encoder {
    fn show(&self, rig: &mut Rig, publisher: &mut Publisher, viewer: &mut Viewer, step: u16) {
        let (keyframe, temporal) = (step.is_multiple_of(30), (step % 2) as u8);
        let id = (step | 0x8000).to_be_bytes();
        let mut payload = vec![
            0x90,
            0xE0,
            id[0],
            id[1],
            (step / 2) as u8,
            temporal << 6 | temporal << 5,
            u8::from(!keyframe),
        ];
        payload.extend([0, 0, 0x9D, 0x01, 0x2A, 0, 5, 0xD0, 2]);
        payload.resize(self.size, step as u8);
        let sequence = step.wrapping_add(500 * self.layer as u16);
        let timestamp = u32::from(step) * 3_000;
        let sent = Sent { sequence, timestamp, keyframe, layer: self.layer, size: self.size };
        let packet = publisher.video_payload(&sent, &payload);
        rig.publish(publisher, &packet, &mut [viewer]);
    }
}

fn show(
    rig: &mut Rig,
    publisher: &mut Publisher,
    viewer: &mut Viewer,
    steps: std::ops::Range<u16>,
    encoders: &[Encoder],
) {
    for step in steps {
        encoders.iter().for_each(|encoder| encoder.show(rig, publisher, viewer, step));
        rig.wait(Duration::from_millis(33), &mut [&mut *publisher], &mut [&mut *viewer]);
    }
}

/// The rungs that flow: of which layer, and whether they are all of it.
fn active(rig: &Rig) -> Vec<(u8, bool)> {
    let (_, track) = rig.plane.tracks.iter().find(|(_, track)| track.is_video()).unwrap();
    let rungs = track.ladder.rungs().iter().filter(|rung| rung.active);
    rungs.map(|Rung { layer, point, .. }| (*layer, *point == Point::WHOLE)).collect()
}

const SMALL: Encoder = Encoder { layer: 0, size: 200 };
const LARGE: Encoder = Encoder { layer: 1, size: 1_000 };

#[test]
fn parts_of_a_layer_that_was_alone_end_with_the_next_layer() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup());
    let mut viewer = rig.viewer(1, &setup());
    show(&mut rig, &mut publisher, &mut viewer, 0..60, &[SMALL]);
    assert_eq!(active(&rig), [(0, false), (0, true)], "half of the pictures, and all");
    rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(40_000));
    show(&mut rig, &mut publisher, &mut viewer, 60..90, &[SMALL]);
    viewer.client.packets();
    show(&mut rig, &mut publisher, &mut viewer, 90..120, &[SMALL, LARGE]);
    assert_eq!(active(&rig), [(0, true), (1, true)]);
    assert_eq!(
        viewer.client.packets().len(),
        29,
        "the small layer; the change waits for a picture that allows it"
    );
    // The small layer is turned off: what is left is the large one, and nobody waits for what does not come.
    show(&mut rig, &mut publisher, &mut viewer, 120..180, &[LARGE]);
    assert_eq!(active(&rig), [(1, true)]);
    let packets = viewer.client.packets();
    assert!(packets.iter().any(|(header, _)| header.payload().len() == 1_000), "{}", packets.len());
}

#[test]
fn a_publisher_that_takes_over_is_not_measured_by_the_one_before() {
    let single = Setup::default();
    let mut rig = Rig::new();
    let mut first = rig.publisher(0, &single);
    let mut viewer = rig.viewer(1, &single);
    show(&mut rig, &mut first, &mut viewer, 0..60, &[SMALL]);
    assert_eq!(active(&rig), [(0, false), (0, true)]);
    // Its best layer is called first.
    let mut second = rig.publisher(5, &setup());
    assert_eq!(active(&rig), [(0, false), (0, true)], "nothing came of it yet");
    rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(70_000));
    let (best, lowest) = (Encoder { layer: 0, size: 1_000 }, Encoder { layer: 1, size: 200 });
    show(&mut rig, &mut second, &mut viewer, 60..120, &[best, lowest]);
    assert_eq!(active(&rig), [(1, true), (0, true)]);
    viewer.client.packets();
    show(
        &mut rig,
        &mut second,
        &mut viewer,
        120..150,
        &[Encoder { layer: 0, size: 1_000 }, Encoder { layer: 1, size: 200 }],
    );
    let packets = viewer.client.packets();
    assert!(packets.len() > 25 && packets.iter().all(|(header, _)| header.payload().len() == 200));
}

#[test]
fn a_scalable_stream_after_simulcast_is_offered_in_parts() {
    let mut rig = Rig::new();
    let mut first = rig.publisher(0, &setup());
    let mut viewer = rig.viewer(1, &setup());
    show(&mut rig, &mut first, &mut viewer, 0..60, &[SMALL, LARGE]);
    assert_eq!(active(&rig), [(0, true), (1, true)]);
    let mut second = rig.publisher(5, &Setup::default());
    show(&mut rig, &mut second, &mut viewer, 60..120, &[Encoder { layer: 0, size: 1_000 }]);
    assert_eq!(active(&rig), [(0, false), (0, true)]);
}
