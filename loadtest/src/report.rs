//! What a run found: figures, limits on them, and both printed for people and machines.

use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Median and tail, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// How many values.
    pub count: u64,
}

impl Percentiles {
    /// Of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), count: histogram.len() }
    }
}

/// How joining went.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct JoinReport {
    /// POSTs sent.
    pub attempted: u64,
    /// Viewers that got all media that the answer promised.
    pub ok: u64,
    /// POST → 201.
    pub answer: Percentiles,
    /// POST → first media packet.
    pub first_media: Percentiles,
    /// POST → first packet of a keyframe.
    pub first_keyframe: Percentiles,
    /// POST → last packet of the first whole keyframe, which a decoder can show.
    pub first_picture: Percentiles,
    /// Seconds from the first POST until all had media.
    pub seconds: f64,
    /// Packets delivered in that time.
    pub packets: u64,
    /// Server CPU seconds in that time.
    pub server_cpu_seconds: Option<f64>,
}

/// The server over the steady window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ServerReport {
    /// CPU seconds of all threads.
    pub cpu_seconds: f64,
    /// CPU microseconds per packet delivered to a viewer.
    pub cpu_us_per_packet: f64,
    /// Resident bytes before the viewers came.
    pub resident_before_bytes: u64,
    /// Resident bytes at the end of the steady window.
    pub resident_bytes: u64,
    /// Growth per viewer.
    pub resident_per_viewer_bytes: f64,
}

/// All figures of a run; rates and loss are of the steady window.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Publishers that were asked for and ran.
    pub publishers: u64,
    /// Viewers that were asked for.
    pub viewers: u64,
    /// Joins.
    pub joins: JoinReport,
    /// Length of the steady window, seconds.
    pub seconds: f64,
    /// Packets delivered.
    pub packets: u64,
    /// Packets per second.
    pub packets_per_second: f64,
    /// Bits per second, RTP and SRTP included.
    pub bits_per_second: f64,
    /// Mean bytes per packet.
    pub bytes_per_packet: f64,
    /// Packets that should have come: what sequence numbers tell of, and what the publishers know beyond that.
    pub packets_due: u64,
    /// Share of packets that did not come by themselves (with `--loss`, what viewers threw away included).
    pub loss_before_repair: f64,
    /// Share of packets still missing after repair.
    pub loss_after_repair: f64,
    /// Packets missing after repair: gaps, and what the publishers sent and no viewer was told of.
    pub packets_missing: u64,
    /// Packets among the missing that left no gap, for the stream stopped: the publishers alone know of them.
    pub packets_never_announced: u64,
    /// Repairs among the delivered packets that filled no gap: they have no latency.
    pub repairs_needless: u64,
    /// Viewers whose session the server closed, or who got no media for the window's last second.
    pub viewers_lost: u64,
    /// Publishers whose connection failed or was closed by the server.
    pub publishers_lost: u64,
    /// Packets opened and verified, over the whole run.
    pub packets_verified: u64,
    /// Packets that did not verify, over the whole run.
    pub packets_refused: u64,
    /// Publisher's stamp → arrival at the viewer.
    pub latency: Percentiles,
    /// The server, if `--server-pid` was given.
    pub server: Option<ServerReport>,
    /// CPU seconds of this process over the steady window, publishers included.
    pub generator_cpu_seconds: f64,
    /// Limits that were broken, in words.
    pub broken_limits: Vec<String>,
    /// What a person should know about the measurement itself.
    pub warnings: Vec<String>,
}

/// Limits on a run; what is none is not checked.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Share of packets missing after repair.
    pub max_loss: Option<f64>,
    /// End-to-end p99.
    pub max_p99: Option<Duration>,
    /// Server CPU microseconds per delivered packet.
    pub max_cpu_us: Option<f64>,
    /// p95 of POST → first keyframe (first media where there is no video).
    pub max_join_p95: Option<Duration>,
    /// Joins that failed.
    pub max_failed_joins: u64,
    /// Viewers and publishers whose session ended before the run did.
    pub max_lost_sessions: u64,
}

