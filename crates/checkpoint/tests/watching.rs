//! Who watched files before goes on watching them, by the same numbers, and sees nothing of the restore.

use crate::tree::Tree;
use plimsoll_checkpoint::After;
use plimsoll_testkit::{apart, need};

/// Watches a directory, a file in it and one that is unlinked but open.
const WATCHES: &str = r#"
import ctypes, os, struct, time
libc = ctypes.CDLL(None, use_errno=True)
IN_CREATE, IN_CLOSE_WRITE, IN_ATTRIB, ALL = 0x100, 0x8, 0x4, 0xfff
watcher = libc.inotify_init1(0o4000)
os.mkdir("dir"); open("dir/file", "w").close(); gone = os.open("dir/gone", os.O_CREAT | os.O_RDWR)
spare = libc.inotify_add_watch(watcher, b"/", ALL); libc.inotify_rm_watch(watcher, spare)
numbers = [libc.inotify_add_watch(watcher, path, mask) for path, mask in
           [(b"dir", IN_CREATE), (b"dir/file", IN_ATTRIB | IN_CLOSE_WRITE), (b"dir/gone", ALL)]]
assert numbers == [2, 3, 4], numbers
os.unlink("dir/gone")
def events():
    try: told = os.read(watcher, 4096)
    except BlockingIOError: return []
    found, at = [], 0
    while at < len(told):
        wd, mask, cookie, length = struct.unpack_from("iIII", told, at)
        found.append((wd, hex(mask), told[at + 16:at + 16 + length].strip(b"\0"))); at += 16 + length
    return found
events()
print("ready")
while not os.path.exists("look"): time.sleep(0.01)
print(events())
open("dir/new", "w").close(); open("dir/file", "w").close(); os.write(gone, b"x"); os.close(gone)
for event in events(): print(event)
print("done")
while True: time.sleep(1)
"#;

#[test]
fn watches_go_on() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(WATCHES);
    tree.dump(After::End).unwrap();
    tree.restore().unwrap();
    std::fs::write(tree.dir.path().join("look"), "").unwrap();
    let mut says = tree.hear(2);
    while says.last().unwrap() != "done" {
        says = tree.hear(says.len() + 1);
    }
    let told = [
        "ready",
        "[]",
        "(2, '0x100', b'new')",
        "(3, '0x8', b'')",
        "(4, '0x2', b'')",
        "(4, '0x8', b'')",
    ];
    assert_eq!(says[..6], told, "{says:?}");
}
