//! What a parked process looks like from outside: its memory is gone, and nothing else. The account of the host's
//! memory is in `quiet`.

use super::python;
use super::running::Lines;
use super::{directory, document, number, park, resume};
use plimsoll_proc::zoneinfo::Zoneinfo;
use plimsoll_testkit::need;
use plimsoll_units::{Bytes, PageSize};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::collections::BTreeMap;
use std::process::Command;

/// The line of `/proc/PID/smaps_rollup` or `/proc/meminfo` with this name.
fn bytes_of(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib: u64 = line
        .unwrap()
        .trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse()
        .unwrap();
    kib * 1024
}

fn anonymous_bytes(pid: u32) -> u64 {
    bytes_of(&format!("/proc/{pid}/smaps_rollup"), "Anonymous:")
}

fn descriptors(pid: u32) -> BTreeMap<i32, String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let entries = entries.map(|entry| {
        let path = entry.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let target = std::fs::read_link(&path).unwrap();
        (number, target.display().to_string())
    });
    entries.collect()
}

fn said_by(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `ps`, `top` and `ss` say of a process, without what counts its memory and time.
fn appearance(python: &Lines) -> [String; 3] {
    let pid = python.running.pid().to_string();
    let port = python.ready.strip_prefix("ready ").unwrap();
    let columns = "pid,ppid,pgid,sid,tty,user,ni,pri,nlwp,vsz,lstart,comm,args";
    let top = said_by("top", &["-b", "-n1", "-w", "200", "-p", &pid]);
    let fields = top.lines().last().unwrap().split_ascii_whitespace();
    let kept = fields
        .enumerate()
        .filter(|(column, _)| matches!(column, 0..=4 | 11..));
    [
        said_by("ps", &["-o", columns, "-p", &pid]),
        kept.map(|(_, field)| format!("{field} ")).collect(),
        said_by("ss", &["-Htlnpe", &format!("sport = :{port}")]),
    ]
}

#[test]
fn tools_show_it_as_before() {
    need!(
        Root,
        Userfaultfd,
        Numpy,
        Program("ps"),
        Program("top"),
        Program("ss")
    );
    let mut python = python::start(64);
    let pid = python.running.pid();
    let stores = directory();
    let (looked, held) = (appearance(&python), descriptors(pid));

    park(pid, "store", &stores);
    assert_eq!(appearance(&python), looked);
    // One descriptor is ours, and shows: `docs/store-format.md` calls it the process's userfaultfd.
    let mut parked = descriptors(pid);
    let (_, ours) = parked.pop_last().unwrap();
    assert_eq!(ours, "anon_inode:[userfaultfd]");
    assert_eq!(parked, held);

    document(&resume(pid));
    assert_eq!(descriptors(pid), held);
    assert_eq!(python.answer("check"), "right");
}

#[test]
fn its_parent_sees_nothing() {
    need!(Root, Userfaultfd, Numpy, CgroupV2);
    let python = python::start(64);
    let pid = python.running.pid();
    let stores = directory();
    let name = WaitId::Pid(Pid::from_child(&python.running.child));
    let seen = std::thread::spawn(move || {
        let any = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::EXITED;
        waitid(name, any | WaitIdOptions::NOWAIT).unwrap().unwrap()
    });
    for _ in 0..3 {
        let parked = park(pid, "store", &stores);
        assert_ne!(parked["frozen_by"], "sigstop");
        document(&resume(pid));
    }
    assert!(!seen.is_finished(), "{:?}", seen.join());
    drop(python);
    assert!(
        seen.join().unwrap().killed(),
        "something came before its end"
    );
}

mod quiet {
    use super::*;

    /// Of the anonymous memory, at least so much leaves.
    const LEAVES_PERCENT: f64 = 97.0;
    /// The host's available memory rises by as much, give or take this.
    const AGREES_PERCENT: f64 = 2.0;

    /// `MemAvailable`, and what CPUs keep at hand on lists of their own: free as well, but not counted in it.
    fn available() -> u64 {
        let zoneinfo = Zoneinfo::parse(&std::fs::read("/proc/zoneinfo").unwrap());
        let page = PageSize::new(rustix::param::page_size() as u64).unwrap();
        let lists = zoneinfo.per_cpu_lists().unwrap().bytes(page);
        bytes_of("/proc/meminfo", "MemAvailable:") + lists.get()
    }

    #[test]
    fn a_gibibyte_leaves() {
        need!(Root, Userfaultfd, Numpy, MemoryFree(Bytes::from_mib(3072)));
        let mut python = python::start(1024);
        let pid = python.running.pid();
        let stores = directory();
        let mut off = Vec::new();
        for _ in 0..3 {
            let before = anonymous_bytes(pid);
            let before_parking = available();
            let parked = park(pid, "store", &stores);
            let risen = available().saturating_sub(before_parking);
            let left = before - anonymous_bytes(pid);
            document(&resume(pid));
            assert_eq!(python.answer("check"), "right");
            let share = percent(left, before);
            let agrees = percent(risen, left);
            println!(
                "{share:.2} % of {before} bytes left ({} moved), available rose by {agrees:.2} % of it",
                number(&parked, "moved_bytes"),
            );
            assert!(share >= LEAVES_PERCENT, "{share}");
            off.push((agrees - 100.0).abs());
        }
        off.sort_unstable_by(f64::total_cmp);
        assert!(off[1] <= AGREES_PERCENT, "{off:?}");
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn percent(part: u64, whole: u64) -> f64 {
        part as f64 / whole as f64 * 100.0
    }
}
