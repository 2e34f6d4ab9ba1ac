//! The one binary: `aforo dev`, `aforo config`, `aforo token`, `aforo loadtest`.

use std::process::ExitCode;

/// Sessions come and go on several threads; jemalloc gives their memory back where the system's allocator keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    aforo_node::cli::run()
}
