//! One line per requirement, and what came of all of them.

use std::fmt::Display;
use std::process::ExitCode;

/// Counts lines.
#[derive(Default)]
pub struct Report {
    passed: usize,
    failed: Vec<String>,
}

impl Report {
    /// Prints the line of one requirement; `seen` says what was found where it is not met.
    pub fn line(&mut self, number: &str, requirement: &str, met: bool, seen: impl Display) {
        if met {
            self.passed += 1;
            println!("ok   {number:<5} {requirement}");
        } else {
            let line = format!("{number:<5} {requirement}");
            println!("FAIL {line}\n     seen: {seen}");
            self.failed.push(line);
        }
    }

    /// The suite could not go on.
    pub fn broken(&mut self, error: &anyhow::Error) {
        println!("FAIL the suite stopped: {error:#}");
        self.failed.push(format!("the suite stopped: {error:#}"));
    }

    /// The sum, and the exit code.
    pub fn finish(self) -> ExitCode {
        println!("\n{} requirements met, {} not", self.passed, self.failed.len());
        for line in &self.failed {
            println!("  not met: {line}");
        }
        if self.failed.is_empty() && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
