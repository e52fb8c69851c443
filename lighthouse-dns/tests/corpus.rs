//! The committed corpus of the fuzz target `dns` (`tests/fuzz`), replayed with an ordinary compiler.

use std::fs;
use std::path::Path;

#[path = "../../tests/fuzz/dns_body.rs"]
mod dns_body;

#[test]
fn queries() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/dns");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let path = entry.expect("a folder can be listed").path();
        let input = fs::read(&path).expect("the corpus can be read");
        dns_body::query(&input);
        // Cut short and spoilt, each is an input of its own.
        for end in 0..input.len() {
            dns_body::query(&input[..end]);
            for spoil in [0x01, 0x80, 0xc0, 0xff] {
                let mut spoilt = input.clone();
                spoilt[end] ^= spoil;
                dns_body::query(&spoilt);
            }
        }
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}
