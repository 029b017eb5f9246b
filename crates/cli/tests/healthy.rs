//! Hosts that are well have no findings: while they build, while databases are benchmarked, while files are copied. The tests that make
//! findings run beside these, so it is asked for the kinds that such work could be mistaken for.

use crate::program::json;
use plimsoll_testkit::need;
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What work on files and memory could be taken for.
const RULES: [&str; 8] = [
    "overcommit-band",
    "commit-outside",
    "slab-unreclaimable",
    "slab-reclaimable",
    "per-cpu-lists",
    "fragmentation",
    "rss-misleads",
    "unattributed",
];

/// Work that goes on until it is dropped, in a directory of its own.
struct Work {
    dir: TempDir,
    programs: Vec<Child>,
}

impl Work {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            programs: Vec::new(),
        }
    }

    fn start(&mut self, command: &mut Command) {
        let command = command.current_dir(self.dir.path());
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn();
        self.programs.push(child.unwrap());
    }

    /// Does it again and again. The shell leads a group of its own, so that what it has just started ends with it.
    fn again_and_again(&mut self, command: &str, argument: &Path) {
        let around = format!("while :; do {command}; done");
        self.start(
            Command::new("sh")
                .args(["-c", &around])
                .arg(argument)
                .process_group(0),
        );
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        for child in &mut self.programs {
            let pid = Pid::from_child(child);
            // Fails for those that lead no group.
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Looks until the time is over, and finds nothing. What is asked for is that it holds at each look, however many there are.
fn nothing_is_found_beside(work: &Work) {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let document = json(&["explain", "--json", "--since", "1s"]);
        let findings = document["findings"].as_array().unwrap();
        let found: Vec<_> = findings
            .iter()
            .filter(|finding| RULES.iter().any(|rule| finding["id"] == *rule))
            .collect();
        assert!(found.is_empty(), "{found:?}");
    }
    assert!(!work.programs.is_empty());
}

#[test]
fn a_build() {
    need!(Program("gcc"), Program("sh"));
    let mut work = Work::new();
    let unit = "#include <stdio.h>\n#include <stdlib.h>\n#include <math.h>\nint unit(void) { return puts(\"x\"); }\n";
    std::fs::write(work.dir.path().join("unit.c"), unit).unwrap();
    work.again_and_again("gcc -O2 -c unit.c -o unit.o", Path::new("unit"));
    nothing_is_found_beside(&work);
}

#[test]
fn a_database_benchmark() {
    need!(Program("redis-server"), Program("redis-benchmark"));
    let mut work = Work::new();
    let socket = work.dir.path().join("redis");
    let server = ["--port", "0", "--save", "", "--unixsocket"];
    work.start(Command::new("redis-server").args(server).arg(&socket));
    while !socket.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let benchmark = ["-n", "100000000", "-r", "200000", "-t", "set,get", "-s"];
    work.start(Command::new("redis-benchmark").args(benchmark).arg(&socket));
    nothing_is_found_beside(&work);
}

#[test]
fn a_copy_of_files() {
    need!(Program("cp"), Program("sh"));
    let mut work = Work::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    work.again_and_again("cp -r \"$0\" copy; rm -rf copy", &sources);
    nothing_is_found_beside(&work);
}
