//! Standard input, line by line.

use std::io;

use tokio::sync::mpsc;

/// Every line as it comes; closed at the end. A thread of its own reads, since reading cannot be broken off.
pub(crate) fn lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(1024);
    std::thread::spawn(move || {
        for line in io::stdin().lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
