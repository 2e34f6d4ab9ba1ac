use std::collections::VecDeque;

use proptest::prelude::*;

use super::shards::exchange;
use super::*;
use crate::media::gather::WINDOW_MAX;

/// Viewers of the crowded plane: enough that little need be published for a full window.
const CROWD: u32 = 60;

/// Sizes of the datagrams of each run, and to whom.
#[derive(Default)]
struct Runs(Vec<(Path, Vec<usize>)>);

impl Transmit for Runs {
    fn transmit(&mut self, batch: &SendBatch) {
        self.0.extend(
            batch.runs().iter().map(|run| (run.path, batch.datagrams(run).map(<[u8]>::len).collect())),
        );
    }
}

/// A plane whose packets are gathered for the whole window: it sent more than 20,000 a second.
fn crowded() -> (Rig, Publisher, u16) {
    let setup = Setup { audio: true, ..Setup::default() };
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    for index in 1..=CROWD {
        rig.viewer(index, &setup);
    }
    assert_eq!(rig.plane.gather_window(rig.now), Duration::ZERO);
    let mut sequence = 0;
    while rig.plane.gather_window(rig.now) < WINDOW_MAX {
        let packet = publisher.video(&Sent { size: 20, ..Sent::frame(sequence, sequence == 0) });
        rig.publish(&mut publisher, &packet, &mut []);
        rig.wait(Duration::from_millis(2), &mut [], &mut []);
        sequence += 1;
        assert!(sequence < 2_000, "the plane never got busy");
    }
    rig.wait(WINDOW_MAX, &mut [], &mut []);
    publisher.marker = false;
    (rig, publisher, sequence)
}

/// Hands the plane a packet, and sends what is due.
fn arrive(rig: &mut Rig, publisher: &mut Publisher, packet: &[u8]) -> Vec<(Path, Vec<usize>)> {
    let sealed = publisher.client.seal(packet);
    rig.receive(&publisher.client, sealed);
    due(rig)
}

fn due(rig: &mut Rig) -> Vec<(Path, Vec<usize>)> {
    let mut runs = Runs::default();
    rig.plane.flush(rig.now, &mut rig.batch, &mut runs);
    runs.0.retain(|(_, sizes)| sizes[0] > 100 || sizes.len() > 1);
    runs.0
}

fn to_all_viewers(runs: &[(Path, Vec<usize>)]) -> bool {
    let mut paths: Vec<Path> = runs.iter().map(|(path, _)| *path).collect();
    paths.sort_by_key(|path| format!("{path:?}"));
    paths.dedup();
    paths.len() == CROWD as usize && runs.len() == paths.len()
}

#[test]
fn a_window_opens_with_the_first_packet_and_what_comes_meanwhile_leaves_in_one_run() {
    let (mut rig, mut publisher, sequence) = crowded();
    for step in 0..3 {
        let packet = publisher.video(&Sent::frame(sequence + step, false));
        assert!(arrive(&mut rig, &mut publisher, &packet).is_empty());
        let sound = publisher.audio(sequence + step, &[0x78; 100]);
        if step == 1 {
            assert!(arrive(&mut rig, &mut publisher, &sound).is_empty());
        }
        rig.now += Duration::from_millis(1);
    }
    let opened = rig.now - Duration::from_millis(3);
    assert_eq!(rig.plane.next_departure(), Some(opened + WINDOW_MAX));
    rig.now = opened + WINDOW_MAX - Duration::from_micros(1);
    assert!(due(&mut rig).is_empty());
    rig.now += Duration::from_micros(1);
    let runs = due(&mut rig);
    assert!(to_all_viewers(&runs), "one run each");
    for (_, sizes) in runs {
        assert_eq!(sizes.len(), 4, "three of the picture and one of sound");
        assert!(sizes[..3].iter().all(|size| *size == sizes[0]) && sizes[3] < sizes[0], "{sizes:?}");
    }
    assert_eq!(rig.plane.next_departure(), None);
}

