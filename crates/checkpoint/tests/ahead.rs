//! Pages copied while the tree runs: what it has written, given up, mapped anew or made common since is in the images as it was
//! when the tree stood, and nothing of the watch stays behind.

use crate::killed::start;
use crate::tree::{PATIENCE, Tree, restore};
use plimsoll_checkpoint::After;
use plimsoll_image::convert::{Form, convert};
use plimsoll_image::directory::OnDisk;
use plimsoll_image::packed::Codec;
use plimsoll_image::verify::verify;
use plimsoll_testkit::{apart, need};
use std::path::Path;
use std::time::{Duration, Instant};

/// 40 MiB in pages of which each knows what it should hold, changed without end: by the process, by the kernel for it, given up,
/// and in small mappings that come and go. It looks at all of them when it is asked.
pub(crate) const BUSY: &str = r#"
import hashlib, mmap, os, random
page, count = mmap.PAGESIZE, 10240
private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
memory = mmap.mmap(-1, count * page, flags=private)
view = memoryview(memory)
versions = [0] * count
def content(i): return hashlib.blake2b(b"%d %d" % (i, versions[i])).digest() * (page // 64) if versions[i] >= 0 else bytes(page)
for i in range(count): memory[i * page:(i + 1) * page] = content(i)
reader, writer = os.pipe()
def another(number):
    small = mmap.mmap(-1, 4 * page, flags=private); small[:] = b"%4d" % number * page
    return small
small = [another(i) for i in range(64)]
print("turn 1")
while True:
    for _ in range(100):
        i, way = random.randrange(count), random.randrange(4)
        if way == 0: versions[i] = -1; memory.madvise(mmap.MADV_DONTNEED, i * page, page)
        elif way == 1:
            versions[i] = abs(versions[i]) + 1; os.write(writer, content(i))
            assert os.readv(reader, [view[i * page:(i + 1) * page]]) == page
        else: versions[i] = abs(versions[i]) + 1; memory[i * page:(i + 1) * page] = content(i)
        i = random.randrange(64); small[i].close(); small[i] = another(i)
    if os.path.exists("ask"):
        for i in range(count): assert memory[i * page:(i + 1) * page] == content(i), i
        for i in range(64): assert small[i][:] == b"%4d" % i * page, i
        os.unlink("ask")
"#;

/// A parent and two children with 16 MiB in common; each writes pages of its own without end, and looks at all when it is asked.
pub(crate) const FAMILY: &str = r#"
import hashlib, mmap, os, random
page, count = mmap.PAGESIZE, 4096
memory = mmap.mmap(-1, count * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
versions = [0] * count
def content(i): return hashlib.blake2b(b"%d %d" % (i, versions[i])).digest() * (page // 64)
for i in range(count): memory[i * page:(i + 1) * page] = content(i)
parent, who = os.getpid(), 0
for number in (1, 2):
    if os.fork() == 0: who = number; break
asks = [f"ask {i}" for i in (1, 2)]
if who == 0: print("turn 1")
while who == 0 or os.getppid() == parent:
    for _ in range(10):
        i = random.randrange(count // 8)
        versions[i] = random.randrange(1 << 30); memory[i * page:(i + 1) * page] = content(i)
    ask = f"ask {who}" if who else "ask"
    if os.path.exists(ask):
        assert all(memory[i * page:(i + 1) * page] == content(i) for i in range(count))
        if who == 0:
            for name in asks: open(name, "w").close()
            while any(map(os.path.exists, asks)): assert os.waitpid(-1, os.WNOHANG) == (0, 0), "a child has ended"
        os.unlink(ask)
"#;

/// Steps of a checkpoint of a tree that runs on, in order.
const STEPS: [&str; 8] = [
    "begun",
    "made",
    "watched",
    "ahead",
    "stopped",
    "looked",
    "written",
    "before-rename",
];

#[test]
fn what_a_busy_process_writes_meanwhile_is_not_lost() {
    need!(Root, Program("python3"));
    apart!();
    runs_on_and_comes_back(BUSY, 44 << 20);
}

#[test]
fn relatives_that_write_meanwhile_keep_what_they_share() {
    need!(Root, Program("python3"));
    apart!();
    runs_on_and_comes_back(FAMILY, 40 << 20); // over 60 MiB, if each had its own
}

#[test]
fn killed_at_every_step_it_leaves_the_tree_running() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(BUSY);
    for step in STEPS {
        let mut actor = start("dump-running", tree.pid, &tree.images(), step);
        assert!(!actor.wait().unwrap().success(), "{step} was not reached");
        assert!(!tree.images().exists(), "{step}");
        is_not_watched(tree.pid, step);
        holds_none(tree.pid, step);
        is_alone(tree.pid, step);
        tree.ends_when_asked();
    }
    tree.dump(After::End).unwrap();
    tree.restore().unwrap();
    tree.ends_when_asked();
}

/// At instants spread over the time that a whole checkpoint takes, `PLIMSOLL_KILLS` of them.
#[test]
#[ignore = "runs for as long as it is told to"]
fn killed_at_any_instant_it_leaves_the_tree_running() {
    need!(Root, Program("python3"));
    apart!();
    let kills: u32 = std::env::var("PLIMSOLL_KILLS").unwrap().parse().unwrap();
    let tree = Tree::start(BUSY);
    let begun = Instant::now();
    let mut whole = start("dump-running", tree.pid, &tree.images(), "");
    assert!(whole.wait().unwrap().success());
    let takes = begun.elapsed();
    for kill in 0..kills {
        let _ = std::fs::remove_dir_all(tree.images());
        let mut actor = start("dump-running", tree.pid, &tree.images(), "");
        std::thread::sleep(takes * kill / kills);
        actor.kill().unwrap();
        actor.wait().unwrap();
        let when = format!("kill {kill} of {kills} in {takes:?}");
        if tree.images().exists() {
            let report = verify(&OnDisk::new(tree.images())).unwrap();
            assert_eq!(report.faults(), 0, "{when}: {report:?}");
        }
        is_not_watched(tree.pid, &when);
        holds_none(tree.pid, &when);
        is_alone(tree.pid, &when);
        tree.ends_when_asked();
    }
}

/// Checkpointed while it runs on, and restored twice: from pages as CRIU reads them, and packed. The images take at most so much.
fn runs_on_and_comes_back(script: &str, most_bytes: u64) {
    let mut tree = Tree::start(script);
    let images = tree.images();
    tree.dump(After::Run).unwrap();
    let ahead = images.join("parent");
    assert!(allocated(&ahead) > 12 << 20, "little was copied ahead");
    assert!(allocated(&images) < most_bytes, "{}", allocated(&images));
    is_not_watched(tree.pid, "done");
    holds_none(tree.pid, "done");
    tree.ends_when_asked();
    tree.end();
    let report = verify(&OnDisk::new(&images)).unwrap();
    assert_eq!(report.faults(), 0, "{report:?}");
    let packed = tree.dir.path().join("packed");
    convert(&images, &packed, Form::Packed(Codec::Lz4), None).unwrap();
    for images in [images, packed] {
        restore(&images).unwrap();
        tree.ends_when_asked();
        tree.end();
    }
}

/// None of its memory is protected by a userfaultfd.
fn is_not_watched(pid: u32, when: &str) {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut flags = smaps.lines().filter(|line| line.starts_with("VmFlags:"));
    assert!(flags.clone().count() > 0, "{when}");
    assert!(!flags.any(|line| line.contains(" uw")), "{when}");
}

/// It holds no userfaultfd.
fn holds_none(pid: u32, when: &str) {
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let link = std::fs::read_link(entry.unwrap().path()).unwrap_or_default();
        assert_ne!(link.as_os_str(), "anon_inode:[userfaultfd]", "{when}");
    }
}

/// No thread of ours stays in it.
fn is_alone(pid: u32, when: &str) {
    let begun = Instant::now();
    while std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .count()
        > 1
    {
        assert!(begun.elapsed() < PATIENCE, "{when}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What the files of a set take, without their holes.
fn allocated(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(directory).unwrap();
    let sizes = entries.map(|entry| {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => allocated(&entry.path()),
            false => entry.metadata().unwrap().blocks() * 512,
        }
    });
    sizes.sum()
}
