//! The committed limits, and what was measured beside them.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use aforo_loadtest::report::{Report, ServerReport};

use crate::runs::Found;
use crate::server;

/// One line: `measured / reference = ratio`, at most `limit`. Without a reference the measured value itself counts.
#[derive(Debug, Serialize)]
struct Row {
    what: String,
    unit: &'static str,
    measured: f64,
    reference: Option<f64>,
    ratio: f64,
    limit: f64,
    pass: bool,
}

/// All lines.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

pub fn cpu_us(report: Option<&Report>) -> Option<f64> {
    report.and_then(|report| report.server).map(|server: ServerReport| server.cpu_us_per_packet)
}

/// CPU of the time in which viewers joined, less what the packets delivered meanwhile cost at the steady rate.
fn join_us(report: &Report) -> Option<f64> {
    let spent_us = report.joins.server_cpu_seconds? * 1e6;
    let forwarding_us = report.server?.cpu_us_per_packet * report.joins.packets as f64;
    Some((spent_us - forwarding_us) / report.joins.attempted.max(1) as f64)
}

impl Table {
    /// Judges what was found.
    pub fn of(found: &Found) -> Self {
        let mut table = Self::default();
        let [at_100, at_300, at_1000, at_2000, in_30] = [
            &found.one_by_100,
            &found.one_by_300,
            &found.one_by_1000,
            &found.one_by_2000,
            &found.thirty_by_10,
        ]
        .map(|report| cpu_us(report.as_ref()));
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
        let spread = at_100.zip(at_2000).map(|(a, b)| (a.max(b), a.min(b)));
        table.compare("CPU per packet, 100 and 2,000 viewers: larger / smaller", "us", spread.unzip(), 1.2);
        let spread = in_30.zip(at_300).map(|(a, b)| (a.max(b), a.min(b)));
        table.compare("CPU per packet, 30x10 and 1x300: larger / smaller", "us", spread.unzip(), 1.4);
        table.busiest(found.on_two_shards.as_ref());
        let most = found.one_by_2000.as_ref();
        let memory = found.one_by_100.as_ref().zip(most).and_then(|(few, many)| {
            let grown = many.server?.resident_bytes as f64 - few.server?.resident_bytes as f64;
            Some(grown / 1_024.0 / (many.viewers as f64 - few.viewers as f64))
        });
        table.single("one viewer more: resident memory", "KiB", memory, 40.0);
        table.joins(found);
        // The publisher's own stack is inside the measured way and not inside the relay's: on the safe side.
        let added =
            found.light.as_ref().zip(found.relay).map(|(light, relay)| light.latency.p99_ms - relay.p50_ms);
        table.single("added latency, light load: p99 less a plain relay's median", "ms", added, 1.0);
        table.rings(found);
        table.simulcast(found);
        table.garbage(found.garbage.as_ref());
        let storms = [("storm", &found.storm), ("storm into simulcast", &found.simulcast_storm)];
        storms.into_iter().for_each(|(name, storm)| table.storm(name, storm.as_ref()));
        table
    }

    /// The pace with the limit is the storm's; what a join costs on threads that sleep between two is told beside it.
    fn joins(&mut self, found: &Found) {
        let [storm, paced] =
            [&found.joins, &found.paced_joins].map(|report| report.as_ref().and_then(join_us));
        self.single("WHEP join, 1,000 in 2 s: server CPU", "us", storm, 500.0);
        if let (Some(storm), Some(paced), Some(crypto)) = (storm, paced, found.handshake_crypto_us) {
            self.notes.push(format!(
                "WHEP join: {storm:.0} us, {paced:.0} us at half the pace, bare curve operations of its handshake {crypto:.0} us"
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
        if let (Some(measured), Some(reference)) = (measured, reference) {
            let ratio = measured / reference;
            let reference = Some(reference);
            let what = what.to_owned();
            self.rows.push(Row { what, unit, measured, reference, ratio, limit, pass: ratio <= limit });
        }
    }

    pub fn single(&mut self, what: &str, unit: &'static str, measured: Option<f64>, limit: f64) {
        if let Some(measured) = measured {
            let pass = measured <= limit;
            let what = what.to_owned();
            self.rows.push(Row { what, unit, measured, reference: None, ratio: measured, limit, pass });
        }
    }

    /// What two shards make of the most viewers: server and generator together have two cores.
    fn busiest(&mut self, found: Option<&Report>) {
        let missing = found.map(|report| report.packets_missing as f64);
        self.single("2,000 viewers, two shards: packets missing", "", missing, 0.0);
        let lost = found.map(|report| report.sessions_lost() as f64);
        self.single("2,000 viewers, two shards: lost sessions", "", lost, 0.0);
        let failed = found.map(|report| report.joins.attempted.saturating_sub(report.joins.ok) as f64);
        self.single("2,000 viewers, two shards: failed joins", "", failed, 0.0);
        let p99_ms = found.map(|report| report.latency.p99_ms);
        self.single("2,000 viewers, two shards: end-to-end p99", "ms", p99_ms, 30.0);
    }

    /// Something to tell beside the lines.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Whether every line is within its limit.
    pub fn all_pass(&self) -> bool {
        self.rows.iter().all(|row| row.pass)
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
            let measured = format!("{:.3} {}", row.measured, row.unit);
            let reference =
                row.reference.map_or_else(String::new, |value| format!("{value:.3} {}", row.unit));
            let ratio = row.reference.map_or_else(String::new, |_| format!("{:.2}", row.ratio));
            let verdict = if row.pass { "PASS" } else { "FAIL" };
            writeln!(
                f,
                "{:<62} {measured:>12} {reference:>12} {ratio:>8} {:>8} {verdict}",
                row.what, row.limit
            )?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}
