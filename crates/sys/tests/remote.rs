//! Remote calls in threads of every state: the victim must not notice.

use plimsoll_sys::ptrace::{Event, Options, Queue, Running, Stop, Stopped};
use plimsoll_sys::remote::{Calls, Room, Site, Syscall};
use plimsoll_sys::{Span, vm};
use plimsoll_testkit::Victim;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

const OPTIONS: Options = Options::SYSGOOD.union(Options::EXEC);

fn mappings(pid: Pid, wanted: impl Fn(&str) -> bool) -> Vec<Span> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", pid.as_raw_pid())).unwrap();
    let address = |text| u64::from_str_radix(text, 16).unwrap();
    let mut spans: Vec<_> = maps
        .lines()
        .filter(|line| wanted(line))
        .map(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            Span {
                start: address(start),
                end: address(end),
            }
        })
        .collect();
    spans.reverse();
    spans
}

pub(crate) fn site(pid: Pid) -> Site {
    let executable = |line: &str| line.contains("r-xp") && !line.contains("vsyscall");
    Site::find(pid, mappings(pid, executable)).unwrap()
}

pub(crate) fn room(pid: Pid) -> Room {
    let stack = mappings(pid, |line| line.ends_with("[stack]"));
    Room::Stack(stack.first().unwrap().start)
}

pub(crate) fn stop(pid: Pid) -> Stopped {
    let running = Running::seize(pid, OPTIONS).unwrap();
    match running.stop(Duration::from_secs(10), drop).unwrap() {
        Stop::Stopped(stopped) => stopped,
        other => panic!("not stopped: {other:?}"),
    }
}

/// Takes the victim's main thread `rounds` times, has it execute getpid, and lets it go.
fn getpid_rounds(victim: &Victim, rounds: u32) {
    let pid = victim.pid();
    let (site, room) = (site(pid), room(pid));
    for _ in 0..rounds {
        let stopped = stop(pid);
        stopped.hide_interruption().unwrap();
        let mut calls = Calls::begin(stopped, &site, room).unwrap();
        assert!(calls.survives_us());
        let answer = calls.call(Syscall::new(libc::SYS_getpid, [])).unwrap();
        assert_eq!(answer, Ok(pid.as_raw_pid().unsigned_abs().into()));
        calls.finish().unwrap().detach().unwrap();
    }
}

#[test]
fn sleeps_go_on_as_if_nothing_had_been() {
    for kind in ["nanosleep", "futex", "poll", "epoll", "work"] {
        let victim = Victim::start(kind).unwrap();
        getpid_rounds(&victim, 1000);
        victim
            .end()
            .unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

#[test]
fn after_calls_in_a_row_a_thread_goes_on_as_if_nothing_had_been() {
    for kind in ["nanosleep", "futex", "poll", "epoll", "work"] {
        let victim = Victim::start(kind).unwrap();
        let pid = victim.pid();
        let (site, room) = (site(pid), room(pid));
        for round in 0..300 {
            let stopped = stop(pid);
            stopped.hide_interruption().unwrap();
            let mut calls = Calls::begin(stopped, &site, room).unwrap().in_a_row();
            for _ in 0..round % 4 {
                let answer = calls.call(Syscall::new(libc::SYS_getpid, [])).unwrap();
                assert_eq!(answer, Ok(pid.as_raw_pid().unsigned_abs().into()));
            }
            calls.finish().unwrap().detach().unwrap();
        }
        victim
            .end()
            .unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

#[test]
fn signals_that_arrive_meanwhile_are_neither_lost_nor_doubled() {
    signals_arrive(|calls| calls);
}

#[test]
fn signals_that_arrive_between_calls_in_a_row_are_neither_lost_nor_doubled() {
    signals_arrive(Calls::in_a_row);
}

/// Signals come before the first of two calls and between them.
fn signals_arrive(prepared: fn(Calls) -> Calls) {
    let victim = Victim::start("signals").unwrap();
    let pid = victim.pid();
    let (site, room) = (site(pid), room(pid));
    let mut sent = 0;
    while sent < 500 {
        let stopped = stop(pid);
        // The last one may not have been taken yet, and two of a kind are one.
        let taken = stopped.pending(Queue::Process).unwrap().is_empty();
        let mut calls = prepared(Calls::begin(stopped, &site, room).unwrap());
        let when = sent % 2;
        for call in 0..2 {
            if taken && call == when {
                kill_process(pid, Signal::USR1).unwrap();
                sent += 1;
            }
            calls
                .call(Syscall::new(libc::SYS_getpid, []))
                .unwrap()
                .unwrap();
        }
    }
    let words = victim.end().unwrap();
    assert!(words.ends_with("signals 500\n"), "{words}");
}

fn is_stopped(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap();
    stat.contains(") T ")
}

#[test]
fn job_control_stays_as_it_was() {
    let victim = Victim::start("nanosleep").unwrap();
    let pid = victim.pid();
    kill_process(pid, Signal::STOP).unwrap();
    while !is_stopped(pid) {
        std::thread::yield_now();
    }
    for _ in 0..100 {
        let stopped = stop(pid);
        assert_eq!(stopped.event(), Event::GroupStop(libc::SIGSTOP));
        let mut calls = Calls::begin(stopped, &site(pid), room(pid)).unwrap();
        calls
            .call(Syscall::new(libc::SYS_getpid, []))
            .unwrap()
            .unwrap();
        calls.finish().unwrap().detach().unwrap();
    }
    while !is_stopped(pid) {
        std::thread::yield_now(); // let go, it stops again by itself
    }
    kill_process(pid, Signal::CONT).unwrap();
    victim.end().unwrap();
}

/// In `r13` of the victim `rseq` while its sequence runs; `r12` is the address of its epoch then.
const IN_SEQUENCE: u64 = 0x706c_696d_736f_6c6c;

#[test]
fn restartable_sequences_are_aborted() {
    let victim = Victim::start("rseq").unwrap();
    let pid = victim.pid();
    let (site, room) = (site(pid), room(pid));
    let mut cut = 0u64;
    while cut < 200 {
        let stopped = stop(pid);
        let registers = stopped.registers().unwrap();
        if registers.r13 == IN_SEQUENCE {
            cut += 1;
            vm::write(pid, registers.r12, &cut.to_ne_bytes()).unwrap();
        }
        let mut calls = Calls::begin(stopped, &site, room).unwrap();
        calls
            .call(Syscall::new(libc::SYS_getpid, []))
            .unwrap()
            .unwrap();
    }
    victim.end().unwrap();
}
