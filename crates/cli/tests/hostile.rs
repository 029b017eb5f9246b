//! `plimsoll look` on a host whose processes mean ill, or come and go faster than they can be read: it never
//! fails, never shows what could steer a terminal, and never loses a process or group that lives through the look.

use crate::look::assert_closes;
use crate::program::{json, plimsoll, transcript};
use plimsoll_testkit::{OwnGroup, need};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// Maps files with the names it is given, cuts a mapping into 10,000, and takes a name that no line can hold.
const VICTIM: &str = r"
import ctypes, mmap, os, sys
held = []
for name in sys.argv[1:]:
    with open(os.fsencode(name), 'xb+') as file:
        file.truncate(65536)
        held.append(mmap.mmap(file.fileno(), 65536))
        held[-1][0] = 1
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
page = mmap.PAGESIZE
start = libc.mmap(None, ctypes.c_size_t(10000 * page), 3, 0x22, -1, ctypes.c_size_t(0))
for number in range(0, 10000, 2):
    if libc.mprotect(ctypes.c_void_p(start + number * page), ctypes.c_size_t(page), 1) != 0:
        sys.exit('mprotect: ' + os.strerror(ctypes.get_errno()))
libc.prctl(15, b'x\n\x1b[31m) R 1\xff', 0, 0, 0)
print('ready', flush=True)
sys.stdin.read()
";

/// Killed, and its files removed, when the test ends.
struct Victim<'n> {
    child: Child,
    files: [&'n Path; 3],
}

impl<'n> Victim<'n> {
    fn start(files: [&'n Path; 3]) -> Self {
        let child = Command::new("python3")
            .args(["-c", VICTIM])
            .args(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut victim = Self { child, files };
        let mut line = String::new();
        let stdout = victim.child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        victim
    }
}

impl Drop for Victim<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for file in self.files {
            let _ = std::fs::remove_file(file); // where it was never made
        }
    }
}

#[test]
fn names_that_mean_ill() {
    need!(Root, Program("python3"));
    let dir = tempfile::tempdir().unwrap();
    let odd = |name: &[u8]| dir.path().join(OsStr::from_bytes(name));
    let forged = odd(b"a\n7f0000000000-7f0000001000 rw-p 00000000 00:00 0 [heap]\nVmFlags: ac\n");
    let deleted = odd(b"\xff\xfe\x1b[2J (deleted)");
    let sysv = Path::new("/SYSVx");
    assert!(!sysv.exists(), "not ours");
    let victim = Victim::start([sysv, &forged, &deleted]);
    let pid = victim.child.id();
    let mappings = std::fs::read(format!("/proc/{pid}/maps")).unwrap();
    assert!(mappings.split(|&byte| byte == b'\n').count() > 10_000);

    let look = json(&["look", "--json"]);
    assert_closes(&look);
    let processes = look["processes"].as_array().unwrap();
    assert!(processes.iter().any(|process| process["pid"] == pid));
    json(&["look", "commit", "--json"]);

    for view in ["processes", "commit", "groups", &pid.to_string()] {
        let output = plimsoll().args(["look", view]).output().unwrap();
        assert!(output.status.success(), "{view}: {}", transcript(&output));
        let shown = std::str::from_utf8(&output.stdout).unwrap();
        let steers = |c: &char| c.is_control() && *c != '\n';
        assert_eq!(shown.chars().find(steers), None, "{view}: {shown:?}");
    }
}

#[test]
fn processes_that_come_and_go_hide_none_that_stays() {
    let stop = AtomicBool::new(false);
    let sleep = || Command::new("sleep").arg("1000").spawn().unwrap();
    let mut staying: Vec<Child> = (0..50).map(|_| sleep()).collect();
    let pids: HashSet<u64> = staying.iter().map(|child| child.id().into()).collect();
    let looks: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let script = "n=0; while [ $n -lt 100 ]; do \
                for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do \
                true | true & done; wait; n=$((n + 1)); done";
            let churned = Command::new("sh").args(["-c", script]).status();
            stop.store(true, Ordering::Relaxed);
            assert!(churned.unwrap().success());
        });
        let looks = std::iter::from_fn(|| {
            let go_on = !stop.load(Ordering::Relaxed);
            go_on.then(|| plimsoll().args(["look", "--json"]).output().unwrap())
        });
        looks.collect()
    });
    for child in &mut staying {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(!looks.is_empty());
    for output in &looks {
        assert!(output.status.success(), "{}", transcript(output));
        let look: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_closes(&look);
        let seen = look["processes"].as_array().unwrap().iter();
        let seen: HashSet<u64> = seen.filter_map(|process| process["pid"].as_u64()).collect();
        let lost: Vec<_> = pids.difference(&seen).collect();
        assert!(lost.is_empty(), "lost {lost:?} of {}", seen.len());
    }
}

#[test]
fn groups_that_come_and_go_hide_none_that_stays() {
    need!(Root, CgroupV1Memory);
    let group = OwnGroup::v1("memory", "look").unwrap();
    let _staying = group.child("staying").unwrap();
    let stop = AtomicBool::new(false);
    let looks: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let parent = group.child("comes-and-goes").unwrap();
                let _child = parent.child("deeper").unwrap();
            }
        });
        let looks = (0..10).map(|_| plimsoll().args(["look", "--json"]).output());
        let looks = looks.collect();
        stop.store(true, Ordering::Relaxed);
        looks
    });
    for output in looks {
        let output = output.unwrap();
        assert!(output.status.success(), "{}", transcript(&output));
        let look: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let groups = look["groups"].as_array().unwrap();
        let mut paths = groups.iter().filter_map(|group| group["path"].as_str());
        assert!(paths.any(|path| path.ends_with("look/staying")));
    }
}
