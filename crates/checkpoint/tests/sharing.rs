//! Pages that parent and child have shared since a `fork(2)` are shared again.

use crate::tree::Tree;
use plimsoll_checkpoint::After;
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_testkit::{apart, need};
use plimsoll_units::PageSize;

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