impl Limits {
    /// Every limit that `report` breaks, in words.
    pub fn broken(&self, report: &Report) -> Vec<String> {
        let mut broken = Vec::new();
        let failed = report.joins.attempted.saturating_sub(report.joins.ok);
        if failed > self.max_failed_joins {
            broken.push(format!("{failed} joins failed, at most {} may", self.max_failed_joins));
        }
        let lost = report.sessions_lost();
        if lost > self.max_lost_sessions {
            broken.push(format!("{lost} sessions were lost, at most {} may be", self.max_lost_sessions));
        }
        if report.viewers > 0 && report.packets == 0 {
            broken.push("no packet was delivered".to_owned());
        }
        let unmeasured = |name: &str| format!("{name} is limited but was not measured");
        match self.max_loss {
            Some(_) if report.packets_due == 0 => broken.push(unmeasured("loss after repair")),
            Some(limit) if report.loss_after_repair > limit => broken.push(format!(
                "loss after repair is {:.4} %, limit {:.4} %",
                report.loss_after_repair * 100.0,
                limit * 100.0
            )),
            _ => {}
        }
        let mut check = |name: &str, count: u64, value_ms: f64, limit: Option<Duration>| {
            let Some(limit_ms) = limit.map(|limit| limit.as_secs_f64() * 1e3) else { return };
            if count == 0 {
                broken.push(unmeasured(name));
            } else if value_ms > limit_ms {
                broken.push(format!("{name} is {value_ms:.3} ms, limit {limit_ms} ms"));
            }
        };
        check("end-to-end p99", report.latency.count, report.latency.p99_ms, self.max_p99);
        let join = match report.joins.first_keyframe.count {
            0 => report.joins.first_media,
            _ => report.joins.first_keyframe,
        };
        check("join p95", join.count, join.p95_ms, self.max_join_p95);
        if let Some(limit) = self.max_cpu_us {
            match report.server {
                None => broken.push(format!("{} (--server-pid)", unmeasured("server CPU"))),
                Some(_) if report.packets == 0 => broken.push(unmeasured("server CPU per packet")),
                Some(server) if server.cpu_us_per_packet > limit => broken.push(format!(
                    "server CPU is {:.3} µs per packet, limit {limit:.3} µs",
                    server.cpu_us_per_packet
                )),
                Some(_) => {}
            }
        }
        broken
    }
}

impl Report {
    /// Viewers and publishers whose session ended before the run did.
    pub fn sessions_lost(&self) -> u64 {
        self.viewers_lost + self.publishers_lost
    }