#[test]
fn sound_that_is_due_leaves_the_picture_its_window() {
    let (mut rig, mut publisher, sequence) = crowded();
    let sound = publisher.audio(sequence, &[0x78; 100]);
    assert!(arrive(&mut rig, &mut publisher, &sound).is_empty());
    rig.now += Duration::from_millis(3);
    let packet = publisher.video(&Sent::frame(sequence, false));
    assert!(arrive(&mut rig, &mut publisher, &packet).is_empty());
    rig.now += Duration::from_millis(2);
    let runs = due(&mut rig);
    assert!(to_all_viewers(&runs) && runs.iter().all(|(_, sizes)| sizes.len() == 1 && sizes[0] < 200));
    rig.now += Duration::from_millis(3);
    let runs = due(&mut rig);
    assert!(to_all_viewers(&runs) && runs.iter().all(|(_, sizes)| sizes.len() == 1 && sizes[0] > 900));
}

/// A room of ten beside the crowd; its publisher, and a packet that opens its window.
fn small_room(rig: &mut Rig) -> (Publisher, Vec<u8>) {
    const ROOM: TrackId = TrackId(9);
    let setup = Setup::default();
    let mut publisher = Publisher::new(CROWD + 1, &setup);
    let mut spec = publisher.spec(&setup);
    spec.tracks[0].id = ROOM;
    rig.plane.add_ingest(rig.now, spec).unwrap();
    for index in 0..10 {
        let mut spec = Viewer::new(CROWD + 2 + index, &setup).spec(&setup);
        spec.tracks[0].id = ROOM;
        rig.plane.add_egress(rig.now, spec).unwrap();
    }
    publisher.marker = false;
    let packet = publisher.video(&Sent::frame(0, true));
    (publisher, packet)
}

#[test]
fn a_small_room_leaves_with_a_crowd() {
    let (mut rig, mut crowd, sequence) = crowded();
    let (mut room, of_room) = small_room(&mut rig);
    let of_crowd = crowd.video(&Sent::frame(sequence, false));
    assert!(arrive(&mut rig, &mut crowd, &of_crowd).is_empty());
    rig.now += Duration::from_millis(3);
    assert!(arrive(&mut rig, &mut room, &of_room).is_empty());
    rig.now += Duration::from_millis(2);
    assert_eq!(due(&mut rig).len(), CROWD as usize + 10);
    assert_eq!(rig.plane.next_departure(), None);
}

#[test]
fn a_crowd_waits_for_its_own_time_when_a_small_room_leaves() {
    let (mut rig, mut crowd, sequence) = crowded();
    let (mut room, of_room) = small_room(&mut rig);
    assert!(arrive(&mut rig, &mut room, &of_room).is_empty());
    rig.now += Duration::from_millis(3);
    let of_crowd = crowd.video(&Sent::frame(sequence, false));
    assert!(arrive(&mut rig, &mut crowd, &of_crowd).is_empty());
    rig.now += Duration::from_millis(2);
    assert_eq!(due(&mut rig).len(), 10);
    rig.now += Duration::from_millis(3);
    assert!(to_all_viewers(&due(&mut rig)));
}

#[test]
fn a_track_that_ends_within_its_window_leaves_nothing_behind() {
    let (mut rig, mut publisher, sequence) = crowded();
    let packet = publisher.video(&Sent::frame(sequence, false));
    assert!(arrive(&mut rig, &mut publisher, &packet).is_empty());
    rig.plane.remove_peer(rig.now, publisher.client.peer);
    for index in 1..=CROWD {
        rig.plane.remove_peer(rig.now, PeerKey { index, generation: 1 });
    }
    assert_eq!(rig.plane.next_departure(), None);
    rig.now += WINDOW_MAX;
    assert!(due(&mut rig).is_empty());
}

#[test]
fn what_another_shard_gathered_leaves_at_once_sound_and_picture_together() {
    let (mut near, mut publisher, sequence) = crowded();
    let setup = Setup { audio: true, ..Setup::default() };
    let mut far = Rig::on_shard(1);
    far.now = near.now;
    far.viewer(1, &setup);
    exchange(&mut near, &mut far);
    let packet = publisher.video(&Sent::frame(sequence, true));
    assert!(arrive(&mut near, &mut publisher, &packet).is_empty());
    let sound = publisher.audio(sequence, &[0x78; 100]);
    assert!(arrive(&mut near, &mut publisher, &sound).is_empty());
    near.now += WINDOW_MAX;
    due(&mut near);
    exchange(&mut near, &mut far);
    let runs = due(&mut far);
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].1.len(), 2);
}

