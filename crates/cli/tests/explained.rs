//! `plimsoll explain` on the host that the tests run on: what is made is found. Thresholds are parts of RAM: what is made here is
//! enough on hosts of up to 32 GiB.

use crate::program::{json, plimsoll, transcript};
use plimsoll_sys::sysv_shm::Segment;
use plimsoll_testkit::need;
use plimsoll_testkit::victim::Victim;
use plimsoll_units::Bytes;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::SystemTime;

const MIB: u64 = 1 << 20;

/// The findings of a rule.
fn findings(rule: &str, arguments: &[&str]) -> Vec<Value> {
    let document = json(&[&["explain", "--json"], arguments].concat());
    let findings = document["findings"].as_array().unwrap();
    let of_rule = findings.iter().filter(|finding| finding["id"] == rule);
    of_rule.cloned().collect()
}

/// The one finding of a rule, about this much at least.
fn finding(rule: &str, bytes: u64) -> Value {
    let mut findings = findings(rule, &[]);
    let finding = findings
        .pop()
        .unwrap_or_else(|| panic!("{rule} finds nothing"));
    assert!(finding["bytes"].as_u64().unwrap() >= bytes, "{finding}");
    finding
}

fn evidence(finding: &Value) -> String {
    finding["evidence"].to_string()
}

#[test]
fn every_rule_says_what_came_of_it() {
    let document = json(&["explain", "--json"]);
    assert_eq!(document["schema"], "plimsoll.explain/1");
    let rules = document["rules"].as_array().unwrap();
    assert!(rules.len() > 20, "{}", rules.len());
    for rule in rules {
        let needs_two = ["slab-growth", "process-growth"].contains(&rule["id"].as_str().unwrap());
        if needs_two {
            assert_eq!(rule["outcome"], "not_seen", "{rule}");
        }
    }
    let people = plimsoll().arg("explain").output().unwrap();
    assert!(
        people.status.success() && people.stderr.is_empty(),
        "{}",
        transcript(&people)
    );
}

#[test]
fn an_orphaned_segment() {
    need!(Root);
    let segment = Segment::create(64 << 20).unwrap();
    segment.fill(7).unwrap();
    let found = findings("orphaned-segments", &[]);
    segment.remove().unwrap();
    let name = format!("shmid {}:", segment.shmid());
    assert!(evidence(&found[0]).contains(&name), "{found:?}");
    let gone = findings("orphaned-segments", &[]);
    assert!(
        gone.iter()
            .all(|finding| !evidence(finding).contains(&name))
    );
}

#[test]
fn a_deleted_file_of_a_tmpfs() {
    need!(Root, MemoryFree(Bytes(2 << 30)));
    let path = format!("/dev/shm/plimsoll-explained-{}", std::process::id());
    let mut file = File::create_new(&path).unwrap();
    fs::remove_file(&path).unwrap();
    for _ in 0..340 {
        file.write_all(&vec![1; 1 << 20]).unwrap();
    }
    let found = finding("deleted-tmpfs-files", 340 * MIB);
    assert!(evidence(&found).contains(&path), "{found}");
}

#[test]
fn pipes_that_nobody_reads() {
    need!(Root, MemoryFree(Bytes(1 << 30)));
    let victim = Victim::start("pipes").unwrap();
    finding("pipe-buffers", victim.held_bytes().unwrap() / 10 * 9);
    victim.end().unwrap();
}

#[test]
fn sockets_that_nobody_reads() {
    need!(Root, MemoryFree(Bytes(2 << 30)));
    let victim = Victim::start_part("unix-pairs", 4).unwrap();
    finding("socket-buffers", victim.held_bytes().unwrap() / 10 * 8);
    victim.end().unwrap();
}

#[test]
fn names_of_files_that_are_not_there() {
    need!(Root, MemoryFree(Bytes(1 << 30)));
    let victim = Victim::start("negative-dentries").unwrap();
    let found = finding("negative-dentries", victim.held_bytes().unwrap() / 10 * 9);
    assert!(
        evidence(&found).contains("/proc/sys/fs/dentry-state"),
        "{found}"
    );
    victim.end().unwrap();
}

/// A program that takes some mebibytes at each line of its input.
struct Grower {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Grower {
    fn start() -> Self {
        let program = "import sys\nheld = []\nfor line in sys.stdin:\n    held.append(b'x' * (int(line) << 20))\n    print('grown', flush=True)\n";
        let mut child = Command::new("python3")
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    fn grow(&mut self, mib: u64) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{mib}").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, "grown\n");
    }
}

impl Drop for Grower {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn a_process_that_grew_between_two_looks() {
    need!(Root, Program("python3"), MemoryFree(Bytes(4 << 30)));
    let mut grower = Grower::start();
    grower.grow(10);
    let scratch = tempfile::tempdir().unwrap();
    let earlier = scratch.path().join("earlier");
    let earlier = earlier.to_str().unwrap();
    json(&["capture", "--json", earlier]);
    grower.grow(1_000);
    // The tree says in whole seconds when it was captured.
    let second = || {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    let captured = second();
    while second() <= captured + 1 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let found = findings("process-growth", &["--since", earlier]);
    let pid = format!("pid {},", grower.child.id());
    let ours = found
        .iter()
        .find(|finding| finding["title"].as_str().unwrap().contains(&pid));
    let ours = ours.unwrap_or_else(|| panic!("{found:?}"));
    assert!(ours["bytes"].as_u64().unwrap() >= 990 * MIB, "{ours}");
    assert_eq!(
        findings("process-growth", &["--root", earlier]),
        [] as [Value; 0]
    );
}

#[test]
fn a_captured_host_is_explained_as_it_was() {
    need!(Root);
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("host");
    let tree = tree.to_str().unwrap();
    json(&["capture", "--json", tree]);
    let now = json(&["explain", "--json", "--root", tree]);
    assert!(now["rules"].as_array().unwrap().iter().all(|rule| {
        rule["outcome"] != "not_seen" || rule["why"].as_str().unwrap().contains("two looks")
    }));
    let overcommit = json(&["explain", "overcommit", "--json", "--root", tree]);
    assert_eq!(overcommit["schema"], "plimsoll.explain-overcommit/1");
    let promised = overcommit["promised_bytes"].as_i64().unwrap();
    let deliverable = overcommit["deliverable_bytes"].as_i64().unwrap();
    assert_eq!(
        overcommit["band_bytes"].as_i64().unwrap(),
        promised - deliverable
    );
}
