//! What a seed stands for: who comes when, over what kind of network.

use std::time::Duration;

use aforo_node::media::negotiated::DtlsRole;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use crate::dice::Dice;
use crate::network::Weather;

/// Something that happens to the broadcast.
#[derive(Debug, Clone)]
pub enum Act {
    /// A viewer joins; viewers are numbered from 1 in the order in which they come.
    Join(Box<ViewerPlan>),
    /// A member leaves.
    Leave(usize),
    /// A member goes on from another address.
    Move(usize),
    /// The publisher leaves and comes back after this time, with everything new.
    Republish(Duration),
    /// A member restarts ICE. Member 0 is the publisher.
    RestartIce(usize),
    /// A member is cut off: no datagram reaches or leaves it any more.
    Vanish(usize),
    /// A member that has keys seals nonsense with them.
    Mischief(usize),
    /// So many bytes of nonsense reach the node.
    Garbage(u64),
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
    /// Audio and video.
    pub payload_types: [u8; 2],
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
    pub publisher_rtx: bool,
    /// Whether the publisher's SSRCs stand in its offer.
    pub announced: bool,
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
            publisher_rtx: dice.chance(0.8),
            announced: dice.chance(0.5),
            profile: dice.pick(&PROFILES),
            acts: Vec::new(),
        };
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
        if dice.chance(0.25) {
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
        scenario
    }

    pub fn viewers(&self) -> usize {
        self.acts.iter().filter(|(_, act)| matches!(act, Act::Join(_))).count()
    }
}
