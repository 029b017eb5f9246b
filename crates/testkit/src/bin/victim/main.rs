//! A program that surgery is tried on: it does one thing, over and over, and checks that it went as if nobody
//! had touched it. Or it holds memory of one kind, to be looked for, and may be told how much: `victim KIND [PART]`
//! (see [`hold`]). Or it is one of many on a host of agents (see [`agent`], [`pulse`] and [`rounds`]).
//!
//! `victim KIND` writes `ready`, does its thing until its standard input ends, then writes `ok` and a count and
//! exits 0. At the first sign of interference it says what it saw and exits 1.

mod agent;
mod hold;
mod kinds;
mod lineage;
mod memory;
mod pulse;
mod rounds;
mod sleeps;
mod work;

use plimsoll_sys::restartable::{Outcome, Restartable};
use plimsoll_sys::{seccomp, signal};
use std::io::Read;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a victim does once: how often it did it counts.
type Act = Box<dyn FnMut() -> Result<(), String>>;

static ENDING: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_default();
    if let Some(ended) = agent::run(&kind, &mut arguments) {
        return match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        };
    }
    if let Some(take) = hold::kind(&kind) {
        let part = arguments.next().unwrap_or_else(|| "1".to_owned());
        let Some(part) = hold::Part::parse(&part) else {
            return fail(&format!("no part of anything: {part:?}"));
        };
        return match hold::hold(take, part) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string()),
        };
    }
    let act = match act(&kind) {
        Ok(act) => act,
        Err(error) => return fail(&error),
    };
    // This thread sleeps in read(2) all the while: one more state that surgery has to leave alone.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        ENDING.store(true, Ordering::Relaxed);
    });
    println!("ready");
    match repeat(act) {
        Ok(count) => {
            println!("ok {count} signals {}", signal::counted());
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn act(kind: &str) -> Result<Act, String> {
    Ok(match kind {
        "nanosleep" => Box::new(sleeps::nanosleep),
        "futex" => Box::new(sleeps::futex),
        "poll" => Box::new(sleeps::poll()?),
        "epoll" => Box::new(sleeps::epoll()?),
        "signals" => {
            signal::count(libc::SIGUSR1).map_err(|error| error.to_string())?;
            Box::new(sleeps::nanosleep_through_signals)
        }
        "rseq" => Box::new(sequences()?),
        "work" => Box::new(work::checked()),
        "heir" => Box::new(lineage::lineage(1)?),
        "kinds" => Box::new(kinds::kinds()?),
        "lineage" => Box::new(lineage::lineage(4)?),
        "memory" => Box::new(memory::memory()?),
        "family" => Box::new(memory::family()?),
        "large" => Box::new(work::large()),
        "threads" => Box::new(work::threads()),
        "forks" => Box::new(work::forks),
        "seccomp" => {
            seccomp::deny(libc::SYS_getppid).map_err(|error| error.to_string())?;
            Box::new(sleeps::nanosleep)
        }
        _ => return Err(format!("no such victim: {kind:?}")),
    })
}

/// A victim whose act is one restartable sequence.
fn sequences() -> Result<impl FnMut() -> Result<(), String>, String> {
    let restartable = Restartable::new().ok_or("this C library registers no rseq area")?;
    Ok(move || match restartable.run() {
        Outcome::CommittedLate => Err("a restartable sequence went on after a stop".to_owned()),
        Outcome::Committed | Outcome::Aborted => Ok(()),
    })
}

fn repeat(mut act: Act) -> Result<u64, String> {
    let mut count = 0;
    while !ENDING.load(Ordering::Relaxed) {
        act()?;
        count += 1;
    }
    Ok(count)
}

fn fail(error: &str) -> ExitCode {
    eprintln!("victim: {error}");
    ExitCode::FAILURE
}
