//! The guard on this host. Its configuration leaves everybody alone but a group of the test's own, whom it parks as soon as it
//! is idle: what the host has of memory does not matter, and nobody else is touched.

use crate::program::{json, plimsoll, transcript};
use plimsoll_testkit::{OwnGroup, Victim, need};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const AGENT_MIB: u32 = 48;
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until something is so. What never comes is ended by the runner's own limit, with the test's name.
fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        std::thread::sleep(PAUSE);
    }
}

/// An agent that waits for somebody to say something, and the guard that may park it.
struct Scene {
    scratch: TempDir,
    agent: Victim,
    group: OwnGroup,
}

impl Scene {
    fn set(name: &str) -> Self {
        let group = OwnGroup::v1("memory", name).unwrap();
        let scene = Self {
            scratch: TempDir::new().unwrap(),
            agent: Victim::start_in(&group, "agent", AGENT_MIB).unwrap(),
            group,
        };
        let name = scene.group.path().file_name().unwrap().to_str().unwrap();
        let config = format!(
            "[files]\nrun = \"{0}/run\"\nlog = \"{0}/log\"\nrecording = \"{0}/recording\"\n\
             recordings = \"{0}/recordings\"\n\
             [pace]\ncalm-look = \"20ms\"\nretry = \"1s\"\n\
             [[workload]]\nmatch = \"*/{name}\"\nladder = [\"park\"]\nidle = \"300ms\"\n\
             [[workload]]\nmatch = \"*\"\nladder = []\n",
            scene.scratch.path().display(),
        );
        fs::write(scene.config(), config).unwrap();
        scene
    }

    fn config(&self) -> PathBuf {
        self.scratch.path().join("guard.toml")
    }

    /// A guard, at work.
    fn guard(&self) -> AtWork {
        self.guard_by(plimsoll())
    }

    /// The same, by a command that becomes it.
    fn guard_by(&self, mut command: Command) -> AtWork {
        command.arg("guard").arg("--config").arg(self.config());
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let guard = AtWork(child);
        until(|| self.ask_guard().is_some());
        guard
    }

    fn ask_guard(&self) -> Option<Value> {
        let mut command = plimsoll();
        command.args(["guard", "status", "--json", "--config"]);
        let told = command.arg(self.config()).output().unwrap();
        serde_json::from_slice(&told.stdout).ok()
    }

    /// How the guard sees the agent.
    fn workload(&self) -> Option<Value> {
        let name = self.group.path().file_name().unwrap().to_str().unwrap();
        let mut status = self.ask_guard()?;
        let workloads = status["workloads"].as_array_mut()?;
        let is_it = |one: &&mut Value| one["name"].as_str().unwrap_or_default().ends_with(name);
        workloads.iter_mut().find(is_it).map(Value::take)
    }

    /// Whether the guard has parked the agent, for being idle.
    fn is_out(&self) -> bool {
        let is = |one: Value| one["standing"] == "parked" && one["stopped_for"] == "idle";
        self.workload().is_some_and(is)
    }

    fn is_noted(&self) -> bool {
        let notes = fs::read_dir(self.scratch.path().join("run/stopped"));
        notes.is_ok_and(|mut notes| notes.next().is_some())
    }

    /// Whether it is out and stays so: neither on its way nor coming back.
    fn is_parked(&self) -> bool {
        let told = json(&["parked", "--json"]);
        let pid = self.agent.pid().as_raw_nonzero().get();
        let trees = told["trees"].as_array().unwrap();
        let is_it = |tree: &Value| tree["pid"] == pid && tree["state"] == "parked";
        trees.iter().any(is_it)
    }

    fn log(&self) -> String {
        let mut command = plimsoll();
        let told = command
            .args(["guard", "log", "--config"])
            .arg(self.config());
        String::from_utf8(told.output().unwrap().stdout).unwrap()
    }
}

/// A guard and its helpers.
struct AtWork(Child);

impl AtWork {
    fn helpers(&self) -> Vec<Pid> {
        let pid = self.0.id();
        let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let pids = listed.unwrap_or_default();
        let pids = pids.split_ascii_whitespace();
        pids.filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect()
    }

    /// Asks it to end and sees it do so.
    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it has ended, unless a test failed
        let _ = self.0.wait();
    }
}

#[test]
fn who_is_idle_is_parked_and_wakes_on_input_and_the_log_says_why() {
    need!(Root, CgroupV1Memory, Userfaultfd);
    let mut scene = Scene::set("guarded");
    let guard = scene.guard();
    for _ in 0..3 {
        until(|| scene.is_out());
        assert_eq!(scene.agent.ask("check").unwrap(), "whole");
    }
    // What the guard saw last may be of before the answer.
    until(|| scene.is_parked() && scene.is_out());
    guard.end();
    assert!(scene.is_parked(), "its end is no reason to wake anybody");
    assert_eq!(scene.agent.ask("check").unwrap(), "whole");
    let log = scene.log();
    assert!(log.contains("park") && log.contains("idle"), "{log}");

    // What it saw replays to what it did.
    let mut command = plimsoll();
    command.args(["guard", "replay", "--json", "--config"]);
    let command = command.arg(scene.config());
    let told = command.arg(scene.scratch.path().join("recording")).output();
    let told = told.unwrap();
    assert!(told.status.success(), "{}", transcript(&told));
    let acts = String::from_utf8(told.stdout).unwrap().lines().count();
    let log = fs::read_to_string(scene.scratch.path().join("log")).unwrap();
    let acted = log.lines().filter(|line| line.contains("\"act\":")).count();
    assert_eq!(acts, acted, "{log}");
}

