//! System V shared memory comes along by number and key, also where it went with the tree; with an IPC namespace of the
//! tree's own come semaphores and message queues, too.

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

/// An IPC namespace of its own with semaphores, messages of two types, a segment that nobody has attached, and a limit.
/// Names of objects are not the first ones, and asked for again by their keys.
pub(crate) const NAMESPACE: &str = r#"
import ctypes, os, struct, time
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
libc.msgrcv.restype = libc.msgrcv.argtypes = None
libc.msgrcv.restype = ctypes.c_ssize_t
libc.msgrcv.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long, ctypes.c_int]
assert libc.unshare(0x08000000) == 0
open("/proc/sys/kernel/msgmax", "w").write("7777")
for _ in range(3): libc.semctl(libc.semget(0, 1, 0o600), 0, 0); libc.msgctl(libc.msgget(0, 0o600), 0, None)
os.setegid(2); os.seteuid(1) # bin, daemon
sems, queue, segment = libc.semget(77, 3, 0o1640), libc.msgget(78, 0o1620), libc.shmget(79, 5000, 0o1600)
os.seteuid(0); os.setegid(0)
assert min(sems, queue, segment) >= 0
for number, value in enumerate([5, 0, 32767]): libc.semctl(sems, number, 16, value)
def send(kind, text): assert libc.msgsnd(queue, struct.pack("q", kind) + text, len(text), 0o4000) == 0, "send"
def take(kind):
    room = ctypes.create_string_buffer(10000)
    length = libc.msgrcv(queue, room, 9990, kind, 0o4000)
    return None if length < 0 else room.raw[8:8 + length]
send(9, b"nine"); send(3, b"three" * 1000); send(9, b""); send(9, b"last")
at = libc.shmat(segment, None, 0); ctypes.memmove(at, b"left alone", 10); libc.shmdt(ctypes.c_void_p(at))
while True:
    again = libc.semget(77, 0, 0), libc.msgget(78, 0), libc.shmget(79, 0, 0)
    assert again == (sems, queue, segment), "numbers"
    assert [libc.semctl(sems, number, 12) for number in range(3)] == [5, 0, 32767], "values"
    assert take(3) == b"three" * 1000, "by type"; send(3, b"three" * 1000)
    for text in [b"nine", b"", b"last"]: assert take(9) == text, "in order"; send(9, text)
    at = libc.shmat(segment, None, 0x1000); assert ctypes.string_at(at, 10) == b"left alone", "segment"
    libc.shmdt(ctypes.c_void_p(at))
    assert open("/proc/sys/kernel/msgmax").read().strip() == "7777", "limit"
    print("turn"); time.sleep(0.01)
"#;

#[test]
fn a_namespace_of_its_own_comes_along_with_all_that_is_in_it() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(NAMESPACE);
    let made = creators(tree.pid);
    assert!(made.contains("daemon"), "{made}");
    for after in [After::Run, After::End, After::End] {
        let _ = std::fs::remove_dir_all(tree.images());
        let said = tree.says().len();
        tree.dump(after).unwrap();
        if after == After::End {
            let restored = tree.restore().unwrap();
            let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/ipc")).unwrap();
            assert_ne!(of(&restored.pid.to_string()), of("self"));
            assert_eq!(of("thread-self"), of("self"), "we are back");
            assert_eq!(creators(restored.pid), made);
        }
        let says = tree.hear(said + 5);
        assert!(says.iter().all(|line| line == "turn"), "{says:?}");
    }
    tree.end();
}

/// Who has made the objects in the namespace of a process, and whose they are now.
fn creators(pid: u32) -> String {
    let pid = pid.to_string();
    let mut ipcs = std::process::Command::new("nsenter");
    let told = ipcs
        .args(["-t", &pid, "-i", "ipcs", "-c"])
        .output()
        .unwrap();
    String::from_utf8(told.stdout).unwrap()
}

#[test]
fn what_would_be_undone_and_posix_queues_are_refused() {
    need!(Root, Program("python3"));
    apart!();
    const UNDO: &str = r#"
sems = libc.semget(0, 1, 0o1600)
assert libc.semop(sems, struct.pack("Hhh", 0, 1, 0x1000), 1) == 0 # SEM_UNDO
"#;
    const HELD: &str = r#"
assert libc.mq_open(b"/held", 0o102, 0o600, None) >= 0
"#;
    const LEFT: &str = r#"
assert libc.unshare(0x08000000) == 0
os.close(libc.mq_open(b"/left", 0o102, 0o600, None))
"#;
    const BEGIN: &str = "import ctypes, os, struct, time\nlibc = ctypes.CDLL(None)\n";
    const END: &str = "print('turn')\nwhile True: time.sleep(0.01)\n";
    for (what, told) in [(UNDO, "SEM_UNDO"), (HELD, "POSIX"), (LEFT, "POSIX")] {
        let mut tree = Tree::start(&[BEGIN, what, END].concat());
        let refused = tree.dump(After::End);
        let is_told =
            matches!(&refused, Err(Error::Refused(obstacles)) if obstacles[0].what.contains(told));
        assert!(is_told, "{told}: {refused:?}");
        assert!(tree.is_alive(), "{told}");
        tree.end();
    }
}

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
