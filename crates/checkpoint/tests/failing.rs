//! What fails leaves no trace.

use crate::tree::{Tree, dump, dump_packed, restore};
use plimsoll_checkpoint::{After, Error, GroupRoots, Kinship, ManageGroups, Restore};
use plimsoll_park::known;
use plimsoll_park::runtime::Runtime;
use plimsoll_proc::Root;
use plimsoll_testkit::{apart, need};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::io::Write;
use std::path::PathBuf;

const COUNTS: &str =
    "import time\nturn = 0\nwhile True:\n    turn += 1\n    print(turn)\n    time.sleep(0.01)\n";

#[test]
fn a_pid_that_is_taken_is_refused_and_its_owner_runs_on() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(COUNTS);
    tree.dump(After::Run).unwrap();
    assert!(matches!(tree.restore(), Err(Error::Refused(_))));
    let said = tree.says().len();
    tree.hear(said + 3);
}

#[test]
fn a_directory_that_exists_is_left_alone() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(COUNTS);
    std::fs::create_dir(tree.images()).unwrap();
    assert!(tree.dump(After::End).is_err());
    assert!(tree.is_alive());
    assert_eq!(std::fs::read_dir(tree.images()).unwrap().count(), 0);
    let said = tree.says().len();
    tree.hear(said + 3);
}

#[test]
fn images_that_are_cut_leave_no_process() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(COUNTS);
    tree.dump(After::End).unwrap();
    let pages = std::fs::OpenOptions::new()
        .write(true)
        .open(tree.images().join("pages-1.img"))
        .unwrap();
    let whole = pages.metadata().unwrap().len();
    pages.set_len(whole / 2).unwrap();
    assert!(restore(&tree.images()).is_err());
    assert!(!tree.is_alive());
}

/// A small file system of its own.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let size = Some(c"size=1m,mode=0700");
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), size).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap();
        names
            .map(|name| name.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_leaves_the_tree_running_and_nothing_behind() {
    need!(Root, Program("python3"));
    apart!();
    let tree = Tree::start(COUNTS);
    let disk = Disk::new(tree.dir.path().join("disk"));
    let set = disk.0.join("set");
    for refused in [
        dump(tree.pid, &set, After::End),
        dump_packed(tree.pid, &set),
    ] {
        let error: &dyn std::error::Error = &refused.unwrap_err();
        let causes = std::iter::successors(Some(error), |error| error.source());
        let told: Vec<String> = causes.map(ToString::to_string).collect();
        assert!(
            told.iter().any(|cause| cause.contains("No space left")),
            "{told:?}"
        );
        assert!(disk.names().is_empty(), "{:?}", disk.names());
        let said = tree.says().len();
        tree.hear(said + 3);
    }
}

#[test]
fn a_lazy_restore_that_finds_no_room_for_its_record_leaves_nothing_behind() {
    need!(Root, Program("python3"), Userfaultfd);
    apart!();
    let mut tree = Tree::start(COUNTS);
    tree.dump(After::End).unwrap();
    let disk = Disk::new(tree.dir.path().join("run"));
    let runtime = Runtime::at(disk.0.clone()).unwrap();
    disk.fill();
    let (images, root) = (tree.images(), Root::live());
    let lazily = Restore {
        root: &root,
        directory: &images,
        kinship: Kinship::Child,
        stopped: false,
        tcp_close: false,
        groups: ManageGroups::default(),
        group_roots: &GroupRoots::new(),
    };
    let refused = lazily.run_lazily(&runtime).map(|(restored, _)| restored);
    assert!(refused.is_err(), "{refused:?}");
    assert!(!tree.is_alive());
    assert!(known::living(&runtime, &root).unwrap().is_empty());
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    let said = tree.says().len();
    tree.restore().unwrap();
    tree.hear(said + 3);
}
