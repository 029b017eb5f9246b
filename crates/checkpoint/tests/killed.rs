//! SIGKILL of who checkpoints or restores, at every step and at any instant: the tree runs on as it was, or its images are
//! complete; a tree is restored whole or not at all. What was left aside is gone after the next checkpoint in that place.

use crate::tree::{PATIENCE, Tree, dump_with, group_is_gone, restore};
use plimsoll_checkpoint::{After, Options};
use plimsoll_testkit::{apart, need};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Steps of a checkpoint, in order.
const DUMPING: [&str; 7] = [
    "begun",
    "stopped",
    "looked",
    "written",
    "durable",
    "before-rename",
    "complete",
];

/// Steps of a restore.
const RESTORING: [&str; 6] = ["bare", "grown", "filled", "restored", "ready", "committed"];

/// A parent with two threads, a child that talks to it by a pipe, and an unlinked file. Both check what they have; the child
/// ends when its parent does.
const FAMILY: &str = r#"
import hashlib, os, sys, threading, time
data = os.urandom(1 << 20); digest = hashlib.sha256(data).digest()
gone = open("gone", "w+b", 0); gone.write(b"nameless"); os.unlink("gone")
reader, writer = os.pipe()
parent = os.getpid()
child = os.fork()
if child == 0:
    while os.getppid() == parent:
        if hashlib.sha256(data).digest() != digest: os._exit(3)
        os.write(writer, b"x"); time.sleep(0.005)
    os._exit(0)
counts = [0, 0]
def work(i):
    while True:
        counts[i] += 1; time.sleep(0.001)
for i in range(2): threading.Thread(target=work, args=(i,), daemon=True).start()
turn = 0
while True:
    before = list(counts); time.sleep(0.02)
    os.read(reader, 1000)
    assert hashlib.sha256(data).digest() == digest, "memory"
    assert os.pread(gone.fileno(), 20, 0) == b"nameless", "unlinked file"
    while not all(a < b for a, b in zip(before, counts)): time.sleep(0.01) # or it hangs
    turn += 1
    print("turn", turn)
"#;

/// Checkpoints or restores in a process of its own, with a group of its own: this test program again.
pub(crate) fn start(verb: &str, pid: u32, images: &Path, step: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "killed::actor",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("ACTOR_VERB", verb)
        .env("ACTOR_PID", pid.to_string())
        .env("ACTOR_IMAGES", images)
        .env("PLIMSOLL_FAULT_POINT", step)
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "run by others, in a process of its own"]
fn actor() {
    let order = |name| std::env::var(name).unwrap();
    let images = std::path::PathBuf::from(order("ACTOR_IMAGES"));
    match order("ACTOR_VERB").as_str() {
        "dump" => {
            let options = Options {
                tcp_established: true,
                ..Options::default()
            };
            let pid = order("ACTOR_PID").parse().unwrap();
            dump_with(pid, &images, After::End, options).unwrap();
        }
        "dump-running" => {
            let pid = order("ACTOR_PID").parse().unwrap();
            dump_with(pid, &images, After::Run, Options::default()).unwrap();
        }
        "restore" => drop(restore(&images).unwrap()),
        "restore-lazily" => crate::lazily::restore(&images, false),
        "restore-touched" => crate::lazily::restore(&images, true),
        "resume" => crate::lazily::resume(order("ACTOR_PID").parse().unwrap(), &images),
        verb => panic!("{verb}?"),
    }
}

/// A tree that is checkpointed and restored again and again.
struct Patient {
    tree: Tree,
}

