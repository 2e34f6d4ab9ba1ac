//! The lines on what makes media adapt and survive: simulcast, garbage, and a storm of joins.

use aforo_loadtest::report::Report;
use aforo_loadtest::scenario::storm::StormReport;

use crate::runs::{Found, Garbage};
use crate::table::{Table, cpu_us, grown_kib};

/// Least time between two keyframe requests for one layer.
const REQUEST_INTERVAL_MS: f64 = 500.0;

/// How much nearer two requests may come in than they were sent, as a ratio of that time: the publisher's threads share two
/// cores with a thousand viewers who join.
const REQUEST_JITTER: f64 = 1.05;

/// Packets of a plain viewer per one of a viewer of simulcast: more means that some did not play the best layer.
const BEST_LAYER_RATIO: f64 = 1.02;

fn packets_per_viewer(report: &Report) -> f64 {
    report.packets_per_second / report.viewers.max(1) as f64
}

impl Table {
    /// Each run of the speed table with simulcast and estimates against itself without.
    pub fn simulcast(&mut self, found: &Found) {
        let plain = |name: &str| match name {
            "100" => found.one_by_100.as_ref(),
            "300" => found.one_by_300.as_ref(),
            "30x10" => found.thirty_by_10.as_ref(),
            "1000" => found.one_by_1000.as_ref(),
            "2000" => found.one_by_2000.as_ref(),
            _ => None,
        };
        for (name, layered) in &found.simulcast {
            let Some(plain) = plain(name) else { continue };
            let what = format!("simulcast and estimates, {name}: CPU per packet / plain");
            self.compare(&what, "us", (Some(cpu_us(layered)), Some(cpu_us(plain))), 1.25);
            let packets = (packets_per_viewer(plain), packets_per_viewer(layered));
            let what = format!("simulcast, {name}: packets/s of a plain viewer / of one of simulcast");
            self.compare(&what, "", (Some(packets.0), Some(packets.1)), BEST_LAYER_RATIO);
            self.served(&format!("simulcast, {name}"), Some(layered));
        }
        let ends = found.simulcast.get("100").zip(found.simulcast.get("2000"));
        let memory = ends.map(|(few, many)| grown_kib(many, few, |report| report.viewers));
        self.single("one viewer of simulcast more: resident memory", "KiB", memory, 40.0);
    }

    /// What a stream keeps, from runs with as many viewers: its ring, which is full after three seconds, and its publisher.
    pub fn rings(&mut self, found: &Found) {
        let ends = found.thirty_by_10.as_ref().zip(found.one_by_300.as_ref());
        let grown = ends.map(|(many, one)| grown_kib(many, one, |report| report.publishers));
        self.single(
            "one stream of 1.5 Mbit/s more, ring and publisher: resident memory",
            "KiB",
            grown,
            1_024.0,
        );
    }

    /// Garbage against the same garbage for somebody else, in the same run.
    pub fn garbage(&mut self, garbage: Option<&Garbage>) {
        let Some(Garbage { seen, counted, overflowed }) = garbage else { return };
        let p99 = (Some(seen.noisy.p99_ms), Some(seen.elsewhere.p99_ms));
        self.compare("200 viewers, garbage at 50,000/s: p99 / p99 while it goes elsewhere", "ms", p99, 1.1);
        let sent = seen.garbage_sent as f64;
        let uncounted = (sent - counted).abs() / sent.max(1.0);
        self.single("garbage that no metric tells of, or tells of twice: share", "", Some(uncounted), 0.001);
        self.single("under garbage: packets missing", "", Some(seen.packets_missing as f64), 0.0);
        let lost = (seen.sessions_lost + seen.failed_joins) as f64;
        self.single("under garbage: lost sessions and failed joins", "", Some(lost), 0.0);
        let cpu =
            seen.server_cpu_seconds.map_or(0.0, |[quiet, _, noisy]| (noisy - quiet) * 1e6 / sent.max(1.0));
        self.note(format!(
            "garbage: {sent:.0} datagrams, {overflowed:.0} of them overflowed, {cpu:.2} us of CPU each; without any p99 is {:.2} ms",
            seen.quiet.p99_ms
        ));
    }

    /// Joins at once into a live stream.
    pub fn storm(&mut self, name: &str, storm: Option<&StormReport>) {
        let Some(storm) = storm else { return };
        let name = format!("{name}, 1,000 joins in 2 s");
        let not_playing =
            (storm.earlier + storm.joined - storm.playing.min(storm.earlier + storm.joined)) as f64;
        self.single(&format!("{name}: viewers without a picture"), "", Some(not_playing), 0.0);
        let after = storm.playing_after_seconds.or(Some(f64::INFINITY));
        self.single(&format!("{name}: all play after"), "s", after, 4.0);
        let missing = Some(storm.earlier_missing as f64);
        self.single(&format!("{name}: packets missing at who was there"), "", missing, 0.0);
        let lost = Some(storm.sessions_lost as f64);
        self.single(&format!("{name}: lost sessions"), "", lost, 0.0);
        let crowding =
            storm.shortest_request_interval_ms.map_or(0.0, |shortest| REQUEST_INTERVAL_MS / shortest);
        let what = format!("{name}: 500 ms / shortest time between requests for a layer");
        self.single(&what, "", Some(crowding), REQUEST_JITTER);
        self.note(format!(
            "{name}: {} keyframe requests, first picture p50 {:.0} p99 {:.0} ms, 201 p99 {:.0} ms, {} of {} packets repaired",
            storm.keyframe_requests,
            storm.first_picture.p50_ms,
            storm.first_picture.p99_ms,
            storm.answer.p99_ms,
            storm.earlier_missing_before_repair,
            storm.earlier_packets
        ));
    }
}