#[test]
fn the_last_minutes_before_an_act_are_written_down_where_somebody_records() {
    need!(Root, CgroupV1Memory, Userfaultfd);
    let scene = Scene::set("guard-recorded");
    let directory = scene.scratch.path().join("recordings");
    let mut recorder = plimsoll();
    recorder.arg("record").arg(&directory);
    let recorder = AtWork(recorder.stderr(Stdio::null()).spawn().unwrap());
    until(|| directory.join("tell").exists());
    let guard = scene.guard();
    until(|| scene.is_out());
    let told = format!("the minutes before it: {}/plimsoll-", directory.display());
    until(|| scene.log().contains(&told));
    let files = fs::read_dir(&directory).unwrap();
    let name = |file: fs::DirEntry| file.file_name().into_string().unwrap();
    let mut names = files.map(|file| name(file.unwrap()));
    assert!(names.any(|name| name.ends_with("-act.rec")));
    recorder.end();
    guard.end();
}

/// A group that is held, and has met its limit, beside a guard that only says what it would do about it.
#[test]
fn a_hold_is_told_of_by_its_name_with_its_numbers_and_how_often_it_met_them() {
    need!(Root, CgroupV1Memory);
    let scene = Scene::set("guard-held");
    let name = format!("test-guarded-{}", std::process::id());
    let mut hold = plimsoll();
    hold.arg("hold").arg(scene.group.path());
    hold.args(["--ram", "128M", "--swap", "64M", "--name", &name]);
    let held = hold.output().unwrap();
    assert!(held.status.success(), "{}", transcript(&held));
    let filled = scene.scratch.path().join("filled");
    let fill = format!("head -c 192M /dev/zero > {}", filled.display());
    let filled = scene.group.shell(&fill).unwrap().wait();
    assert!(filled.unwrap().success());

    let mut command = plimsoll();
    command.args(["guard", "--dry-run", "--config"]);
    let command = command.arg(scene.config()).stderr(Stdio::null());
    let guard = AtWork(command.spawn().unwrap());
    let words = format!(" (hold {name}: 128 MiB of RAM, 64.0 MiB of swap, limits met ");
    until(|| scene.log().contains(&words));
    let hold = &scene.workload().unwrap()["hold"];
    assert_eq!(hold["ram_bytes"], 128 << 20);
    assert!(hold["limit_hits"].as_u64() > Some(0), "{hold}");
    let mut status = plimsoll();
    status.args(["guard", "status", "--config"]);
    let status = transcript(&status.arg(scene.config()).output().unwrap());
    assert!(status.contains(&words), "{status}");
    assert!(status.contains("told of, none begun"), "{status}");
    guard.end();
    let released = plimsoll().args(["release", &name]).output().unwrap();
    assert!(released.status.success(), "{}", transcript(&released));
}

/// Who dies with the guard.
#[derive(Clone, Copy, Debug)]
enum Dead {
    Loop,
    Helpers,
    All,
}

#[test]
fn killed_at_any_instant_of_parking_the_next_guard_goes_on() {
    need!(Root, CgroupV1Memory, Userfaultfd);
    for dead in [Dead::Loop, Dead::Helpers, Dead::All] {
        for instant_ms in [0, 24] {
            let mut scene = Scene::set("guard-killed");
            let guard = scene.guard();
            until(|| scene.is_noted());
            std::thread::sleep(Duration::from_millis(instant_ms));
            let helpers = guard.helpers();
            if !matches!(dead, Dead::Helpers) {
                drop(guard);
            }
            if !matches!(dead, Dead::Loop) {
                for pid in helpers {
                    let _ = kill_process(pid, Signal::KILL); // it ends when its guard does
                }
            }
            let _next = (!matches!(dead, Dead::Helpers)).then(|| scene.guard());
            assert_eq!(
                scene.agent.ask("check").unwrap(),
                "whole",
                "{dead:?} after {instant_ms} ms"
            );
            until(|| scene.is_parked());
            assert_eq!(scene.agent.ask("check").unwrap(), "whole");
        }
    }
}

/// Mounts a disk of 8 MiB where stores go, and becomes plimsoll. Records are its own, too: a watcher that is started there
/// does not see the stores of other tests.
const ON_A_SMALL_DISK: &str = r#"truncate -s 8M "$0" && mkfs.ext4 -q "$0" && mount -t tmpfs tmpfs /run &&
    mount -t tmpfs tmpfs /var/lib &&
    mkdir -p /var/lib/plimsoll/parked && mount -o loop "$0" /var/lib/plimsoll/parked &&
    chmod 700 /var/lib/plimsoll/parked && exec "$@""#;

#[test]
fn a_full_store_is_told_and_nobody_is_harmed() {
    need!(Root, CgroupV1Memory, Userfaultfd, Program("mkfs.ext4"));
    let mut scene = Scene::set("guard-full");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", ON_A_SMALL_DISK]);
    command.arg(scene.scratch.path().join("disk"));
    command.arg(plimsoll().get_program());
    let guard = scene.guard_by(command);
    until(|| scene.log().contains("refused"));
    let log = scene.log();
    assert!(
        log.contains("to park: refused") && log.contains("/var/lib/plimsoll/parked"),
        "{log}"
    );
    assert!(!scene.is_parked());
    assert_eq!(scene.agent.ask("check").unwrap(), "whole");
    assert_eq!(scene.workload().unwrap()["standing"], "running");
    guard.end();
}
