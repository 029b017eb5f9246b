//! `checkpoint`, `restore` and the `criu` door, as people and CRIU's callers meet them.

use crate::program::{json, plimsoll, run, transcript};
use plimsoll_testkit::{apart, need};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that counts into a file, once a turn.
struct Counter {
    dir: tempfile::TempDir,
    pid: u32,
    child: Option<Child>,
}

impl Counter {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = "i=0; while :; do i=$((i+1)); echo $i >> counts; sleep 0.01; done";
        let child = Command::new("setsid")
            .args(["/bin/bash", "-c", script])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let counter = Self {
            pid: child.id(),
            dir,
            child: Some(child),
        };
        counter.goes_on(0);
        counter
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn counts(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(self.path("counts")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Waits until it has counted a few more, with none left out and none told twice.
    fn goes_on(&self, before: usize) {
        let begun = Instant::now();
        while self.counts().len() < before + 3 {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it stands at {before}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(
            self.counts()
                .iter()
                .zip(1..)
                .all(|(count, turn)| *count == turn)
        );
    }

    /// It has been ended: its number is free again.
    fn ended(&mut self) -> usize {
        if let Some(mut child) = self.child.take() {
            assert!(!child.wait().unwrap().success());
        }
        self.counts().len()
    }

    /// Ends what a command that waits for it has restored; gives that command's exit code.
    fn end(&self, mut waits: Child) -> Option<i32> {
        self.kill();
        waits.wait().unwrap().code()
    }

    fn kill(&self) {
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let _ = rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.kill();
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }
}

#[test]
fn a_tree_is_written_down_and_started_again() {
    need!(Root);
    apart!();
    let mut counter = Counter::start();
    let (pid, images) = (counter.pid.to_string(), counter.path("images"));
    let images = images.to_str().unwrap();
    assert!(run(&["check", "--checkpoint", &pid]).starts_with("exit 0\n"));
    let told = json(&["checkpoint", "--json", &pid, images]);
    assert_eq!(told["schema"], "plimsoll.checkpoint/1");
    assert_eq!(told["pid"], u64::from(counter.pid));
    assert!(told["pages"].as_u64().unwrap() > 0);
    let mode = std::fs::metadata(images).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let stood = counter.ended();
    assert!(run(&["image", "verify", images]).starts_with("exit 0\n"));
    let mut restore = plimsoll();
    let restore = restore
        .args(["restore", images])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    counter.goes_on(stood);
    assert_eq!(counter.end(restore), Some(1)); // as its tree, which was ended by a signal
}

#[test]
fn a_tree_runs_on_its_own_while_its_memory_comes() {
    need!(Root, Userfaultfd);
    apart!();
    let mut counter = Counter::start();
    let (pid, images) = (counter.pid.to_string(), counter.path("images"));
    let images = images.to_str().unwrap();
    json(&["checkpoint", "--json", &pid, images]);
    let stood = counter.ended();
    let told = json(&["restore", "--lazy", "--detach", "--json", images]);
    assert_eq!(told["schema"], "plimsoll.restore/1");
    assert_eq!(told["pid"], u64::from(counter.pid));
    assert!(told["later_bytes"].as_u64().unwrap() > 0);
    counter.goes_on(stood);
    let still_comes = || {
        let parked = json(&["parked", "--json"]);
        let trees = parked["trees"].as_array().unwrap();
        trees
            .iter()
            .any(|tree| tree["pid"] == u64::from(counter.pid))
    };
    while still_comes() {
        std::thread::sleep(Duration::from_millis(10));
    }
    counter.goes_on(counter.counts().len());
}

#[test]
fn packed_and_built_upon() {
    need!(Root);
    apart!();
    let mut counter = Counter::start();
    let pid = counter.pid.to_string();
    let (first, second) = (counter.path("first"), counter.path("second"));
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    json(&[
        "checkpoint",
        "--json",
        "--leave-running",
        "--pack",
        &pid,
        first,
    ]);
    json(&["checkpoint", "--json", "--parent", first, &pid, second]);
    assert!(Path::new(first).join("pages.packed").exists());
    assert!(Path::new(second).join("parent/inventory.img").exists());
    let stood = counter.ended();
    let restored = json(&["restore", "--json", "--detach", second]);
    assert_eq!(restored["pid"], u64::from(counter.pid));
    counter.goes_on(stood);
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_left() {
    need!(Root);
    apart!();
    let counter = Counter::start();
    let (pid, there) = (counter.pid.to_string(), counter.path("there"));
    std::fs::create_dir(&there).unwrap();
    let refused = run(&["checkpoint", &pid, there.to_str().unwrap()]);
    assert!(
        refused.starts_with("exit 1\n") && refused.contains("exists"),
        "{refused}"
    );
    counter.goes_on(counter.counts().len());
    let empty = run(&["restore", there.to_str().unwrap()]);
    assert!(
        empty.starts_with("exit 1\n") && empty.contains("inventory.img"),
        "{empty}"
    );
    assert!(run(&["checkpoint", "4000000", "x"]).starts_with("exit 1\n"));
    assert!(run(&["checkpoint"]).starts_with("exit 2\n"));
    let names = |path: &Path| std::fs::read_dir(path).unwrap().count();
    assert_eq!(names(&there), 0);
    assert_eq!(names(counter.dir.path()), 2);
}

/// A process in a terminal that others show can't be taken along without a word.
#[test]
fn an_obstacle_is_named_with_its_remedy() {
    need!(Root, Program("python3"));
    apart!();
    let script = "import os, pty, time\npid, master = pty.fork()\n\
        if pid == 0:\n  print('ready', flush=True); time.sleep(1000)\n\
        os.read(master, 1); print(pid, flush=True); time.sleep(1000)\n";
    let mut shows = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(shows.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    let refused = run(&["checkpoint", line.trim(), images.to_str().unwrap()]);
    assert!(
        refused.starts_with("exit 4\n") && refused.contains("--shell-job"),
        "{refused}"
    );
    assert!(!images.exists());
    shows.kill().unwrap();
    shows.wait().unwrap();
}

/// By the name that CRIU's callers know, with their command lines.
#[test]
fn callers_of_criu_find_what_they_look_for() {
    need!(Root);
    apart!();
    let mut counter = Counter::start();
    let criu = counter.path("criu");
    symlink(env!("CARGO_BIN_EXE_plimsoll"), &criu).unwrap();
    let (pid, first, images) = (
        counter.pid.to_string(),
        counter.path("1"),
        counter.path("2"),
    );
    std::fs::create_dir(&first).unwrap();
    std::fs::create_dir(&images).unwrap();
    let call = |words: &[&str]| {
        let output = Command::new(&criu).args(words).output().unwrap();
        assert!(
            output.status.success(),
            "{words:?}: {}",
            transcript(&output)
        );
    };
    let (first, images) = (first.to_str().unwrap(), images.to_str().unwrap());
    call(&[
        "check",
        "--no-default-config",
        "-verbosity=0",
        "--feature",
        "timerfd",
    ]);
    let no_such = Command::new(&criu)
        .args(["check", "--feature", "no_such"])
        .output()
        .unwrap();
    assert_eq!(no_such.status.code(), Some(1));
    let common = |action, directory| {
        [
            action,
            "--no-default-config",
            "--verbosity=4",
            "--images-dir",
            directory,
            "--log-file",
            "x.log",
        ]
    };
    call(
        &[
            &common("pre-dump", first)[..],
            &["--tree", &pid, "--track-mem"],
        ]
        .concat(),
    );
    let built_on = ["--tree", &pid, "--track-mem", "--prev-images-dir", "../1"];
    call(&[&common("dump", images)[..], &built_on].concat());
    let stood = counter.ended();
    for name in [
        "inventory.img",
        "stats-dump",
        "x.log",
        "parent/inventory.img",
    ] {
        assert!(Path::new(images).join(name).exists(), "{name}");
    }
    let pidfile = counter.path("pid");
    let detached = ["--restore-detached", "--pidfile", pidfile.to_str().unwrap()];
    call(&[&common("restore", images)[..], &detached].concat());
    assert_eq!(std::fs::read_to_string(&pidfile).unwrap(), pid);
    assert!(Path::new(images).join("stats-restore").exists());
    counter.goes_on(stood);
    let log = std::fs::read_to_string(Path::new(images).join("x.log")).unwrap();
    assert!(log.contains("finished successfully"), "{log}");
}
