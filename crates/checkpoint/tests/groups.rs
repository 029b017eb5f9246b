//! Control groups: who was in which goes back there, and what is gone is made again where that is wanted.

use crate::tree::{Tree, restore_with};
use plimsoll_checkpoint::{After, ManageGroups};
use plimsoll_testkit::{apart, need};
use std::path::{Path, PathBuf};

/// A process in a group, its child in one below that, a thread of the child's in a third; one is empty, and not to have any below
/// it. The first line names the group. What stands before it says which hierarchy that is in.
const GROUPS: &str = r#"
import os, threading, time
def own():
    lines = [line.rstrip("\n").split(":", 2) for line in open("/proc/thread-self/cgroup")]
    return next(path for _, name, path in lines if name == "" == CONTROLLER or CONTROLLER in name.split(",") and name)
def mount():
    for line in open("/proc/self/mountinfo"):
        words = line.split()
        kind = words[words.index("-") + 1]
        if kind == "cgroup2" if not CONTROLLER else kind == "cgroup" and CONTROLLER in words[-1].split(","): return words[4]
def make(path):
    os.makedirs(mount() + path, exist_ok=True)
    return mount() + path + "/"
def enter(path, file): open(make(path) + file, "w").write("0")
before = own()
top = f"{before.rstrip('/')}/plimsoll-test-{os.getpid()}"
enter(top, "cgroup.procs"); os.mkdir(mount() + top + "/empty", 0o750)
if not CONTROLLER: open(make(top + "/empty") + "cgroup.max.depth", "w").write("0")
if os.fork() == 0:
    enter(top + "/child", "cgroup.procs")
    said = []
    def thread():
        if not CONTROLLER: open(make(top + "/child/thread") + "cgroup.type", "w").write("threaded")
        enter(top + "/child/thread", "tasks" if CONTROLLER else "cgroup.threads")
        while True: said.append(own()); time.sleep(0.01)
    threading.Thread(target=thread, daemon=True).start()
    while not said: time.sleep(0.01)
    open("ready", "w")
    while True:
        if own() != top + "/child" or said[-1] != top + "/child/thread": open("amiss", "w").write(own() + said[-1])
        time.sleep(0.01)
while not os.path.exists("ready"): time.sleep(0.01)
print(mount() + top)
while True:
    print("turn", own() == top, os.path.exists("amiss")); time.sleep(0.01)
"#;

/// Its groups, deepest first.
fn groups(top: &Path) -> Vec<PathBuf> {
    let below = ["empty", "child/thread", "child"].map(|name| top.join(name));
    below.into_iter().chain([top.to_owned()]).collect()
}

struct Goes(PathBuf);

impl Drop for Goes {
    fn drop(&mut self) {
        for group in groups(&self.0) {
            let _ = std::fs::remove_dir(group);
        }
    }
}

#[test]
fn everybody_is_in_his_groups_again_whether_they_are_still_there_or_not() {
    need!(Root, CgroupV1Freezer, Program("python3"));
    apart!();
    come_back_in("freezer");
}

#[test]
fn everybody_is_in_his_groups_of_v2_again() {
    need!(Root, CgroupV2, Program("python3"));
    apart!();
    come_back_in("");
}

/// Checkpointed and restored with the groups there, gone, and there but set up otherwise.
fn come_back_in(controller: &str) {
    let mut tree = Tree::start(&format!("CONTROLLER = {controller:?}\n{GROUPS}"));
    let top = Goes(PathBuf::from(tree.says().first().unwrap()));
    let limit = top.0.join("empty/cgroup.max.depth");
    for (lost, manage) in [
        (false, ManageGroups::Enter),
        (true, ManageGroups::Make),
        (true, ManageGroups::MakeAndSetUp),
        (false, ManageGroups::MakeAndSetUp),
    ] {
        let _ = std::fs::remove_dir_all(tree.images());
        tree.hear(5);
        if controller.is_empty() && manage != ManageGroups::Make {
            std::fs::write(&limit, "0").unwrap();
        }
        tree.dump(After::End).unwrap();
        for group in groups(&top.0) {
            assert!(group.is_dir(), "{group:?}");
            while lost && std::fs::remove_dir(&group).is_err() {
                std::thread::yield_now(); // who was in it is on his way out
            }
        }
        let said = tree.says().len();
        restore_with(&tree.images(), manage).unwrap();
        let says = tree.hear(said + 5);
        assert!(
            says.iter().skip(1).all(|line| line == "turn True False"),
            "{says:?}"
        );
        assert!(groups(&top.0).iter().all(|group| group.is_dir()));
        if controller.is_empty() && manage == ManageGroups::MakeAndSetUp {
            assert_eq!(std::fs::read_to_string(&limit).unwrap(), "0\n");
        }
    }
    tree.end();
    let last = top.0.join("child/thread");
    while std::fs::remove_dir(&last).is_err() {
        std::thread::yield_now();
    }
    let refused = restore_with(&tree.images(), ManageGroups::MakeAll);
    assert!(refused.is_err(), "{refused:?}");
    assert!(!last.exists(), "a failed restore leaves nothing behind");
}
