//! The committed corpora of the fuzz targets (`tests/fuzz`), replayed with an ordinary compiler.

use std::fs;
use std::path::Path;

#[path = "../../../tests/fuzz/bodies.rs"]
mod bodies;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let path = entry.expect("a folder can be listed").path();
        let input = fs::read(&path).expect("the corpus can be read");
        body(&input);
        // Cut short and spoilt, each is an input of its own.
        for end in 0..input.len().min(120) {
            body(&input[..end]);
            let mut spoilt = input.clone();
            spoilt[end] ^= 0xff;
            body(&spoilt);
        }
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn every_reader_of_a_packet() {
    replay("parse", bodies::parse);
}

#[test]
fn splitting() {
    replay("segment", bodies::split);
}

#[test]
fn merging() {
    replay("coalesce", bodies::coalesce);
}
