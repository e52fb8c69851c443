#![no_main]

#[path = "../dns_body.rs"]
mod dns_body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| dns_body::query(input));
