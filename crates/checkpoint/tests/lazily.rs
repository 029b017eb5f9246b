//! A tree that runs before its memory is there: whatever it does to it meanwhile, whatever becomes of who brings it, it never
//! reads anything but what it wrote.

use crate::killed::start;
use crate::sharing::FAMILY;
use crate::tree::{PATIENCE, Tree, dump, dump_onto, dump_packed};
use plimsoll_checkpoint::{After, Error, GroupRoots, Kinship, ManageGroups, Restore};
use plimsoll_park::back::{self, Manner};
use plimsoll_park::known;
use plimsoll_park::runtime::Runtime;
use plimsoll_park::{ParkError, source::SourceError};
use plimsoll_proc::Root;
use plimsoll_testkit::need;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Instant;

/// Steps at which the restorer is killed that brings memory back behind a running tree. At the first ones there is no tree yet.
const BEFORE: [&str; 2] = ["restored", "ready"];
const BEHIND: [&str; 10] = [
    "committed",
    "resuming",
    "guarded",
    "thawed",
    "back",
    "disarmed",
    "closed",
    "returned",
    "store-removed",
    "forgotten",
];

/// Steps of a fork while memory is missing.
const FORKING: [&str; 4] = [
    "fork-read",
    "child-found",
    "child-equipped",
    "child-adopted",
];

/// How an actor ends that could not bring a page, or did not find the images.
const DAMAGED: i32 = 77;
const AWAY: i32 = 78;

