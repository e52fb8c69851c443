//! Exit codes, and the error that carries one.

use std::fmt;

/// Everything that was asked for holds.
pub const OK: u8 = 0;
/// It failed; the text says what, why and the mend.
pub const FAILED: u8 = 1;
/// The command line was not understood (clap's own code).
pub const USAGE: u8 = 2;
/// It was done, or shown, but not everything is connected.
pub const NOT_CONNECTED: u8 = 3;

/// An error that ends the process with [`NOT_CONNECTED`] instead of [`FAILED`].
#[derive(Debug)]
pub struct NotConnected(pub String);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotConnected {}

/// The exit code of an error.
pub fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<NotConnected>() {
        NOT_CONNECTED
    } else {
        FAILED
    }
}