    /// The table that a person reads.
    pub fn table(&self) -> String {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
        let spread = |p: &Percentiles| match p.count {
            0 => format!("{:>8} {:>8} {:>8}", "-", "-", "-"),
            _ => format!("{:>8.2} {:>8.2} {:>8.2} ms", p.p50_ms, p.p95_ms, p.p99_ms),
        };
        row("publishers, viewers", format!("{}, {}", self.publishers, self.viewers));
        row("joins ok / attempted", format!("{} / {}", self.joins.ok, self.joins.attempted));
        row("                              ", format!("{:>8} {:>8} {:>8}", "p50", "p95", "p99"));
        row("POST to 201", spread(&self.joins.answer));
        row("POST to first media", spread(&self.joins.first_media));
        row("POST to first keyframe", spread(&self.joins.first_keyframe));
        row("POST to first whole picture", spread(&self.joins.first_picture));
        row("end-to-end latency", spread(&self.latency));
        row("steady window", format!("{:.1} s", self.seconds));
        row(
            "delivered",
            format!(
                "{:.0} packets/s, {:.1} Mbit/s, {:.0} bytes each",
                self.packets_per_second,
                self.bits_per_second / 1e6,
                self.bytes_per_packet
            ),
        );
        row(
            "loss before / after repair",
            format!(
                "{:.4} % / {:.4} % ({} packets missing)",
                self.loss_before_repair * 100.0,
                self.loss_after_repair * 100.0,
                self.packets_missing
            ),
        );
        row("needless repairs", self.repairs_needless.to_string());
        row("sessions lost", format!("{} viewers, {} publishers", self.viewers_lost, self.publishers_lost));
        row("SRTP verified / refused", format!("{} / {}", self.packets_verified, self.packets_refused));
        if let Some(server) = &self.server {
            row(
                "server CPU",
                format!("{:.2} s, {:.3} µs per packet", server.cpu_seconds, server.cpu_us_per_packet),
            );
            let resident = format!("{:.1} MiB", server.resident_bytes as f64 / 1_048_576.0);
            let per_viewer = server.resident_per_viewer_bytes / 1024.0;
            // Few viewers cost less than the server gave back meanwhile: that says nothing of one.
            let known = per_viewer > 0.0;
            row(
                "server memory",
                if known { format!("{resident}, {per_viewer:.1} KiB per viewer") } else { resident },
            );
        }
        row("generator CPU", format!("{:.2} s", self.generator_cpu_seconds));
        let mut table = String::new();
        for (name, value) in rows {
            let _ = writeln!(table, "{name:<30} {value}");
        }
        for warning in &self.warnings {
            let _ = writeln!(table, "warning: {warning}");
        }
        for limit in &self.broken_limits {
            let _ = writeln!(table, "limit broken: {limit}");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn good() -> Report {
        Report {
            viewers: 2,
            packets: 10,
            packets_due: 10,
            joins: JoinReport { attempted: 2, ok: 2, ..Default::default() },
            latency: Percentiles { p99_ms: 20.0, count: 1_000, ..Default::default() },
            ..Default::default()
        }
    }

    #[test]
    fn a_good_run_breaks_nothing() {
        let limits =
            Limits { max_loss: Some(0.0), max_p99: Some(Duration::from_millis(30)), ..Default::default() };
        assert_eq!(limits.broken(&good()), Vec::<String>::new());
    }

    #[test]
    fn every_limit_can_break() {
        let mut report = good();
        report.loss_after_repair = 0.01;
        report.latency.p99_ms = 31.0;
        report.joins.ok = 1;
        (report.joins.first_media.p95_ms, report.joins.first_media.count) = (900.0, 1);
        let limits = Limits {
            max_loss: Some(0.001),
            max_p99: Some(Duration::from_millis(30)),
            max_cpu_us: Some(1.0),
            max_join_p95: Some(Duration::from_millis(500)),
            max_failed_joins: 0,
            max_lost_sessions: 1,
        };
        assert_eq!(limits.broken(&report).len(), 5);
        report.latency = Percentiles::default();
        assert!(
            limits.broken(&report).contains(&"end-to-end p99 is limited but was not measured".to_owned())
        );
        report.packets = 0;
        assert_eq!(limits.broken(&report).len(), 6);
        (report.viewers_lost, report.publishers_lost) = (1, 1);
        assert_eq!(limits.broken(&report).len(), 7);
    }

    #[test]
    fn what_never_happened_keeps_no_limit_and_has_no_figure() {
        let nobody = Report { server: Some(ServerReport::default()), ..Report::default() };
        let limits = Limits {
            max_loss: Some(0.0),
            max_p99: Some(Duration::from_millis(30)),
            max_cpu_us: Some(1.0),
            max_join_p95: Some(Duration::from_millis(500)),
            ..Default::default()
        };
        let broken = limits.broken(&nobody);
        assert_eq!(broken.len(), 4, "{broken:?}");
        assert!(broken.iter().all(|limit| limit.ends_with("is limited but was not measured")), "{broken:?}");
        let table = nobody.table();
        let latency = table.lines().find_map(|line| line.strip_prefix("end-to-end latency"));
        assert_eq!(latency.unwrap().split_whitespace().collect::<Vec<_>>(), ["-", "-", "-"], "{table}");
        assert_eq!(Limits::default().broken(&nobody), Vec::<String>::new());
    }

    #[test]
    fn percentiles_of_a_histogram() {
        let mut histogram = crate::viewer::totals::histogram().unwrap();
        for us in 1..=1_000 {
            histogram.record(us * 100).unwrap();
        }
        let percentiles = Percentiles::of(&histogram);
        assert!((percentiles.p50_ms - 50.0).abs() < 0.2, "{percentiles:?}");
        assert!((percentiles.p99_ms - 99.0).abs() < 0.2, "{percentiles:?}");
    }

    #[test]
    fn the_table_names_what_broke() {
        let mut report = good();
        report.broken_limits.push("loss".to_owned());
        assert!(report.table().contains("limit broken: loss"));
    }
}
