//! One line per requirement, and what came of all of them.

use std::collections::HashMap;
use std::fmt::Display;
use std::panic::Location;
use std::process::ExitCode;

/// Counts lines.
#[derive(Default)]
pub struct Report {
    passed: usize,
    failed: Vec<String>,
    /// Where in the suite each number is judged.
    places: HashMap<String, &'static Location<'static>>,
}

impl Report {
    /// Prints the line of one requirement; `seen` says what was found where it is not met. A number stands for one
    /// requirement: it may have many lines, one for each case, all of them from one place in the suite.
    #[track_caller]
    pub fn line(&mut self, number: &str, requirement: &str, met: bool, seen: impl Display) {
        let here = Location::caller();
        let first = *self.places.entry(number.to_owned()).or_insert(here);
        if first != here {
            self.broken(&anyhow::anyhow!("{number} is the number of {first} already, {here} needs another"));
        }
        if met {
            self.passed += 1;
            println!("ok   {number:<5} {requirement}");
        } else {
            let line = format!("{number:<5} {requirement}");
            println!("FAIL {line}\n     seen: {seen}");
            self.failed.push(line);
        }
    }

    /// The suite itself is at fault, or could not go on.
    pub fn broken(&mut self, error: &anyhow::Error) {
        println!("FAIL the suite: {error:#}");
        self.failed.push(format!("the suite: {error:#}"));
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
