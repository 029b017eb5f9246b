//! Pages that parent and child have shared since a `fork(2)` are shared again.

use crate::tree::{Tree, restore};
use plimsoll_checkpoint::After;
use plimsoll_image::convert::{Form, convert};
use plimsoll_image::directory::OnDisk;
use plimsoll_image::packed::Codec;
use plimsoll_image::verify::verify;
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_testkit::{apart, need};
use plimsoll_units::PageSize;
use std::path::Path;

/// 64 pages: the child has written every fourth since, has given up the last eight, and both check all of them.
pub(crate) const FAMILY: &str = r#"
import ctypes, mmap, os, time
page = mmap.PAGESIZE
memory = mmap.mmap(-1, 64 * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(64): memory[i * page] = i + 1
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
child = os.fork()
if child == 0:
    for i in range(0, 56, 4): memory[i * page + 1] = 77
    memory.madvise(mmap.MADV_DONTNEED, 56 * page, 8 * page)
    open("ready", "w").close()
    while True:
        for i in range(64):
            assert memory[i * page] == (i + 1 if i < 56 else 0), i
            assert memory[i * page + 1] == (77 if i < 56 and i % 4 == 0 else 0), i
        time.sleep(0.01)
while not os.path.exists("ready"): time.sleep(0.01)
while True:
    assert all(memory[i * page] == i + 1 and memory[i * page + 1] == 0 for i in range(64))
    assert os.waitpid(child, os.WNOHANG) == (0, 0), "the child has ended"
    print(at, child)
    time.sleep(0.01)
"#;

#[test]
fn pages_shared_by_fork_are_shared_again() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(FAMILY);
    let said = tree.says();
    let numbers: Vec<u64> = said[0]
        .split(' ')
        .map(|word| word.parse().unwrap())
        .collect();
    let child = u32::try_from(numbers[1]).unwrap();
    let before = shared(tree.pid, child, numbers[0]);
    assert_eq!(before.iter().filter(|shared| **shared).count(), 42);
    tree.dump(After::End).unwrap();
    tree.restore().unwrap();
    assert_eq!(shared(tree.pid, child, numbers[0]), before);
    let heard = tree.says().len();
    let says = tree.hear(heard + 3);
    assert_eq!(says.last(), said.first(), "{says:?}");
}

/// A parent and four children with 5 MiB in common, of which each child has a page of its own. All look at all of it.
pub(crate) const NURSERY: &str = r#"
import hashlib, mmap, os, time
page, count = mmap.PAGESIZE, 1280
memory = mmap.mmap(-1, count * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(count): memory[i * page:(i + 1) * page] = hashlib.sha256(b"%d" % i).digest() * (page // 32)
parent = os.getpid()
def watch(number):
    memory[number * page:number * page + 5] = b"child"
    digest = hashlib.sha256(memory).digest()
    open(f"ready {number}", "w").close()
    while os.getppid() == parent:
        if hashlib.sha256(memory).digest() != digest: os._exit(3)
        time.sleep(0.01)
    os._exit(0)
children = []
for number in range(4):
    child = os.fork()
    if child == 0: watch(number)
    children.append(child)
digest = hashlib.sha256(memory).digest()
while not all(os.path.exists(f"ready {number}") for number in range(4)): time.sleep(0.01)
while True:
    assert hashlib.sha256(memory).digest() == digest
    assert all(os.waitpid(child, os.WNOHANG) == (0, 0) for child in children), "a child has ended"
    print("turn")
    time.sleep(0.01)
"#;

/// In raw pages, which CRIU reads, and packed from them.
#[test]
fn pages_of_relatives_are_stored_once() {
    need!(Root, Program("python3"));
    let mut tree = Tree::start(NURSERY);
    tree.dump(After::End).unwrap();
    let images = tree.images();
    assert!(bytes_in(&images) < 16 << 20, "{}", bytes_in(&images)); // over 25 MiB, if each had its own
    let report = verify(&OnDisk::new(&images)).unwrap();
    assert_eq!(report.faults(), 0, "{report:?}");
    let packed = tree.dir.path().join("packed");
    convert(&images, &packed, Form::Packed(Codec::Lz4), None).unwrap();
    let says = tree.dir.path().join("says");
    let (before, said) = (std::fs::read(&says).unwrap(), tree.says().len());
    for images in [images, packed] {
        std::fs::write(&says, &before).unwrap(); // as long as it was
        let restored = restore(&images).unwrap();
        assert_eq!(restored.processes, 5);
        let says = tree.hear(said + 3);
        assert!(says.iter().all(|line| line == "turn"), "{says:?}");
        tree.end();
    }
}

fn bytes_in(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap();
    let sizes = entries.map(|entry| {
        let entry = entry.unwrap();
        let is_set = entry.file_type().unwrap().is_dir();
        if is_set {
            bytes_in(&entry.path())
        } else {
            entry.metadata().unwrap().len()
        }
    });
    sizes.sum()
}

/// For each of 64 pages whether both have the same.
fn shared(one: u32, other: u32, at: u64) -> Vec<bool> {
    let page = PageSize::new(rustix::param::page_size() as u64).unwrap();
    let frames = |pid: u32| {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        let mut frames = Vec::new();
        let keep = |_, entry: plimsoll_sys::pagemap::Entry| frames.push(entry.frame());
        let pagemap = Pagemap::open(pid, page).unwrap();
        pagemap
            .entries(Span::new(at, 64 * page.get()), keep)
            .unwrap();
        frames
    };
    let pairs = frames(one).into_iter().zip(frames(other));
    pairs
        .map(|(one, other)| one.is_some() && one == other)
        .collect()
}
