//! What a seed stands for: who comes when, over what kind of network.

use std::time::Duration;

use aforo_node::media::codec::CodecKind;
use aforo_node::media::negotiated::DtlsRole;
use aforo_node::media::selection::LayerLimit;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use crate::dice::Dice;
use crate::footage::Format;
use crate::network::Weather;
use crate::publisher::{Begins, Manner, Mood};
use crate::redundancy::Habit;
use crate::room::Claim;

/// Something that happens to the broadcast.
#[derive(Debug, Clone)]
pub enum Act {
    /// A viewer joins; viewers are numbered from 1 in the order in which they come.
    Join(Box<ViewerPlan>),
    /// A member leaves.
    Leave(usize),
    /// A member goes on from another address.
    Move(usize),
    /// A NAT gives a member another address, and the member knows nothing of it.
    Rebind(usize),
    /// The publisher leaves and comes back after this time, with everything new.
    Republish(Duration),
    /// Somebody comes to publish, and asks again each second until it may.
    Come(Rival),
    /// The publisher sends this from now on.
    Mood(Mood),
    /// Nothing comes through a member's links for so long: to the node, and from it.
    Cut(usize, [bool; 2], Duration),
    /// A member restarts ICE. Member 0 is the publisher.
    RestartIce(usize),
    /// A viewer's link to it, or a publisher's from it, carries so many bits per second from now on.
    Throttle(usize, u64),
    /// A viewer asks for nothing better than this encoding, and these spatial and temporal layers; or for the best.
    Wish(usize, Option<LayerLimit>),
    /// A member is cut off: no datagram reaches or leaves it any more.
    Vanish(usize),
    /// A member that has keys seals nonsense with them.
    Mischief(usize),
    /// So many bytes of nonsense reach the node.
    Garbage(u64),
}

/// One who comes to publish what another does, or did.
#[derive(Debug, Clone, Copy)]
pub struct Rival {
    pub claim: Claim,
    pub begins: Begins,
    pub hears: bool,
    pub mood: Mood,
}

/// One viewer.
#[derive(Debug, Clone)]
pub struct ViewerPlan {
    pub shard: u8,
    pub up: Weather,
    pub down: Weather,
    pub role: DtlsRole,
    pub profile: SrtpProtectionProfile,
    pub rtx: bool,
    pub transport_cc: bool,
    /// Whether it takes redundant sound, asks for sound again, and gets that by RTX.
    pub red: bool,
    pub sound_nack: bool,
    pub sound_rtx: bool,
    /// Whether it takes dependency descriptors.
    pub descriptor: bool,
    /// Audio and video.
    pub payload_types: [u8; 2],
}

/// What is published.
#[derive(Debug, Clone, Copy)]
pub struct Show {
    pub manner: Manner,
    /// More than one is simulcast.
    pub encodings: u8,
    /// Whether RIDs stand in the offer best first.
    pub best_first: bool,
    pub rtx: bool,
    /// Whether the publisher's SSRCs stand in its offer.
    pub announced: bool,
}

impl Show {
    /// One of many: a plain video, simulcast, or a scalable one.
    fn any(dice: &mut Dice) -> Self {
        let kind = dice.between(0, 9);
        let codecs: &[CodecKind] = match kind {
            0..=2 => &[CodecKind::H264, CodecKind::Vp8, CodecKind::Av1, CodecKind::H265],
            3..=5 => &[CodecKind::H264, CodecKind::Vp8],
            6..=7 => &[CodecKind::Vp9, CodecKind::Av1],
            _ => &[CodecKind::H264, CodecKind::Vp8, CodecKind::Vp9, CodecKind::Av1, CodecKind::H265],
        };
        let codec = dice.pick(codecs);
        let (spatial_layers, temporal_layers, encodings) = match kind {
            0..=2 => (1, 1, 1),
            3..=5 => (1, dice.between(1, 2) as u8, dice.between(2, 3) as u8),
            6..=7 => (dice.between(2, 3) as u8, dice.between(1, 3) as u8, 1),
            _ => (1, dice.between(2, 3) as u8, 1),
        };
        // Those whose payloads do not say it need a descriptor to be scalable.
        let says_nothing = matches!(codec, CodecKind::H264 | CodecKind::Av1 | CodecKind::H265);
        let descriptor = (kind > 5 && says_nothing) || dice.chance(0.4);
        let format = Format {
            codec,
            spatial_layers,
            temporal_layers,
            layers_meet_at_keyframes: dice.chance(0.5),
            descriptor,
        };
        let mut kind = Dice::new(dice.clone().next(), 5);
        Self {
            manner: Manner {
                format,
                shared_clock: dice.chance(0.7),
                keyframes_together: dice.chance(0.3),
                always_names_itself: dice.chance(0.5),
                sound: Habit::any(&mut Dice::new(dice.clone().next(), 4)),
                begins: Begins::Anew,
                hears: !kind.chance(0.15),
                paces: !kind.chance(0.15),
                mood: Mood::Plays,
            },
            encodings,
            best_first: dice.chance(0.5),
            rtx: dice.chance(0.7),
            announced: dice.chance(0.5),
        }
    }

