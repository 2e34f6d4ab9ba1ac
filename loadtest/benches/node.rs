//! The whole node under load, each figure beside its reference of the same run: `cargo bench -p aforo-loadtest --bench node`.
//!
//! Starts the release binary (`AFORO_BIN`, else `target/release/aforo`) anew for every run, and prints
//! a table and JSON (`AFORO_BENCH_JSON`, else `target/bench-node.json`). `AFORO_BENCH_SECONDS` sets the steady window,
//! `AFORO_BENCH_PORT` the first of the ports it uses; words after `--` choose runs by name. The floor program's two
//! sides are this same program in processes of their own, so that their CPU is theirs alone.

#[path = "node/media_rows.rs"]
mod media_rows;
#[path = "node/runs.rs"]
mod runs;
#[path = "node/server.rs"]
mod server;
#[path = "node/table.rs"]
mod table;

use std::process::ExitCode;

use anyhow::Result;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("benchmark failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    if let Some(role) = std::env::var_os(runs::ROLE_VARIABLE) {
        runs::play_role(&role.to_string_lossy())?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let found = runs::all(&wanted)?;
    let table = table::Table::of(&found);
    println!("\n{table}");
    let path = table.write_json(&found)?;
    println!("written to {}", path.display());
    Ok(if table.all_pass() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