/// Four times 1200 pages, each page with something of its own. Asked to go, it drops, moves and unmaps some, forks, and both
/// look at every page.
const VICTIM: &str = r#"
import hashlib, mmap, os, time
page, count = mmap.PAGESIZE, 1200
def content(seed, i): return hashlib.sha256(b"%d %d" % (seed, i)).digest()
def memory(seed):
    m = mmap.mmap(-1, count * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for i in range(count): m[i * page + 100:i * page + 132] = content(seed, i)
    return m
def is_right(m, seed, pages):
    for i in pages:
        if m[i * page + 100:i * page + 132] != content(seed, i) or m[i * page] != 0: return f" page {i} of {seed} is {m[i * page:(i + 1) * page].rstrip(bytes(1))}"
    return ""
def are_zeros(m, first, end): return "" if m[first * page:end * page] == bytes((end - first) * page) else f" {first} to {end} are no zeros"
whole, dropped, moved, gone = (memory(seed) for seed in range(4))
print("ready")
while not os.path.exists("go"): time.sleep(0.005)
dropped.madvise(mmap.MADV_DONTNEED, 16 * page, 1000 * page)
moved.resize(2 * count * page)
gone.close()
child = os.fork()
wrong = is_right(whole, 0, range(count)) + is_right(moved, 2, range(count)) + are_zeros(moved, count, 2 * count)
wrong += is_right(dropped, 1, [*range(16), *range(1016, count)]) + are_zeros(dropped, 16, 1016)
if child == 0:
    if wrong: os.write(1, f"the child finds{wrong}\n".encode())
    os._exit(0)
status = os.waitpid(child, 0)[1]
os.write(1, f"right, {status}\n".encode() if not wrong else f"the parent finds{wrong}\n".encode())
while True: time.sleep(1)
"#;

/// A victim, its images, and where records of it are kept.
struct Lazy {
    tree: Tree,
    runtime: Runtime,
    root: Root,
}

impl Lazy {
    /// Checkpointed; once it is restored it goes on at once.
    fn new(packed: bool) -> Self {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let mut tree = Tree::start(VICTIM);
        if packed {
            dump_packed(tree.pid, &tree.images()).unwrap();
            tree.reap();
        } else {
            tree.dump(After::End).unwrap();
        }
        std::fs::write(tree.dir.path().join("go"), "").unwrap();
        let runtime = Runtime::at(tree.dir.path().join("run")).unwrap();
        Self {
            tree,
            runtime,
            root: Root::live(),
        }
    }

    /// Restores it in a process of its own, to be killed at a step.
    fn killed_at(&self, verb: &str, step: &str) -> ExitStatus {
        start(verb, self.tree.pid, &self.tree.images(), step)
            .wait()
            .unwrap()
    }

    /// Brings the rest, if anything is left to be brought.
    fn bring_the_rest(&self, when: &str) {
        match back::resume(&self.root, &self.runtime, self.tree.pid) {
            Ok(_) | Err(ParkError::NotParked(_)) => {}
            Err(error) => panic!("{when}: {error:?}"),
        }
    }

    /// It and its child have found everything right, and nothing of ours is left in it or beside it.
    fn is_whole(&self, when: &str) {
        assert_eq!(self.tree.hear(2), ["ready", "right, 0"], "{when}");
        let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", self.tree.pid)).unwrap();
        let mut flags = smaps.lines().filter(|line| line.starts_with("VmFlags"));
        assert!(!flags.any(|line| line.contains(" um")), "{when}");
        let numbers = std::fs::read_dir(format!("/proc/{}/fd", self.tree.pid)).unwrap();
        let mut links = numbers.map(|number| std::fs::read_link(number.unwrap().path()).unwrap());
        assert!(
            !links.any(|link| link.to_string_lossy().contains("userfaultfd")),
            "{when}"
        );
        assert!(
            known::living(&self.runtime, &self.root).unwrap().is_empty(),
            "{when}"
        );
        let records = std::fs::read_dir(self.tree.dir.path().join("run/parked")).unwrap();
        assert_eq!(records.count(), 0, "{when}");
    }
}

/// What the actor of another process does ([`crate::killed`]): the tree is restored, and gets its memory.
pub(crate) fn restore(images: &Path, only_what_is_touched: bool) {
    let runtime = Runtime::at(images.with_file_name("run")).unwrap();
    let root = Root::live();
    let restore = Restore {
        root: &root,
        directory: images,
        kinship: Kinship::Child,
        stopped: false,
        tcp_close: false,
        groups: ManageGroups::default(),
        group_roots: &GroupRoots::new(),
    };
    let (_, promised) = restore.run_lazily(&runtime).unwrap();
    let mut manner = Manner {
        lazy: only_what_is_touched,
        room: None,
        running: &mut |_| {},
        progress: &mut |_, _| {},
    };
    promised
        .unwrap()
        .keep(&root, &runtime, &mut manner)
        .unwrap();
}

/// What it can't bring, another actor says by how it ends.
pub(crate) fn resume(pid: u32, images: &Path) {
    let runtime = Runtime::at(images.with_file_name("run")).unwrap();
    match back::resume(&Root::live(), &runtime, pid) {
        Ok(_) => {}
        Err(ParkError::Damaged { .. }) => std::process::exit(DAMAGED),
        Err(ParkError::Source(SourceError::Images(_))) => std::process::exit(AWAY),
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn memory_comes_behind_the_tree() {
    need!(Root, Program("python3"));
    for packed in [false, true] {
        let lazy = Lazy::new(packed);
        restore(&lazy.tree.images(), false);
        lazy.is_whole(if packed { "packed" } else { "raw" });
    }
}

#[test]
fn pages_of_parents_and_of_parent_sets_come_too() {
    need!(Root, Program("python3"));
    let mut tree = Tree::start(FAMILY);
    let first = tree.dir.path().join("first");
    dump(tree.pid, &first, After::Run).unwrap();
    dump_onto(tree.pid, &tree.images(), Path::new("../first")).unwrap();
    tree.reap();
    restore(&tree.images(), false);
    let said = tree.says();
    let says = tree.hear(said.len() + 3);
    assert_eq!(says.last(), said.first(), "{says:?}");
}

#[test]
fn a_restorer_killed_before_the_tree_runs_leaves_nothing() {
    need!(Root, Program("python3"));
    let lazy = Lazy::new(false);
    for step in BEFORE {
        assert!(!lazy.killed_at("restore-lazily", step).success(), "{step}");
        let begun = Instant::now();
        while !lazy.tree.is_gone() {
            assert!(begun.elapsed() < PATIENCE, "{step}");
            std::thread::yield_now();
        }
    }
    restore(&lazy.tree.images(), false);
    lazy.is_whole("at last");
}

#[test]
fn a_pager_killed_at_any_step_is_taken_over() {
    need!(Root, Program("python3"));
    for step in BEHIND {
        let lazy = Lazy::new(false);
        assert!(!lazy.killed_at("restore-lazily", step).success(), "{step}");
        lazy.bring_the_rest(step);
        lazy.is_whole(step);
    }
}

#[test]
fn a_pager_killed_while_the_tree_forks_is_taken_over() {
    need!(Root, Program("python3"));
    for step in FORKING {
        let lazy = Lazy::new(false);
        assert!(!lazy.killed_at("restore-touched", step).success(), "{step}");
        lazy.bring_the_rest(step);
        lazy.is_whole(step);
    }
}

#[test]
fn images_that_are_away_are_waited_for() {
    need!(Root, Program("python3"));
    let lazy = Lazy::new(false);
    assert!(!lazy.killed_at("restore-lazily", "resuming").success());
    let (images, away) = (lazy.tree.images(), lazy.tree.dir.path().join("away"));
    let half = lazy.tree.dir.path().join("half");
    let refused = dump(lazy.tree.pid, &half, After::Run).unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused:?}");
    std::fs::rename(&images, &away).unwrap();
    assert_eq!(lazy.killed_at("resume", "").code(), Some(AWAY));
    std::fs::rename(&away, &images).unwrap();
    lazy.bring_the_rest("they are there again");
    lazy.is_whole("they are there again");
}

#[test]
fn a_damaged_page_is_waited_for() {
    need!(Root, Program("python3"));
    let lazy = Lazy::new(true);
    assert!(!lazy.killed_at("restore-lazily", "resuming").success());
    let path = lazy.tree.images().join("pages.packed");
    let pages = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let times = pages.metadata().unwrap().modified().unwrap();
    let middle = pages.metadata().unwrap().len() / 2;
    let flip = || {
        let mut byte = [0];
        pages.read_exact_at(&mut byte, middle).unwrap();
        pages.write_all_at(&[byte[0] ^ 0x10], middle).unwrap();
        pages.set_modified(times).unwrap(); // as a disk would do it
    };
    flip();
    // In a process of its own, which takes with it what it could not bring.
    assert_eq!(lazy.killed_at("resume", "").code(), Some(DAMAGED));
    assert!(lazy.tree.is_alive());
    assert_eq!(lazy.tree.says(), ["ready"]);
    flip();
    lazy.bring_the_rest("it is right again");
    lazy.is_whole("it is right again");
}
