//! The committed limits, and what was measured beside them.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use aforo_loadtest::report::Report;
use aforo_loadtest::row::Row;

use crate::runs::Found;
use crate::server;

/// All lines.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// The server's CPU per packet; NaN if it was not there to be looked at.
pub fn cpu_us(report: &Report) -> f64 {
    report.server.map_or(f64::NAN, |server| server.cpu_us_per_packet)
}

/// The latency's tail; NaN if nothing came that has one.
fn p99_ms(report: &Report) -> f64 {
    if report.latency.count == 0 { f64::NAN } else { report.latency.p99_ms }
}

/// How much more resident memory the server of `more` had, in KiB per one of `count` that it had more of.
pub fn grown_kib(more: &Report, less: &Report, count: fn(&Report) -> u64) -> f64 {
    let resident = |report: &Report| report.server.map_or(f64::NAN, |server| server.resident_bytes as f64);
    (resident(more) - resident(less)) / 1_024.0 / (count(more) as f64 - count(less) as f64)
}

/// CPU of the time in which viewers joined, less what the packets delivered meanwhile cost at the steady rate.
fn join_us(report: &Report) -> f64 {
    let spent_us = report.joins.server_cpu_seconds.map_or(f64::NAN, |seconds| seconds * 1e6);
    let forwarding_us = cpu_us(report) * report.joins.packets as f64;
    (spent_us - forwarding_us) / report.joins.attempted.max(1) as f64
}

impl Table {
    /// Judges what was found.
    pub fn of(found: &Found) -> Self {
        let mut table = Self::default();
        let plain: [(&str, &Option<Report>); 5] = [
            ("1x100", &found.one_by_100),
            ("1x300", &found.one_by_300),
            ("1x1000", &found.one_by_1000),
            ("1x2000", &found.one_by_2000),
            ("30x10", &found.thirty_by_10),
        ];
        let [at_100, at_300, at_1000, at_2000, in_30] = plain.map(|(_, report)| report.as_ref().map(cpu_us));
        let floor = |receivers| found.floors.get(&receivers).map(|floor| floor.cpu_us_per_packet);
        table.compare(
            "CPU per delivered packet, 1,000 viewers / floor program",
            "us",
            (at_1000, floor(1_000)),
            1.6,
        );
        for (viewers, node) in [(100, at_100), (1_000, at_1000), (2_000, at_2000)] {
            if let (Some(node), Some(floor)) = (node, floor(viewers)) {
                let ratio = node / floor;
                table
                    .notes
                    .push(format!("{viewers} viewers: {node:.3} us, floor {floor:.3} us, ratio {ratio:.2}"));
            }
        }
        table.spread("CPU per packet, 100 and 2,000 viewers: larger / smaller", (at_100, at_2000), 1.2);
        table.spread("CPU per packet, 30x10 and 1x300: larger / smaller", (in_30, at_300), 1.4);
        let light = ("light load", &found.light);
        plain.into_iter().chain([light]).for_each(|(name, report)| table.served(name, report.as_ref()));
        table.busiest(found.on_two_shards.as_ref());
        let ends = found.one_by_100.as_ref().zip(found.one_by_2000.as_ref());
        let memory = ends.map(|(few, many)| grown_kib(many, few, |report| report.viewers));
        table.single("one viewer more: resident memory", "KiB", memory, 40.0);
        table.joins(found);
        // The publisher's own stack is inside the measured way and not inside the relay's: on the safe side.
        let added = found.light.as_ref().zip(found.relay).map(|(light, relay)| p99_ms(light) - relay.p50_ms);
        table.single("added latency, light load: p99 less a plain relay's median", "ms", added, 1.0);
        table.rings(found);
        table.simulcast(found);
        table.garbage(found.garbage.as_ref());
        let storms = [("storm", &found.storm), ("storm into simulcast", &found.simulcast_storm)];
        storms.into_iter().for_each(|(name, storm)| table.storm(name, storm.as_ref()));
        table
    }

    /// The pace with the limit is the storm's; what a join costs on threads that sleep between two is told beside it, and
    /// what it costs with pictures.
    fn joins(&mut self, found: &Found) {
        let all = [&found.joins, &found.paced_joins, &found.picture_joins];
        let [storm, paced, pictures] = all.map(|report| report.as_ref().map(join_us));
        self.single("WHEP join into silent sound, 1,000 in 2 s: server CPU", "us", storm, 500.0);
        self.served("joins into silent sound", found.joins.as_ref());
        if let (Some(storm), Some(paced), Some(crypto)) = (storm, paced, found.handshake_crypto_us) {
            self.notes.push(format!(
                "WHEP join: {storm:.0} us, {paced:.0} us at half the pace, bare curve operations of its handshake {crypto:.0} us"
            ));
        }
        if let Some(pictures) = pictures {
            self.notes.push(format!(
                "WHEP join into H264 and sound, 1,000 in 2 s: {pictures:.0} us, forwarding taken off at its steady cost"
            ));
        }
    }

    pub fn compare(
        &mut self,
        what: &str,
        unit: &'static str,
        (measured, reference): (Option<f64>, Option<f64>),
        limit: f64,
    ) {
        let both = measured.zip(reference);
        self.rows.extend(both.map(|both| Row::compare(what, unit, both, limit)));
    }

    fn spread(&mut self, what: &str, (one, other): (Option<f64>, Option<f64>), limit: f64) {
        self.rows.extend(one.zip(other).map(|both| Row::spread(what, "us", both, limit)));
    }

    pub fn single(&mut self, what: &str, unit: &'static str, measured: Option<f64>, limit: f64) {
        self.rows.extend(measured.map(|measured| Row::single(what, unit, measured, limit)));
    }

    /// A figure of CPU is one only if all were served.
    pub fn served(&mut self, name: &str, report: Option<&Report>) {
        self.rows.extend(report.map(|report| Row::served(name, report)));
    }

    /// What two shards make of the most viewers: server and generator together have two cores.
    fn busiest(&mut self, found: Option<&Report>) {
        self.served("2,000 viewers, two shards", found);
        let p99_ms = found.map(p99_ms);
        self.single("2,000 viewers, two shards: end-to-end p99", "ms", p99_ms, 30.0);
    }

    /// Something to tell beside the lines.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Whether every line is within its limit.
    pub fn all_pass(&self) -> bool {
        self.rows.iter().all(Row::pass)
    }

    /// Writes lines and reports; returns where.
    pub fn write_json(&self, found: &Found) -> Result<PathBuf> {
        #[derive(Serialize)]
        struct Written<'a> {
            rows: &'a [Row],
            found: &'a Found,
        }
        let path = std::env::var_os("AFORO_BENCH_JSON")
            .map_or_else(|| server::root().join("target/bench-node.json"), PathBuf::from);
        let json = serde_json::to_string_pretty(&Written { rows: &self.rows, found })?;
        std::fs::write(&path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<62} {:>12} {:>12} {:>8} {:>8}", "what", "measured", "reference", "ratio", "limit")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}
