//! Kinds of memory beside the plain.

use crate::tree::every_kind_comes_back;
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
