//! Seccomp filters hold after a restore as before, each thread's its own, and none judges the calls of checkpoint and restore.

use crate::tree::Tree;
use plimsoll_checkpoint::After;
use plimsoll_testkit::{apart, need};

/// The first thread is denied one call, the second two; what they are denied is told by an error of their own.
const DENIED: &str = r#"
import ctypes, struct, threading, time
libc = ctypes.CDLL(None, use_errno=True)
SYSINFO, TIMES, PRCTL = 99, 100, 157
def deny(call, error):
    rows = [(0x20, 0, 0, 0), (0x15, 0, 1, call), (6, 0, 0, 0x50000 | error), (6, 0, 0, 0x7fff0000)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(rows), ctypes.addressof(program)))
    assert libc.prctl(22, 2, fprog, 0, 0) == 0
def denied(call):
    room = ctypes.create_string_buffer(512)
    ctypes.set_errno(0); libc.syscall(call, room, 0, 0, 0, 0)
    return ctypes.get_errno()
assert libc.prctl(38, 1, 0, 0, 0) == 0
deny(SYSINFO, 77)
told = []
def other():
    deny(TIMES, 78); deny(PRCTL, 79)
    while True:
        told.append((denied(SYSINFO), denied(TIMES), denied(PRCTL))); time.sleep(0.01)
threading.Thread(target=other, daemon=True).start()
while not told: time.sleep(0.01)
turn = 0
while True:
    turn += 1; told.clear()
    while not told: time.sleep(0.01)
    assert denied(SYSINFO) == 77 and denied(TIMES) == 0, "the first thread's"
    assert set(told) == {(77, 78, 79)}, told
    print("turn", turn)
"#;

#[test]
fn filters_hold() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(DENIED);
    tree.dump(After::Run).unwrap();
    std::fs::remove_dir_all(tree.images()).unwrap();
    tree.dump(After::End).unwrap();
    let said = tree.says().len();
    tree.restore().unwrap();
    let says = tree.hear(said + 5);
    for (i, line) in says.iter().enumerate() {
        assert_eq!(*line, format!("turn {}", i + 1), "{says:?}");
    }
}
