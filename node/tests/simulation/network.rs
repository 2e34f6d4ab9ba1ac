//! A network that delays, loses, reorders, repeats and throttles datagrams.

use std::time::{Duration, Instant};

use crate::dice::Dice;

/// What a datagram carries. Each class throws dice of its own and weighs what its class weighs, because certificates and
/// signatures differ in length from run to run: so the fate of media depends on the seed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Check,
    Handshake,
    Media,
}

impl Class {
    /// RFC 7983.
    pub fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Self::Check,
            Some(20..=63) => Self::Handshake,
            _ => Self::Media,
        }
    }
}

/// What one direction of a path does to datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub delay: Duration,
    /// Added, between nothing and this; the order stays.
    pub jitter: Duration,
    /// Of single datagrams.
    pub loss: f64,
    /// Chance per datagram that all of the next `burst` are lost.
    pub burst_chance: f64,
    pub burst: Duration,
    /// Chance that a datagram is overtaken, for up to [`OVERTAKEN_MAX`].
    pub reorder: f64,
    pub duplicate: f64,
    /// Bits per second; what would wait for over 200 ms is dropped.
    pub bandwidth_bps: u64,
}

impl Weather {
    /// A path that only takes its time.
    pub fn clear(dice: &mut Dice) -> Self {
        Self {
            delay: dice.millis(1, 100),
            jitter: dice.millis(0, 10),
            loss: 0.0,
            burst_chance: 0.0,
            burst: Duration::ZERO,
            reorder: 0.0,
            duplicate: 0.0,
            bandwidth_bps: 50_000_000,
        }
    }

    /// Anything between that and a bad mobile connection.
    pub fn any(dice: &mut Dice) -> Self {
        Self {
            delay: dice.millis(1, dice.clone().pick(&[50, 100, 200])),
            loss: dice.pick(&[0.0, 0.01, 0.03, 0.05, 0.10, 0.20]),
            burst_chance: dice.pick(&[0.0, 0.0, 0.0005]),
            burst: dice.millis(20, 300),
            reorder: dice.pick(&[0.0, 0.0, 0.01, 0.05]),
            duplicate: dice.pick(&[0.0, 0.0, 0.01, 0.05]),
            bandwidth_bps: dice.between(4, 50) * 1_000_000,
            ..Self::clear(dice)
        }
    }

    /// The longest that a datagram takes which arrives.
    pub fn transit_max(&self) -> Duration {
        QUEUE_MAX + self.delay + self.jitter + OVERTAKEN_MAX
    }

    /// Whether so much is lost that repair fails now and then.
    pub fn is_heavy(&self) -> bool {
        self.loss > 0.10
    }

    pub fn loses(&self) -> bool {
        self.loss > 0.0 || self.breaks()
    }

    /// Whether there are times at which nothing comes through.
    pub fn breaks(&self) -> bool {
        self.burst_chance > 0.0
    }
}

/// One direction of a path.
#[derive(Debug)]
pub struct Link {
    pub weather: Weather,
    dice: [Dice; 3],
    sent_until: Instant,
    outage_until: Instant,
    newest_arrival: Instant,
    pub carried: u64,
    pub lost: u64,
    /// When each datagram of media was sent, and whether it was lost.
    pub fates: Vec<(Instant, bool)>,
}

/// The largest loss of anything but media.
const HANDSHAKE_LOSS_MAX: f64 = 0.10;

/// How long a full queue is.
const QUEUE_MAX: Duration = Duration::from_millis(200);

/// How long a datagram that is overtaken takes more than others, at most.
const OVERTAKEN_MAX: Duration = Duration::from_millis(30);

impl Link {
    pub fn new(weather: Weather, seed: u64, purpose: u64, now: Instant) -> Self {
        let dice = [0, 1, 2].map(|class| Dice::new(seed, purpose * 3 + class));
        Self {
            weather,
            dice,
            sent_until: now,
            outage_until: now,
            newest_arrival: now,
            carried: 0,
            lost: 0,
            fates: Vec::new(),
        }
    }

    /// Nothing comes through until then.
    pub fn cut(&mut self, until: Instant) {
        self.outage_until = self.outage_until.max(until);
    }

    /// When a datagram that is sent `now` arrives: not at all, once or twice.
    pub fn carry(&mut self, now: Instant, class: Class, len: usize) -> Vec<Instant> {
        let dice = &mut self.dice[class as usize];
        // All are thrown each time, so that no throw depends on the outcome of another.
        let throws: [f64; 6] = std::array::from_fn(|_| dice.unit());
        let [lost, burst, jitter, reorder, overtaken, duplicate] = throws;
        let weather = self.weather;
        if now >= self.outage_until && burst < weather.burst_chance {
            self.outage_until = now + weather.burst;
        }
        // Media is what is looked at: a handshake that takes all of a run leaves nothing to be seen.
        let loss = if class == Class::Media { weather.loss } else { weather.loss.min(HANDSHAKE_LOSS_MAX) };
        let bytes = if class == Class::Media { len } else { 600 };
        let begins = self.sent_until.max(now);
        let is_lost = now < self.outage_until || lost < loss || begins > now + QUEUE_MAX;
        if class == Class::Media {
            self.fates.push((now, is_lost));
        }
        if is_lost {
            self.lost += 1;
            return Vec::new();
        }
        self.carried += 1;
        self.sent_until =
            begins + Duration::from_nanos(bytes as u64 * 8 * 1_000_000_000 / weather.bandwidth_bps);
        let transit = weather.delay + weather.jitter.mul_f64(jitter);
        let mut arrival = self.sent_until + transit;
        if reorder < weather.reorder {
            arrival += OVERTAKEN_MAX.mul_f64(overtaken);
        } else {
            arrival = arrival.max(self.newest_arrival);
            self.newest_arrival = arrival;
        }
        let again = (duplicate < weather.duplicate).then(|| arrival + Duration::from_millis(3));
        [Some(arrival), again].into_iter().flatten().collect()
    }
}
