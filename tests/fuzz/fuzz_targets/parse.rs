#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "each target has one of the bodies")]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::parse(input));
