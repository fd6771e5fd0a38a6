//! The `throughline` program. Everything it does is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A message makes many small allocations and some of a few kilobytes, freed on another thread: with the
/// C library's allocator they take a quarter of the worker's time (docs/performance.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    throughline::cli::main()
}
