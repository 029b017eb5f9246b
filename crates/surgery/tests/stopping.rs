//! Trees stopped, operated on and let go: the victim must not notice.

use plimsoll_proc::Root;
use plimsoll_surgery::operate::{OperateError, Operation};
use plimsoll_surgery::stop::StoppedTree;
use plimsoll_surgery::tree::Extent;
use plimsoll_sys::remote::Syscall;
use plimsoll_testkit::{Victim, need};
use std::time::Duration;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn stop(pid: u32) -> StoppedTree {
    StoppedTree::stop(&Root::live(), pid, Extent::Whole, PATIENCE).unwrap()
}

pub(crate) fn pid(victim: &Victim) -> u32 {
    victim.pid().as_raw_pid().unsigned_abs()
}

fn rounds(kind: &str, rounds: u32) {
    let victim = Victim::start(kind).unwrap();
    for _ in 0..rounds {
        let mut tree = stop(pid(&victim));
        let first = tree.processes.first_mut().unwrap();
        let mut operation = Operation::begin(&Root::live(), first).unwrap();
        assert!(operation.survives_us());
        let answer = operation.call("tell its pid", Syscall::new(libc::SYS_getpid, []));
        assert_eq!(answer.unwrap(), u64::from(pid(&victim)));
        drop(operation);
        tree.release();
    }
    victim
        .end()
        .unwrap_or_else(|error| panic!("{kind}: {error}"));
}

#[test]
fn threads_all_stand_and_all_go_on() {
    rounds("threads", 100);
}

#[test]
fn children_born_meanwhile_are_caught() {
    rounds("forks", 100);
}

#[test]
fn sleepers_sleep_on() {
    for kind in ["epoll", "futex", "poll", "signals"] {
        rounds(kind, 100);
    }
}

#[test]
fn arguments_pass_through_memory_of_our_own() {
    let victim = Victim::start("work").unwrap();
    let maps = || std::fs::read_to_string(format!("/proc/{}/maps", pid(&victim))).unwrap();
    let mut tree = stop(pid(&victim));
    let before = maps();
    let mut operation =
        Operation::begin(&Root::live(), tree.processes.first_mut().unwrap()).unwrap();
    let at = operation.argument(&[0; 390]).unwrap();
    operation
        .call("name its kernel", Syscall::new(libc::SYS_uname, [at]))
        .unwrap();
    let mut name = [0; 5];
    operation.answer(&mut name).unwrap();
    assert_eq!(&name, b"Linux");
    let refused = operation.call("close nothing", Syscall::new(libc::SYS_close, [u64::MAX]));
    assert!(matches!(refused, Err(OperateError::Refused { .. })));
    drop(operation);
    assert!(before == maps(), "a mapping was left behind");
    tree.release();
    victim.end().unwrap();
}

#[test]
fn a_thread_on_another_stack_has_a_way_home_too() {
    let victim = Victim::start("threads").unwrap();
    let maps = || std::fs::read_to_string(format!("/proc/{}/maps", pid(&victim))).unwrap();
    for _ in 0..20 {
        let mut tree = stop(pid(&victim));
        let before = maps();
        let process = tree.processes.first_mut().unwrap();
        let leader = process.threads.remove(0);
        let mut operation = Operation::begin(&Root::live(), process).unwrap();
        assert!(operation.survives_us());
        let answer = operation.call("tell its pid", Syscall::new(libc::SYS_getpid, []));
        assert_eq!(answer.unwrap(), u64::from(pid(&victim)));
        drop(operation);
        assert!(before == maps(), "a mapping was left behind");
        process.threads.insert(0, leader);
        tree.release();
    }
    victim.end().unwrap();
}

#[test]
fn filters_sleep_while_we_call_and_wake_after() {
    need!(Root);
    let victim = Victim::start("seccomp").unwrap();
    let getppid = Syscall::new(libc::SYS_getppid, []);
    for _ in 0..20 {
        let mut tree = stop(pid(&victim));
        let mut operation =
            Operation::begin(&Root::live(), tree.processes.first_mut().unwrap()).unwrap();
        operation.call("tell its parent", getppid).unwrap();
        drop(operation);
        tree.release();
    }
    // The filter is there: a call made without putting it to sleep is denied.
    let mut tree = stop(pid(&victim));
    let process = tree.processes.first_mut().unwrap();
    let thread = process.threads.remove(0);
    let vdso = std::fs::read_to_string(format!("/proc/{}/maps", pid(&victim))).unwrap();
    let line = vdso.lines().find(|line| line.ends_with("[vdso]")).unwrap();
    let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    let address = |text| u64::from_str_radix(text, 16).unwrap();
    let span = plimsoll_sys::Span {
        start: address(start),
        end: address(end),
    };
    let site = plimsoll_sys::remote::Site::find(victim.pid(), [span]).unwrap();
    let mut calls =
        plimsoll_sys::remote::Calls::begin(thread, &site, plimsoll_sys::remote::Room::None)
            .unwrap();
    assert_eq!(calls.call(getppid).unwrap(), Err(rustix::io::Errno::NOSYS));
    drop((calls, tree));
    victim.end().unwrap();
}
