//! CPython with numpy and threads.

use super::running::Lines;
use super::wakes::twenty_wakes;
use super::{fixture, ten_rounds};
use plimsoll_testkit::need;
use std::process::Command;

/// A victim of `numpy_threads.py` with so many MiB.
pub(super) fn start(mib: u32) -> Lines {
    let mut python = Command::new("/usr/bin/python3");
    Lines::start(python.arg(fixture("numpy_threads.py")).arg(mib.to_string()))
}

#[test]
fn numpy_and_threads() {
    need!(Root, Userfaultfd, Numpy);
    let mut python = start(256);
    ten_rounds("python, numpy", python.running.pid(), &mut python);
    twenty_wakes("python, numpy", python.running.pid(), &mut python);
}

/// What an agent is that waits for its user.
#[test]
fn a_prompt() {
    need!(Root, Userfaultfd, Program("python3"));
    let script = "import itertools\nheld = bytearray(b'x' * (100 << 20))\nprint('ready', flush=True)\nfor n in itertools.count(1): print('right' if input() == 'check' else f'ticks {n}', flush=True)";
    let mut python = Lines::start(Command::new("python3").args(["-c", script]));
    twenty_wakes("python, input()", python.running.pid(), &mut python);
}
