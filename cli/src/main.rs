//! The `tombolo` binary; everything is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// The embedded API server makes and drops trees of JSON all the time: see `docs/decisions/0006-an-allocator.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
