//! What a person at a terminal sees while a run lasts; nothing where there is no terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::viewer::totals::Totals;

/// One line that changes.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Shown if standard error is a terminal.
    pub fn on_terminal() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar: Some(bar) }
    }

    /// Never shown.
    pub fn hidden() -> Self {
        Self { bar: None }
    }

    pub(super) fn is_shown(&self) -> bool {
        self.bar.is_some()
    }

    pub(super) fn stage(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    pub(super) fn joining(&self, posted: usize, of: usize, answered: u64) {
        if self.is_shown() {
            self.stage(&format!("joining: {posted} of {of} posted, {answered} answered"));
        }
    }

    pub(super) fn steady(&self, elapsed: Duration, of: Duration, packets_per_second: f64, totals: &Totals) {
        let missing = totals.sequences.missing();
        self.stage(&format!(
            "{:.0} of {:.0} s: {} viewers, {packets_per_second:.0} packets/s, p99 {:.1} ms, {missing} missing",
            elapsed.as_secs_f64(),
            of.as_secs_f64(),
            totals.playing,
            totals.latency_us.value_at_quantile(0.99) as f64 / 1e3,
        ));
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