    /// Whether viewers can get less than all of it.
    pub fn has_choice(&self) -> bool {
        self.encodings > 1 || self.manner.format.spatial_layers > 1
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    pub shards: u8,
    pub gather: Duration,
    pub duration: Duration,
    pub publisher_up: Weather,
    pub publisher_down: Weather,
    pub publisher_role: DtlsRole,
    pub show: Show,
    pub profile: SrtpProtectionProfile,
    pub acts: Vec<(Duration, Act)>,
}

const PROFILES: [SrtpProtectionProfile; 3] = [
    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
];
const ROLES: [DtlsRole; 3] = [DtlsRole::Client, DtlsRole::Client, DtlsRole::Server];

impl Scenario {
    /// The run of `seed`. Every fourth has no loss, so that nothing may be missing.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 1);
        let clear = seed.is_multiple_of(4);
        let weather = |dice: &mut Dice| if clear { Weather::clear(dice) } else { Weather::any(dice) };
        let shards = dice.between(1, 2) as u8;
        let mut scenario = Self {
            seed,
            shards,
            gather: dice.pick(&[Duration::ZERO, Duration::from_millis(1), Duration::from_millis(5)]),
            duration: Duration::from_secs(9),
            publisher_up: weather(&mut dice),
            publisher_down: weather(&mut dice),
            publisher_role: dice.pick(&ROLES),
            show: Show::any(&mut dice),
            profile: dice.pick(&PROFILES),
            acts: Vec::new(),
        };
        let mut sound = Dice::new(seed, 3);
        let viewers = dice.between(1, 4) as usize;
        for index in 1..=viewers {
            let plan = ViewerPlan {
                shard: dice.between(0, u64::from(shards) - 1) as u8,
                up: weather(&mut dice),
                down: weather(&mut dice),
                role: dice.pick(&ROLES),
                profile: dice.pick(&PROFILES),
                rtx: dice.chance(0.8),
                transport_cc: dice.chance(0.8),
                red: sound.chance(0.6),
                sound_nack: sound.chance(0.6),
                sound_rtx: sound.chance(0.2),
                descriptor: dice.chance(0.8),
                payload_types: dice.pick(&[[111, 96], [109, 120], [96, 102]]),
            };
            scenario.acts.push((dice.millis(300, 2_000), Act::Join(Box::new(plan))));
            match dice.between(0, 6) {
                2 => scenario.acts.push((dice.millis(5_000, 7_000), Act::RestartIce(index))),
                0 => scenario.acts.push((dice.millis(5_000, 6_500), Act::Move(index))),
                1 if index == viewers => scenario.acts.push((dice.millis(6_500, 8_000), Act::Leave(index))),
                _ => {}
            }
        }
        scenario.narrow(viewers, &mut dice);
        if dice.chance(0.1) {
            scenario.acts.push((dice.millis(3_000, 6_000), Act::Move(0)));
        }
        let plot = scenario.plot(viewers);
        if dice.chance(0.25) && !plot {
            scenario.acts.push((dice.millis(3_500, 5_000), Act::Republish(dice.millis(100, 2_000))));
        }
        for _ in 0..dice.pick(&[0, 0, 100]) {
            let member = dice.between(0, viewers as u64) as usize;
            scenario.acts.push((dice.millis(2_500, 8_500), Act::Mischief(member)));
        }
        for _ in 0..dice.between(0, 30) {
            let len = dice.between(0, 200);
            scenario.acts.push((dice.millis(0, 8_500), Act::Garbage(len)));
        }
        scenario.surprises(viewers);
        scenario.steps(viewers);
        scenario
    }

    /// Lets links become narrower and wider, and viewers ask for layers.
    fn narrow(&mut self, viewers: usize, dice: &mut Dice) {
        for _ in 0..dice.pick(&[0, 0, 1, 3]) {
            let member = dice.between(0, viewers as u64) as usize;
            let act = Act::Throttle(member, dice.between(4, 50) * 1_000_000);
            self.acts.push((dice.millis(1_000, 8_000), act));
        }
        if !self.show.has_choice() {
            return;
        }
        if dice.chance(0.5) {
            // One viewer has to go down; in some runs there is time to see it return to the top.
            let viewer = dice.between(1, viewers as u64) as usize;
            let returns = dice.chance(0.3);
            self.duration = Duration::from_secs(if returns { 22 } else { 12 });
            self.acts
                .push((dice.millis(4_000, 4_500), Act::Throttle(viewer, dice.between(300, 1_000) * 1_000)));
            self.acts.push((dice.millis(10_000, 10_500), Act::Throttle(viewer, 50_000_000)));
        }
        for viewer in 1..=viewers {
            if dice.chance(0.2) {
                let limit = LayerLimit {
                    layer: dice.chance(0.5).then(|| dice.between(0, 1) as u8),
                    spatial: dice.chance(0.5).then(|| dice.between(0, 1) as u8),
                    temporal: dice.chance(0.5).then(|| dice.between(0, 1) as u8),
                    ..LayerLimit::default()
                };
                self.acts.push((dice.millis(2_500, 5_000), Act::Wish(viewer, Some(limit))));
                self.acts.push((dice.millis(5_000, 7_500), Act::Wish(viewer, None)));
            }
        }
    }

    pub fn viewers(&self) -> usize {
        self.acts.iter().filter(|(_, act)| matches!(act, Act::Join(_))).count()
    }
}
