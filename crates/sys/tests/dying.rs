//! The surgeon is killed in the middle: the victim goes on.
//!
//! The surgeon is this very test program, started again with one ignored test, so that SIGKILL takes a whole process.

use crate::remote::{room, site, stop};
use plimsoll_sys::remote::{Calls, Room, Syscall};
use plimsoll_testkit::Victim;
use rustix::process::Pid;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

const TARGET: &str = "PLIMSOLL_TEST_TARGET";
const NET: &str = "PLIMSOLL_TEST_NET";

/// Not a test: the surgeon, calling without a pause until it is killed.
#[test]
#[ignore = "started by the other tests here"]
fn surgeon() {
    let Ok(target) = std::env::var(TARGET) else {
        return;
    };
    let pid = Pid::from_raw(target.parse().unwrap()).unwrap();
    let room = if std::env::var_os(NET).is_some() {
        room(pid)
    } else {
        Room::None
    };
    let site = site(pid);
    let stopped = stop(pid);
    stopped.hide_interruption().unwrap();
    let mut calls = Calls::begin(stopped, &site, room).unwrap();
    println!("\nready");
    loop {
        let answer = calls.call(Syscall::new(libc::SYS_getpid, []));
        answer.unwrap().unwrap();
    }
}

/// Lets a surgeon loose on the victim and kills it after `pause`.
fn kill_a_surgeon(victim: &Victim, net: bool, pause: Duration) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "dying::surgeon", "--ignored", "--nocapture"])
        .env(TARGET, victim.pid().as_raw_pid().to_string())
        .stdout(Stdio::piped());
    if net {
        command.env(NET, "1");
    }
    let mut surgeon = command.spawn().unwrap();
    let lines = BufReader::new(surgeon.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"));
    std::thread::sleep(pause);
    surgeon.kill().unwrap();
    surgeon.wait().unwrap();
}

/// Pauses of 0 to 5 ms, spread evenly.
fn pauses(rounds: u64) -> impl Iterator<Item = Duration> {
    (0..rounds).map(|round| Duration::from_nanos(round * 1_618_033 % 5_000_000))
}

/// How often the victim's main thread went to sleep.
fn switches(victim: &Victim) -> u64 {
    let pid = victim.pid().as_raw_pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).unwrap();
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn the_victim_survives_us() {
    for kind in ["work", "nanosleep", "epoll", "futex", "poll"] {
        let victim = Victim::start(kind).unwrap();
        for pause in pauses(40) {
            kill_a_surgeon(&victim, true, pause);
            // A sleep that is cut twice ends with EINTR (see `remote::frame`): let it begin another one.
            let sleeps = switches(&victim);
            while kind != "work" && switches(&victim) < sleeps + 2 {
                std::thread::sleep(Duration::from_millis(5));
                assert!(victim.is_alive(), "{kind}");
            }
        }
        victim
            .end()
            .unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

/// What the way home is good for: run by hand, it prints how many victims die without it.
#[test]
#[ignore = "a measurement"]
fn victims_lost_without_the_way_home() {
    let lost = pauses(100).filter(|pause| {
        let victim = Victim::start("work").unwrap();
        kill_a_surgeon(&victim, false, *pause);
        std::thread::sleep(Duration::from_millis(5));
        victim.end().is_err()
    });
    println!(
        "without the way home {} of 100 victims were lost",
        lost.count()
    );
}
