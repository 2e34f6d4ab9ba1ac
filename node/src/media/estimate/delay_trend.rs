//! Whether the queue before the bottleneck grows: from when packets were sent and when they arrived.
//!
//! Packets that leave together are one group. By how much two groups arrive farther apart than they left is what the
//! queue grew; a line through the last 20 sums of it is the trend, and a threshold that adapts to the path's jitter says
//! when it counts (draft-ietf-rmcat-gcc-02 §5.2 to §5.4, with the line in place of the Kalman filter, as Chromium does).

use super::route::Route;

/// Packets sent within this are one group, in µs (draft §5.2).
const GROUP_MICROS: i64 = 5_000;

/// Packets that a radio hands over in one go stay in their group for so long, in µs (libwebrtc's limit).
const GROUP_MAX_MICROS: i64 = 100_000;

/// Groups that the line goes through (libwebrtc's trendline).
const POINTS: usize = 20;

/// Weight of the past when the sums are smoothed (libwebrtc's trendline).
const SMOOTHING: f64 = 0.9;

/// What the slope is multiplied with, and up to how many groups the trend gains trust (libwebrtc's trendline).
const GAIN: f64 = 4.0;
const TRUST_MAX: u32 = 60;

/// The threshold at the start, its bounds, and how fast it moves away and back, in ms (draft §5.4, table 1).
const THRESHOLD_START_MS: f64 = 12.5;
const THRESHOLD_MIN_MS: f64 = 6.0;
const THRESHOLD_MAX_MS: f64 = 600.0;
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;

/// A trend this far beyond the threshold is an accident and does not move it, in ms (draft §5.4).
const ACCIDENT_MS: f64 = 15.0;

/// How long the trend stays beyond the threshold before it counts, in ms (draft §5.4).
const OVERUSE_MS: f64 = 10.0;

/// A queue shorter than this is never overuse, in µs: a server's viewers see jitter of this size from the radio, and a queue
/// that truly grows gets here within a frame or two.
const QUEUE_MIN_MICROS: i64 = 25_000;

/// A queue that is longer than this and grew by so much since the feedback before is overuse without a look at the trend, in
/// µs: when a path becomes far narrower, whole frames arrive so slowly that a trend takes most of a second to show.
const QUEUE_LONG_MICROS: i64 = 150_000;
const QUEUE_GROWN_MICROS: i64 = 20_000;

/// How long the shortest way is remembered, in µs: clocks drift apart by a millisecond meanwhile, and a new route is known
/// after it.
const BASE_MICROS: i64 = 10_000_000;

/// A way that is longer by less than this keeps nothing from being tried, in µs.
const ROUTE_MICROS: i64 = 25_000;

/// A step on the viewer's clock that is no network's doing, in µs.
const JUMP_MICROS: i64 = 3_000_000;

/// What the queue does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Usage {
    /// It neither grows nor shrinks.
    #[default]
    Normal,
    /// It grows: more is sent than the path carries.
    Over,
    /// It shrinks.
    Under,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent: i64,
    last_sent: i64,
    first_arrived: i64,
    last_arrived: i64,
    /// Of its packets, on two clocks.
    shortest_way: i64,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct DelayTrend {
    group: Option<Group>,
    previous: Option<Group>,
    /// Arrival and smoothed sum, in ms, of the last groups; a ring.
    points: [(f64, f64); POINTS],
    next: usize,
    groups: u32,
    first_arrival: i64,
    sum_ms: f64,
    smoothed_ms: f64,
    threshold_ms: f64,
    over_ms: f64,
    over_count: u32,
    last_slope: f64,
    usage: Usage,
    /// Shortest way of the last whole span and of the one that runs, and when that began.
    base: (i64, i64, i64),
    queue_micros: i64,
    route: Route,
    /// What the newest packet waited, and what the newest one did when the queue was judged last.
    newest_queue_micros: i64,
    judged_queue_micros: i64,
}

impl Default for DelayTrend {
    fn default() -> Self {
        Self {
            group: None,
            previous: None,
            points: [(0.0, 0.0); POINTS],
            next: 0,
            groups: 0,
            first_arrival: 0,
            sum_ms: 0.0,
            smoothed_ms: 0.0,
            threshold_ms: THRESHOLD_START_MS,
            over_ms: 0.0,
            over_count: 0,
            last_slope: 0.0,
            usage: Usage::Normal,
            base: (i64::MAX, i64::MAX, i64::MIN),
            queue_micros: 0,
            route: Route::default(),
            newest_queue_micros: 0,
            judged_queue_micros: 0,
        }
    }
}

impl DelayTrend {
    /// What the queue does now.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// How long the newest packet waited, in µs.
    pub(super) fn newest_queue_micros(&self) -> i64 {
        self.newest_queue_micros
    }

    /// The shortest way of the last seconds, in µs on the clocks that ways are told by.
    pub(super) fn shortest_micros(&self) -> Option<i64> {
        Some(self.base.0.min(self.base.1)).filter(|way| *way != i64::MAX)
    }

    /// All packets of a feedback were added: what the queue does now.
    pub(super) fn judge_feedback(&mut self) -> Usage {
        let before = std::mem::replace(&mut self.judged_queue_micros, self.newest_queue_micros);
        let grown = self.newest_queue_micros - before;
        let overflows = self.newest_queue_micros >= QUEUE_LONG_MICROS && grown >= QUEUE_GROWN_MICROS;
        // A keyframe's queue is gone before the line through the last groups has turned.
        let drained = self.usage == Usage::Over && self.newest_queue_micros < QUEUE_MIN_MICROS;
        match self.usage {
            _ if overflows => Usage::Over,
            _ if drained => Usage::Normal,
            usage => usage,
        }
    }

