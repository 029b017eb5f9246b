//! Kinds of memory beside the plain.

use crate::tree::{Tree, every_kind_comes_back};
use plimsoll_checkpoint::After;
use plimsoll_testkit::{apart, need};

/// Four pages of which two are guard pages (Linux 6.13; before, none is), the object of a shared mapping whose size is not
/// that of the mapping, and memory that children are not born with.
const KINDS: &str = r#"
import ctypes, mmap, os, time
page = mmap.PAGESIZE
guarded = mmap.mmap(-1, 4 * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(4): guarded[i * page] = i + 1
try: guarded.madvise(102, page, 2 * page)
except OSError: pass
at = ctypes.addressof(ctypes.c_char.from_buffer(guarded))
def readable(i):
    memory = open("/proc/self/mem", "rb", 0)
    try: return os.pread(memory.fileno(), 1, at + i * page) == bytes([i + 1])
    except OSError: return False
    finally: memory.close()
readable_before = [readable(i) for i in range(4)]
assert readable_before[0] and readable_before[3]
shared = mmap.mmap(-1, page)
start = ctypes.addressof(ctypes.c_char.from_buffer(shared))
short = open(f"/proc/self/map_files/{start:x}-{start + page:x}", "r+b", 0)
short.truncate(5); os.pwrite(short.fileno(), b"hello", 0)
wiped = mmap.mmap(-1, page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
wiped.madvise(18); wiped[:4] = b"mine"
child = os.fork()
while True:
    assert [readable(i) for i in range(4)] == readable_before
    assert os.fstat(short.fileno()).st_size == 5 and shared[:5] == b"hello"
    assert wiped[:4] == (b"mine" if child else bytes(4))
    if child:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the child has ended"
        print("turn")
    time.sleep(0.01)
"#;

#[test]
fn every_kind_of_memory_comes_back() {
    need!(Root, Program("python3"));
    apart!();
    every_kind_comes_back(KINDS);
}

/// A ring of `io_setup(2)` in which three events always wait; now and then its end is behind its beginning.
pub(crate) const RING: &str = r#"
import ctypes, os, struct, time
libc = ctypes.CDLL(None, use_errno=True)
context = ctypes.c_uint64(0)
assert libc.syscall(206, 20, ctypes.byref(context)) == 0 # io_setup
file = os.open("written", os.O_RDWR | os.O_CREAT)
text = ctypes.create_string_buffer(b"text")
def submit(number):
    request = ctypes.create_string_buffer(struct.pack("=QIIHhIQQqQII", number, 0, 0, 1, 0, file,
        ctypes.addressof(text), 4, number % 50 * 4, 0, 0, 0))
    list = (ctypes.c_void_p * 1)(ctypes.addressof(request))
    assert libc.syscall(209, context, 1, list) == 1, "io_submit"
def event():
    room = (ctypes.c_int64 * 4)()
    assert libc.syscall(208, context, 1, 1, room, None) == 1, "io_getevents"
    return room[0], room[2]
for number in range(3): submit(number)
number = 3
while True:
    for _ in range(7):
        submit(number); number += 1
        assert event() == (number - 4, 4), "events in order"
    assert os.pread(file, 4, 0) == b"text"
    print("turn"); time.sleep(0.005)
"#;

#[test]
fn rings_of_io_setup_come_back_with_the_events_in_them() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(RING);
    for _ in 0..4 {
        let _ = std::fs::remove_dir_all(tree.images());
        tree.dump(After::End).unwrap();
        let said = tree.says().len();
        tree.restore().unwrap();
        let says = tree.hear(said + 12);
        assert!(says.iter().all(|line| line == "turn"), "{says:?}");
    }
    tree.end();
}
