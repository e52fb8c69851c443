//! What is sent, and what came of it.

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::ground::{Ground, Place, Running};

/// iperf3's figures of one run.
pub(crate) struct Outcome {
    /// Received, both directions together.
    pub(crate) bits_per_second: f64,
    pub(crate) bytes: f64,
    /// Received, UDP only.
    pub(crate) packets_per_second: f64,
}

/// A server that stays for the whole bench.
pub(crate) fn serve(ground: &Ground, place: Place) -> anyhow::Result<Running> {
    ground.start(place, "iperf3", &["-s", "-B", place.address()])
}

/// One run from the first place to the second.
pub(crate) fn iperf(ground: &Ground, [from, to]: [Place; 2], flags: &[&str], seconds: u32) -> anyhow::Result<Outcome> {
    let seconds = seconds.to_string();
    let fixed = ["-c", to.address(), "-B", from.address(), "-J", "-t", &seconds];
    let mut command: Command = ground.command(from, "iperf3", &[&fixed, flags].concat());
    let output = command.stderr(Stdio::null()).output().context("cannot run iperf3")?;
    let result: Value = serde_json::from_slice(&output.stdout).context("iperf3 wrote no JSON")?;
    ensure!(result["error"].is_null(), "iperf3: {}", result["error"]);
    Ok(outcome(&result["end"]))
}

fn outcome(end: &Value) -> Outcome {
    let number = |part: &str, field: &str| end[part][field].as_f64().unwrap_or(0.0);
    if end.get("sum_received").is_none() || end["sum"].get("lost_packets").is_some() {
        let (packets, lost, seconds) = (
            number("sum", "packets"),
            number("sum", "lost_packets"),
            number("sum", "seconds"),
        );
        let received = if packets > 0.0 { (packets - lost) / packets } else { 0.0 };
        return Outcome {
            bits_per_second: number("sum", "bits_per_second") * received,
            bytes: number("sum", "bytes") * received,
            packets_per_second: if seconds > 0.0 { (packets - lost) / seconds } else { 0.0 },
        };
    }
    let both = |field| number("sum_received", field) + number("sum_received_bidir_reverse", field);
    Outcome {
        bits_per_second: both("bits_per_second"),
        bytes: both("bytes"),
        packets_per_second: 0.0,
    }
}

/// Round trips of small datagrams, one after the other with this pause between them, in microseconds. A lost one is not counted.
pub(crate) fn round_trips(
    ground: &Ground,
    [from, to]: [Place; 2],
    length: Duration,
    pause: Duration,
) -> anyhow::Result<Vec<f64>> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let echo = scope.spawn(|| {
            ground.enter(to)?;
            let socket = UdpSocket::bind((to.address(), ECHO_PORT))?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            // The receiver waits for this, or for the end of this thread.
            let _ = ready.send(());
            drop(ready);
            let mut datagram = [0; 64];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((len, sender)) = socket.recv_from(&mut datagram) {
                    // A lost answer is the sender's to notice.
                    let _ = socket.send_to(&datagram[..len], sender);
                }
            }
            anyhow::Ok(())
        });
        let ping = scope.spawn(|| {
            ground.enter(from)?;
            ask(from, to, length, pause)
        });
        // An echo that failed to start is reported below.
        let _ = is_ready.recv();
        let samples = ping.join().expect("the pinger does not panic");
        stop.store(true, Ordering::Relaxed);
        echo.join().expect("the echo does not panic")?;
        samples
    })
}

fn ask(from: Place, to: Place, length: Duration, pause: Duration) -> anyhow::Result<Vec<f64>> {
    let socket = UdpSocket::bind((from.address(), 0))?;
    socket.connect((to.address(), ECHO_PORT))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let (begin, mut samples, mut answer) = (Instant::now(), Vec::new(), [0; 64]);
    for count in 0u64.. {
        if begin.elapsed() >= length {
            break;
        }
        let sent = Instant::now();
        let question = count.to_be_bytes();
        // Errors of an earlier datagram are reported by the next call: not this one's.
        let _ = socket.send(&question);
        while let Ok(len) = socket.recv(&mut answer) {
            if answer[..len] == question {
                samples.push(sent.elapsed().as_secs_f64() * 1e6);
                break;
            }
        }
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
    Ok(samples)
}

/// Long enough that cores and whoever waits for packets have gone to sleep.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);
const ECHO_PORT: u16 = 4599;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_are_of_what_was_received() {
        let tcp = json!({"sum_received": {"bits_per_second": 2e9, "bytes": 5e8}, "sum_received_bidir_reverse": {"bits_per_second": 1e9, "bytes": 1e8}});
        let tcp = outcome(&tcp);
        assert_eq!((tcp.bits_per_second, tcp.bytes), (3e9, 6e8));
        let udp = json!({"sum": {"packets": 1000, "lost_packets": 250, "seconds": 2.0, "bits_per_second": 100.0, "bytes": 40}});
        let udp = outcome(&udp);
        assert_eq!(
            (udp.packets_per_second, udp.bits_per_second, udp.bytes),
            (375.0, 75.0, 30.0)
        );
    }
}