    /// How long the queue is, by the shortest way of the last seconds, in µs.
    pub(super) fn queue_micros(&self) -> i64 {
        self.queue_micros
    }

    /// A packet was `sent` and `arrived`, each in µs on a clock of its own, in the order of sending.
    pub(super) fn packet(&mut self, sent: i64, arrived: i64) {
        let way = arrived - sent;
        let shortest = self.base.0.min(self.base.1);
        if shortest != i64::MAX {
            self.newest_queue_micros = (way - shortest).max(0);
        }
        let Some(group) = &mut self.group else { return self.begin_group(sent, arrived) };
        if sent < group.first_sent {
            return;
        }
        if group.takes(sent, arrived) {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrived = group.last_arrived.max(arrived);
            group.shortest_way = group.shortest_way.min(way);
            return;
        }
        let closed = *group;
        self.begin_group(sent, arrived);
        self.measure_queue(&closed);
        let Some(previous) = self.previous.replace(closed) else { return };
        let apart = closed.last_arrived - previous.last_arrived;
        let left = closed.last_sent - previous.last_sent;
        if !(0..JUMP_MICROS).contains(&apart) || (apart - left).abs() > JUMP_MICROS {
            // A clock was set, or packets came in an order of their own for long: nothing that came before compares.
            *self = Self { threshold_ms: self.threshold_ms, ..Self::default() };
            return;
        }
        self.add((apart - left) as f64 / 1e3, left as f64 / 1e3, closed.last_arrived);
    }

    fn begin_group(&mut self, sent: i64, arrived: i64) {
        self.group = Some(Group {
            first_sent: sent,
            last_sent: sent,
            first_arrived: arrived,
            last_arrived: arrived,
            shortest_way: arrived - sent,
        });
    }

    /// The first packet of a group waits for those before it only, not for its own: its way tells the standing queue.
    fn measure_queue(&mut self, group: &Group) {
        let (before, running, since) = &mut self.base;
        if group.first_arrived.saturating_sub(*since) >= BASE_MICROS {
            (*before, *running, *since) = (*running, group.shortest_way, group.first_arrived);
        }
        *running = (*running).min(group.shortest_way);
        self.queue_micros = group.shortest_way - (*running).min(*before);
        self.route.add(group.first_arrived, group.shortest_way);
    }

    /// What looks like a queue cannot be one of ours: a way that has been longer for a while without a change is the shortest
    /// one that is known from now on.
    pub(super) fn follow_route(&mut self) {
        let known = self.base.0.min(self.base.1);
        let Some(way) = self.route.steady_micros().filter(|way| *way > known.saturating_add(ROUTE_MICROS))
        else {
            return;
        };
        (self.base.0, self.base.1) = (i64::MAX, way);
        (self.queue_micros, self.newest_queue_micros, self.judged_queue_micros) = (0, 0, 0);
    }

    fn add(&mut self, grown_ms: f64, passed_ms: f64, arrived: i64) {
        if self.groups == 0 {
            self.first_arrival = arrived;
        }
        self.groups = self.groups.saturating_add(1);
        self.sum_ms += grown_ms;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.sum_ms;
        if let Some(point) = self.points.get_mut(self.next) {
            *point = ((arrived - self.first_arrival) as f64 / 1e3, self.smoothed_ms);
        }
        self.next = (self.next + 1) % POINTS;
        let slope = if self.groups as usize >= POINTS { self.slope() } else { self.last_slope };
        self.judge(slope, passed_ms);
    }

    /// Of the line with the least squares through the points: ms of queue per ms.
    fn slope(&self) -> f64 {
        let count = POINTS as f64;
        let (x, y) = self.points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        let (x, y) = (x / count, y / count);
        let (above, below) = self.points.iter().fold((0.0, 0.0), |sum, point| {
            let dx = point.0 - x;
            (sum.0 + dx * (point.1 - y), sum.1 + dx * dx)
        });
        if below > 0.0 { above / below } else { self.last_slope }
    }

    fn judge(&mut self, slope: f64, passed_ms: f64) {
        let trend = f64::from(self.groups.min(TRUST_MAX)) * slope * GAIN;
        if trend > self.threshold_ms {
            self.over_ms += passed_ms;
            self.over_count += 1;
            let counts = self.over_ms > OVERUSE_MS && self.over_count > 1 && slope >= self.last_slope;
            if counts && self.queue_micros >= QUEUE_MIN_MICROS {
                self.usage = Usage::Over;
                (self.over_ms, self.over_count) = (0.0, 0);
            }
        } else {
            (self.over_ms, self.over_count) = (0.0, 0);
            self.usage = if trend < -self.threshold_ms { Usage::Under } else { Usage::Normal };
        }
        self.last_slope = slope;
        let distance = trend.abs() - self.threshold_ms;
        if distance <= ACCIDENT_MS {
            let pace = if distance < 0.0 { THRESHOLD_DOWN } else { THRESHOLD_UP };
            let moved = self.threshold_ms + pace * distance * passed_ms.clamp(0.0, 100.0);
            self.threshold_ms = moved.clamp(THRESHOLD_MIN_MS, THRESHOLD_MAX_MS);
        }
    }
}

impl Group {
    fn takes(&self, sent: i64, arrived: i64) -> bool {
        if sent - self.first_sent <= GROUP_MICROS {
            return true;
        }
        // What arrives in one go though it left apart was held back and then let go by a radio.
        let apart = arrived - self.last_arrived;
        apart <= GROUP_MICROS
            && apart < sent - self.last_sent
            && arrived - self.first_arrived < GROUP_MAX_MICROS
    }
}
