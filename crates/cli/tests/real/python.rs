//! CPython with numpy and threads.

use super::running::Lines;
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
}
