//! Real programs, parked and resumed ten times each under a client of their own, which sees no error and misses no
//! answer: it only waits.
//!
//! Each file is one program. A question is put while the program is parked; the answer has to come once it is
//! resumed. Figures go to standard output (`--nocapture`): medians over the rounds. By swap as well, where the
//! machine has some.

mod build;
mod java;
mod looks;
mod nginx;
mod node;
mod postgres;
mod python;
mod redis;
mod running;
mod tmux;
mod wakes;

use crate::program::{plimsoll, transcript};
use running::kill;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

const ROUNDS: usize = 10;
/// So long a program is left parked with a question before it.
const PARKED: Duration = Duration::from_millis(50);

/// Who talks to a program. An error is a panic.
trait Client: Send {
    /// Asks something that is answered at once, and waits for the answer.
    fn ask(&mut self);
    /// Has the whole state of the program checked; after each round.
    fn check(&mut self) {}
}

/// The fixture program of this name.
fn fixture(name: &str) -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.join("tests/real/programs").join(name)
}

/// A directory on a disk; `/tmp` may be memory, where stores are refused.
fn directory() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    let private = PermissionsExt::from_mode(0o700);
    builder.permissions(private).tempdir_in("/var/tmp").unwrap()
}

/// Ten rounds with the tree of `pid`, by each means that this machine has.
fn ten_rounds(program: &str, pid: u32, client: &mut dyn Client) {
    let swap = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let means: &[&str] = match swap.lines().count() {
        0 | 1 => &["store"],
        _ => &["store", "swap"],
    };
    for via in means {
        rounds(program, pid, via, client);
    }
}

fn rounds(program: &str, pid: u32, via: &str, client: &mut dyn Client) {
    let stores = directory();
    let mut figures = Vec::new();
    for _ in 0..ROUNDS {
        let parked = park(pid, via, &stores);
        let (answer_ms, resumed) = ask_and_resume(pid, client);
        client.check();
        figures.push(Round {
            park_ms: number(&parked, "took_ms"),
            answer_ms,
            back_ms: number(&resumed, "took_ms"),
            moved_bytes: number(&parked, "moved_bytes"),
            stored_bytes: number(&parked, "stored_bytes"),
        });
    }
    assert_eq!(
        std::fs::read_dir(&stores).unwrap().count(),
        0,
        "a store is left"
    );
    let median = |what: fn(&Round) -> u64| {
        let mut values: Vec<u64> = figures.iter().map(what).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    println!(
        "{program} by {via}: {ROUNDS} rounds, 0 errors, park {} ms, first answer {} ms, all back {} ms, {} bytes out, {} stored",
        median(|round| round.park_ms),
        median(|round| round.answer_ms),
        median(|round| round.back_ms),
        median(|round| round.moved_bytes),
        median(|round| round.stored_bytes),
    );
}

struct Round {
    park_ms: u64,
    answer_ms: u64,
    back_ms: u64,
    moved_bytes: u64,
    stored_bytes: u64,
}

fn number(told: &Value, field: &str) -> u64 {
    told[field].as_u64().unwrap()
}

fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{}", transcript(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn park(pid: u32, via: &str, stores: &tempfile::TempDir) -> Value {
    let mut command = plimsoll();
    command.args(["park", &pid.to_string(), "--json", "--via", via]);
    document(&command.arg("--store").arg(stores.path()).output().unwrap())
}

fn resume(pid: u32) -> Output {
    let pid = pid.to_string();
    plimsoll()
        .args(["resume", &pid, "--json"])
        .output()
        .unwrap()
}

/// Puts a question to the parked program, resumes it, and gives the time from there to the answer.
fn ask_and_resume(pid: u32, client: &mut dyn Client) -> (u64, Value) {
    let (asked, begun, output) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            client.ask();
            Instant::now()
        });
        std::thread::sleep(PARKED);
        let begun = Instant::now();
        let output = resume(pid);
        if !output.status.success() {
            kill(pid); // or the client would wait for ever
        }
        (asking.join(), begun, output)
    });
    let resumed = document(&output);
    let answer = asked
        .expect("the client saw no error")
        .saturating_duration_since(begun);
    (u64::try_from(answer.as_millis()).unwrap(), resumed)
}
