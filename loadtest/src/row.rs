//! One line of a benchmark's table: what was measured, beside its reference or alone, and whether it is within its limit.
//!
//! A run that was asked for and has no figure, for its server died or could not be looked at, has NaN: a line of it is never within
//! its limit. What was not asked for has no line.

use std::fmt;

use serde::Serialize;

use crate::report::Report;

/// One line: `measured / reference = ratio`, at most `limit`. Without a reference the measured value itself counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    what: String,
    unit: &'static str,
    measured: f64,
    reference: Option<f64>,
    ratio: f64,
    limit: f64,
    pass: bool,
}

impl Row {
    /// `measured` against `reference`.
    pub fn compare(what: &str, unit: &'static str, (measured, reference): (f64, f64), limit: f64) -> Self {
        let ratio = measured / reference;
        let (what, reference) = (what.to_owned(), Some(reference));
        Self { what, unit, measured, reference, ratio, limit, pass: ratio <= limit }
    }

    /// The larger of two against the smaller.
    pub fn spread(what: &str, unit: &'static str, (one, other): (f64, f64), limit: f64) -> Self {
        // Not min and max, which take the other one for NaN.
        let ends = if one > other { (one, other) } else { (other, one) };
        Self::compare(what, unit, ends, limit)
    }

    /// `measured` alone.
    pub fn single(what: &str, unit: &'static str, measured: f64, limit: f64) -> Self {
        let (what, pass) = (what.to_owned(), measured <= limit);
        Self { what, unit, measured, reference: None, ratio: measured, limit, pass }
    }

    /// What is in no figure of a run on what a packet or a join costs, and would make it worth nothing: who was not served.
    pub fn served(name: &str, report: &Report) -> Self {
        let failed = report.joins.attempted.saturating_sub(report.joins.ok);
        let unserved = failed + report.sessions_lost() + report.packets_missing;
        let what = format!("{name}: failed joins, lost sessions, missing packets");
        // Who asked for nothing was not served either.
        let unserved = if report.packets == 0 { f64::NAN } else { unserved as f64 };
        Self::single(&what, "", unserved, 0.0)
    }

    /// Whether it is within its limit.
    pub fn pass(&self) -> bool {
        self.pass
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |value: f64, text: String| if value.is_nan() { "-".to_owned() } else { text };
        let with_unit = |value: f64| told(value, format!("{value:.3} {}", self.unit));
        let measured = with_unit(self.measured);
        let reference = self.reference.map_or_else(String::new, with_unit);
        let ratio =
            self.reference.map_or_else(String::new, |_| told(self.ratio, format!("{:.2}", self.ratio)));
        let verdict = if self.pass { "PASS" } else { "FAIL" };
        let (what, limit) = (&self.what, self.limit);
        write!(f, "{what:<62} {measured:>12} {reference:>12} {ratio:>8} {limit:>8} {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::JoinReport;

    #[test]
    fn what_has_no_value_is_not_within_its_limit() {
        let none = f64::NAN;
        for row in [
            Row::single("a", "us", none, 1.0),
            Row::compare("a", "us", (none, 1.0), 1.0),
            Row::compare("a", "us", (1.0, none), 1.0),
            Row::spread("a", "us", (none, 1.0), 1.0),
            Row::spread("a", "us", (1.0, none), 1.0),
            Row::served("a", &Report::default()),
        ] {
            assert!(!row.pass() && row.to_string().ends_with("FAIL"), "{row}");
            assert!(!row.to_string().contains("NaN"), "{row}");
        }
    }

    #[test]
    fn a_limit_holds_up_to_itself() {
        assert!(Row::single("a", "us", 1.0, 1.0).pass() && !Row::single("a", "us", 1.1, 1.0).pass());
        let [near, far] = [(2.0, 2.4), (2.0, 2.6)].map(|ends| Row::spread("a", "us", ends, 1.25));
        assert!(near.pass() && !far.pass(), "{near} {far}");
        assert_eq!(Row::spread("a", "us", (2.4, 2.0), 1.25), near);
    }

    #[test]
    fn a_run_that_left_somebody_out_is_not_served() {
        let joins = JoinReport { attempted: 2, ok: 2, ..JoinReport::default() };
        let good = Report { packets: 10, joins, ..Report::default() };
        assert!(Row::served("good", &good).pass());
        let mut failed = good.clone();
        failed.joins.ok = 1;
        for bad in [
            failed,
            Report { packets_missing: 1, ..good.clone() },
            Report { viewers_lost: 1, ..good.clone() },
            Report { publishers_lost: 1, ..good },
        ] {
            assert!(!Row::served("bad", &bad).pass(), "{bad:?}");
        }
    }
}
