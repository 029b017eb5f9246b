//! System V shared memory comes along by number and key, also where it went with the tree.

use crate::tree::Tree;
use plimsoll_checkpoint::{After, Error};
use plimsoll_sys::sysv_shm;
use plimsoll_testkit::{apart, need};

/// A parent and a child share a segment with a key, and one that goes with them; both count in both.
const SHARES: &str = r#"
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
key = os.getpid() | 0x504c0000
kept = libc.shmget(key, 3 << 20, 0o1600)
going = libc.shmget(0, 5000, 0o1600)
assert kept >= 0 and going >= 0
at = [libc.shmat(kept, None, 0), libc.shmat(going, None, 0)]
libc.shmctl(going, 0, None)
counts = [ctypes.c_uint64.from_address(place) for place in at]
tail = ctypes.c_uint64.from_address(at[0] + (3 << 20) - 8); tail.value = 42
if os.fork() == 0:
    while True: counts[0].value += 1; counts[1].value += 1; time.sleep(0.005)
print(kept)
turn, last = 0, 0
while True:
    before = [count.value for count in counts]; turn += 1
    while any(b >= count.value for b, count in zip(before, counts)): time.sleep(0.01) # the child counts on
    assert tail.value == 42 and libc.shmget(key, 0, 0) == kept, "the segment"
    assert before[0] >= last, "counts begin anew"
    last = before[0]
    print("turn", turn)
"#;

/// Segments outlive who made them.
struct Goes(i32);

impl Drop for Goes {
    fn drop(&mut self) {
        let _ = sysv_shm::remove(self.0);
    }
}

#[test]
fn segments_come_back_whether_they_are_still_there_or_not() {
    need!(Root, Program("python3"));
    apart!();
    for lost in [false, true] {
        let mut tree = Tree::start(SHARES);
        let kept: i32 = tree.says()[0].parse().unwrap();
        let _goes = Goes(kept);
        tree.hear(3);
        tree.dump(After::End).unwrap();
        if lost {
            sysv_shm::remove(kept).unwrap(); // as after a restart of the host
        }
        let said = tree.says().len();
        tree.restore().unwrap();
        let says = tree.hear(said + 5);
        for (i, line) in says.iter().enumerate().skip(1) {
            assert_eq!(*line, format!("turn {i}"), "{says:?}");
        }
        assert_eq!(sysv_shm::status(kept).unwrap().attached, 2);
    }
}

#[test]
fn a_segment_that_others_have_attached_is_refused() {
    need!(Root, Program("python3"));
    apart!();
    let tree = Tree::start(SHARES);
    let _goes = Goes(tree.says()[0].parse().unwrap());
    let pid = tree.pid;
    let child = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let child = child.trim().parse().unwrap();
    let refused = crate::tree::dump(child, &tree.images(), After::Run);
    let remedied = matches!(&refused, Err(Error::Refused(obstacles)) if obstacles[0].what.contains("System V"));
    assert!(remedied, "{refused:?}");
}
