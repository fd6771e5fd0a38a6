//! The `throughline` program. Everything it does is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A message is many small pieces and some of a few kilobytes, taken on one thread and let go on another:
/// a quarter of the worker's time with the C library's allocator (docs/performance.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    throughline::cli::main()
}
