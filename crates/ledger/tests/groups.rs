//! Groups of our own with known contents, on whatever memory controller of v1 this machine has.

use plimsoll_cgroup::mount;
use plimsoll_cgroup::sample::{Sample, Tree};
use plimsoll_ledger::groups;
use plimsoll_ledger::look::Group;
use plimsoll_proc::{Root, mountinfo, process};
use plimsoll_testkit::{OwnGroup, need};
use plimsoll_units::Bytes;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SIZE: Bytes = Bytes::from_mib(64);

/// The rows of a group and of all below it.
fn look_at(group: &OwnGroup) -> Vec<Group> {
    let root = Root::live();
    let mounts = mountinfo::parse(&root.read("proc/self/mountinfo").unwrap());
    let hierarchy = mount::v1(&mounts, "memory").unwrap();
    let dir = root.open_dir(group.path().strip_prefix("/").unwrap());
    let (tree, errors) = Tree::read(hierarchy, dir.unwrap());
    let processes = groups::residents(&process::sample::all(&root).unwrap());
    let trees = vec![tree];
    groups::account(&Sample { trees, errors }, &processes).0
}

/// Within 5 %.
fn near(found: Option<Bytes>, expected: Bytes) -> bool {
    found.is_some_and(|found| found.get().abs_diff(expected.get()) <= expected.get() / 20)
}

/// A file that is gone when the test ends.
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // where it was never made
    }
}

/// Fills a file from within the group; the process that did it ends.
fn fill(group: &OwnGroup, directory: &Path) -> Leftover {
    let file = Leftover(directory.join(format!("plimsoll-{}", std::process::id())));
    let script = format!("head -c {} /dev/zero > '{}'", SIZE.get(), file.0.display());
    assert!(group.shell(&script).unwrap().wait().unwrap().success());
    file
}

/// Waits until the group's own usage is at least `bytes`.
fn wait_for_usage(group: &OwnGroup, bytes: Bytes) {
    for _ in 0..1000 {
        let usage = std::fs::read_to_string(group.path().join("memory.usage_in_bytes")).unwrap();
        if usage.trim().parse::<u64>().unwrap() >= bytes.get() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} never held {bytes}", group.path().display());
}

#[test]
fn anonymous_memory_is_its_processes() {
    need!(Root, CgroupV1Memory, Program("tail"));
    let group = OwnGroup::v1("memory", "anon").unwrap();
    // tail keeps all of a line that does not end.
    let script = format!(
        "(head -c {} /dev/zero; sleep 1000) | tail > /dev/null",
        SIZE.get()
    );
    let mut shell = group.shell(&script).unwrap();
    wait_for_usage(&group, SIZE);
    let rows = look_at(&group);
    drop(group); // ends them
    shell.wait().unwrap();

    let [row] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    assert!(near(row.user_bytes, SIZE), "{row:?}");
    assert!(row.processes >= Some(3), "{row:?}");
    assert_eq!((row.version, row.dentry_inode_bytes), (1, None));
    let unowned = row.unowned.unwrap();
    assert!(unowned.anon_bytes < Bytes::from_mib(2), "{row:?}");
}

#[test]
fn page_cache_and_tmpfs_stay_when_their_process_ends() {
    need!(Root, CgroupV1Memory, MemoryFree(Bytes::from_mib(512)));
    let group = OwnGroup::v1("memory", "files").unwrap();
    let on_disk = group.child("disk").unwrap();
    let in_shm = group.child("shm").unwrap();
    on_disk.set("memory.limit_in_bytes", "200M").unwrap();
    let _file = fill(&on_disk, Path::new(env!("CARGO_TARGET_TMPDIR")));
    let shm_file = fill(&in_shm, Path::new("/dev/shm"));

    let rows = look_at(&group);
    let row = |name: &str| rows.iter().find(|row| row.path.ends_with(name)).unwrap();
    let disk = row("/disk");
    assert!(near(disk.page_cache_bytes, SIZE), "{disk:?}");
    assert!(near(disk.unowned_bytes, SIZE), "{disk:?}");
    assert_eq!(disk.processes, Some(0));
    assert_eq!(disk.ram_limit_bytes, Some(Bytes::from_mib(200)));
    assert_eq!(disk.ram_limit_effective_bytes, disk.ram_limit_bytes);
    let shm = row("/shm");
    assert!(near(shm.user_bytes, SIZE), "{shm:?}");
    let unowned = shm.unowned.map(|unowned| unowned.shmem_bytes);
    assert!(near(unowned, SIZE), "{shm:?}");
    assert_eq!(shm.ram_limit_bytes, None);

    // What a removed group held is its parent's.
    drop(in_shm);
    let parent = &look_at(&group)[0];
    assert!(near(parent.user_bytes, SIZE), "{parent:?}");
    assert!(near(parent.page_cache_bytes, SIZE), "{parent:?}");
    drop(shm_file);
    let parent = &look_at(&group)[0];
    assert!(parent.user_bytes < Some(Bytes::from_mib(2)), "{parent:?}");
}