impl Patient {
    fn new() -> Self {
        // Whose parent is killed becomes our child.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        Self {
            tree: Tree::start(FAMILY),
        }
    }

    /// It runs, and nothing of it is amiss.
    fn goes_on(&self, when: &str) {
        let said = self.tree.says().len();
        let says = self.tree.hear(said + 2);
        for (i, line) in says.iter().enumerate() {
            assert_eq!(line, &format!("turn {}", i + 1), "{when}: {says:?}");
        }
    }

    /// The images are there, or the tree runs on and nothing but what is left aside is there. It runs in the end.
    fn after_a_killed_dump(&mut self, when: &str) {
        if self.runs_on(when) {
            self.goes_on(when);
            // Complete, and the tree runs on: it has written to its files since.
            let _ = std::fs::remove_dir_all(self.tree.images());
            self.tree.dump(After::End).unwrap();
        } else {
            self.tree.end();
        }
        self.leaves_nothing(&["images", "says"], when);
        self.tree.restore().unwrap();
        self.goes_on(when);
        std::fs::remove_dir_all(self.tree.images()).unwrap();
    }

    /// Whether it says more, rather than ends.
    fn runs_on(&self, when: &str) -> bool {
        let said = self.tree.says().len();
        let begun = Instant::now();
        loop {
            if self.tree.says().len() > said {
                return true;
            }
            if !self.tree.is_alive() {
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "{when}: it hangs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The tree is there whole, or not at all. It runs in the end.
    fn after_a_killed_restore(&mut self, restorer: u32, when: &str) {
        let said = self.tree.says().len();
        let begun = Instant::now();
        loop {
            if self.tree.says().len() > said + 1 {
                break;
            }
            // Who has not joined the tree's group yet is still of the restorer's.
            if group_is_gone(restorer) && self.tree.is_gone() {
                self.tree.restore().unwrap();
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{when}: it hangs");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.goes_on(when);
        self.leaves_nothing(&["images", "says"], when);
        std::fs::remove_dir_all(self.tree.images()).unwrap();
    }

    fn leaves_nothing(&self, but: &[&str], when: &str) {
        let names = std::fs::read_dir(self.tree.dir.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert!(
            names.iter().all(|name| but.iter().any(|but| name == but)),
            "{when}: {names:?}"
        );
    }
}

#[test]
fn at_every_step_of_a_checkpoint() {
    need!(Root, Program("python3"));
    apart!();
    let mut patient = Patient::new();
    for step in DUMPING {
        let killed = start("dump", patient.tree.pid, &patient.tree.images(), step)
            .wait()
            .unwrap();
        assert!(!killed.success(), "{step} was not reached");
        patient.after_a_killed_dump(step);
    }
}

#[test]
fn at_every_step_of_a_restore() {
    need!(Root, Program("python3"));
    apart!();
    let mut patient = Patient::new();
    for step in RESTORING {
        patient.tree.dump(After::End).unwrap();
        let mut actor = start("restore", 0, &patient.tree.images(), step);
        assert!(!actor.wait().unwrap().success(), "{step} was not reached");
        patient.after_a_killed_restore(actor.id(), step);
    }
}

/// Half of the kills hit a checkpoint, half a restore, at instants that `seed` makes.
fn at_random(kills: u64, seed: u64) {
    println!("{kills} kills, seed {seed}");
    let mut state = seed | 1;
    let mut below = |limit: Duration| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Duration::from_micros(state % u64::try_from(limit.as_micros()).unwrap().max(1))
    };
    let mut patient = Patient::new();
    let (mut dump_took, mut restore_took) =
        (Duration::from_millis(100), Duration::from_millis(100));
    for kill in 0..kills {
        let restoring = kill % 2 == 1;
        let verb = if restoring { "restore" } else { "dump" };
        if restoring {
            patient.tree.dump(After::End).unwrap();
        }
        let time = if restoring {
            &mut restore_took
        } else {
            &mut dump_took
        };
        let after = below(*time * 5 / 4);
        let begun = Instant::now();
        let mut actor = start(verb, patient.tree.pid, &patient.tree.images(), "");
        std::thread::sleep(after);
        actor.kill().unwrap();
        if actor.wait().unwrap().success() {
            *time = begun.elapsed();
        } else {
            *time = (*time).max(begun.elapsed() + Duration::from_millis(1));
        }
        let when = format!("kill {kill}, {verb}, after {after:?}");
        if restoring {
            patient.after_a_killed_restore(actor.id(), &when);
        } else {
            patient.after_a_killed_dump(&when);
        }
    }
}

#[test]
fn at_any_instant() {
    need!(Root, Program("python3"));
    apart!();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    at_random(20, u64::from(now.unwrap().subsec_nanos()));
}

/// What `cargo xtask rounds` runs.
#[test]
#[ignore = "runs for as long as it is told to"]
fn many() {
    let number = |name| std::env::var(name).unwrap().parse().unwrap();
    at_random(number("PLIMSOLL_KILLS"), number("PLIMSOLL_SEED"));
}
