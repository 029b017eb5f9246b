//! A build with `make -j2` in mid-flight: what comes out is what an undisturbed one makes, byte for byte.

use super::running::Running;
use super::{Client, directory, ten_rounds};
use plimsoll_testkit::need;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

const FILES: usize = 24;
const FUNCTIONS: usize = 70;
const MAKEFILE: &str = "all: all.so\nall.so: $(patsubst %.c,%.o,$(wildcard *.c))\n\tgcc -shared -o $@ $^\n\
    %.o: %.c\n\tgcc -O2 -fPIC -c -o $@ $<\n";

/// Nobody: a build answers no questions.
struct Nobody;

impl Client for Nobody {
    fn ask(&mut self) {}
}

fn lay_out(dir: &Path) {
    std::fs::create_dir(dir).unwrap();
    std::fs::write(dir.join("Makefile"), MAKEFILE).unwrap();
    for file in 0..FILES {
        let mut text = String::from("static int t[400];\n");
        for function in 1..FUNCTIONS {
            writeln!(
                text,
                "int f{file}_{function}(int x) {{ int s = x; for (int j = 0; j < 400; j++) {{ \
                 s = s * 31 + t[j] * {function}; if (s & {file}) s ^= t[(j * {function}) % 400]; }} return s; }}",
            )
            .unwrap();
        }
        std::fs::write(dir.join(format!("f{file}.c")), text).unwrap();
    }
}

fn make(dir: &Path) -> Running {
    Running::start(Command::new("make").args(["-s", "-j2", "-C"]).arg(dir))
}

/// Names and contents of what is in a directory.
fn result(dir: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_build_in_mid_flight() {
    need!(Root, Userfaultfd, Program("make"), Program("gcc"));
    let dir = directory();
    let [alone, disturbed] = ["alone", "disturbed"].map(|name| dir.path().join(name));
    lay_out(&alone);
    lay_out(&disturbed);
    assert!(make(&alone).child.wait().unwrap().success());

    let mut make = make(&disturbed);
    ten_rounds("make and gcc", make.pid(), &mut Nobody);
    assert!(make.child.wait().unwrap().success());
    assert!(result(&alone) == result(&disturbed), "the results differ");
}