#[test]
fn a_whole_frame_waits_for_nothing_and_takes_its_sound_along() {
    let (mut rig, mut publisher, sequence) = crowded();
    let packet = publisher.video(&Sent::frame(sequence, false));
    assert!(arrive(&mut rig, &mut publisher, &packet).is_empty());
    let sound = publisher.audio(sequence, &[0x78; 100]);
    assert!(arrive(&mut rig, &mut publisher, &sound).is_empty());
    rig.now += Duration::from_millis(1);
    publisher.marker = true;
    let packet = publisher.video(&Sent::frame(sequence + 1, false));
    let runs = arrive(&mut rig, &mut publisher, &packet);
    assert!(to_all_viewers(&runs) && runs.iter().all(|(_, sizes)| sizes.len() == 3));
}

#[test]
fn what_flowed_is_forgotten_though_nothing_is_sent_any_more() {
    let (rig, _, _) = crowded();
    assert!(rig.plane.fan_out_per_second(rig.now) > 5_000.0);
    let later = rig.now + Duration::from_secs(3);
    assert!(rig.plane.fan_out_per_second(later) < f64::EPSILON);
    assert_eq!(rig.plane.gather_window(later), Duration::ZERO);
}

/// Arrivals of packets that have not left: of the picture, which has 900 bytes, and of the sound, which has 300.
#[derive(Default)]
struct Waiting {
    picture: VecDeque<Instant>,
    sound: VecDeque<Instant>,
}

impl Waiting {
    /// These runs left at `now`. Whether everybody got the same, in order, and nothing was late.
    fn left(&mut self, now: Instant, runs: &[(Path, Vec<usize>)]) -> bool {
        let sizes = || runs.iter().flat_map(|(_, sizes)| sizes);
        let pictures = sizes().filter(|size| **size > 900).count();
        let sounds = sizes().filter(|size| (300..=900).contains(*size)).count();
        let crowd = CROWD as usize;
        let in_time = |waiting: &mut VecDeque<Instant>, left: usize| {
            left.is_multiple_of(crowd)
                && left / crowd <= waiting.len()
                && waiting.drain(..left / crowd).all(|arrival| now <= arrival + WINDOW_MAX)
        };
        in_time(&mut self.picture, pictures) && in_time(&mut self.sound, sounds)
    }
}

/// Sends what is due at each moment at which the plane wants to, up to `until`; without one, to the last.
fn pass(rig: &mut Rig, waiting: &mut Waiting, until: Option<Instant>) -> bool {
    while let Some(at) = rig.plane.next_departure().filter(|at| until.is_none_or(|until| *at <= until)) {
        rig.now = rig.now.max(at);
        let runs = due(rig);
        if !waiting.left(rig.now, &runs) {
            return false;
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// However picture and sound come, and wherever frames end: each packet leaves once, in order, within a window of its
    /// arrival, and nothing stays behind. How late the loop around the plane may be is `shard::pace`'s property.
    #[test]
    fn no_packet_leaves_later_than_a_window_after_its_arrival(
        arrivals in proptest::collection::vec((0u64..8_000, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let (mut rig, mut publisher, first) = crowded();
        let (mut pictures, mut sounds) = (first, 0);
        let mut waiting = Waiting::default();
        for (gap_us, is_sound, ends_frame) in arrivals {
            let arrival = rig.now + Duration::from_micros(gap_us);
            prop_assert!(pass(&mut rig, &mut waiting, Some(arrival)));
            rig.now = arrival;
            publisher.marker = ends_frame;
            let packet = if is_sound {
                waiting.sound.push_back(arrival);
                sounds += 1;
                publisher.audio(sounds, &[0x78; 300])
            } else {
                waiting.picture.push_back(arrival);
                pictures += 1;
                publisher.video(&Sent::frame(pictures, false))
            };
            let runs = arrive(&mut rig, &mut publisher, &packet);
            prop_assert!(waiting.left(arrival, &runs));
        }
        prop_assert!(pass(&mut rig, &mut waiting, None));
        prop_assert!(waiting.picture.is_empty() && waiting.sound.is_empty());
    }
}
