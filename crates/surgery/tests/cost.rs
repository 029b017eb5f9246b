//! What surgery costs the tree: measurements, run by hand.

use crate::stopping::{pid, stop};
use plimsoll_proc::Root;
use plimsoll_surgery::operate::Operation;
use plimsoll_sys::remote::Syscall;
use plimsoll_testkit::Victim;
use std::time::{Duration, Instant};

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[test]
#[ignore = "a measurement"]
fn calls_and_stops() {
    for kind in ["nanosleep", "work", "threads"] {
        let victim = Victim::start(kind).unwrap();
        let (mut stopping, mut preparing, mut calling) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..200 {
            let begun = Instant::now();
            let mut tree = stop(pid(&victim));
            stopping.push(begun.elapsed());
            let begun = Instant::now();
            let process = tree.processes.first_mut().unwrap();
            let mut operation = Operation::begin(&Root::live(), process).unwrap();
            preparing.push(begun.elapsed());
            let begun = Instant::now();
            for _ in 0..100 {
                let getpid = Syscall::new(libc::SYS_getpid, []);
                operation.call("tell its pid", getpid).unwrap();
            }
            calling.push(begun.elapsed() / 100);
        }
        let [stop, prepare, call] = [stopping, preparing, calling].map(median);
        println!("{kind}: tree stopped {stop:?}, thread prepared {prepare:?}, a call {call:?}");
        victim.end().unwrap();
    }
}
