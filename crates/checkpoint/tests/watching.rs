//! Who watched files before goes on watching them, by the same numbers, and sees nothing of the restore.

use crate::tree::{Tree, every_kind_comes_back};
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

/// An epoll that is on its way through a socket, which it watches itself; and the mapped ring of a packet socket.
const ELSEWHERE: &str = r#"
import mmap, os, select, socket, struct, time
one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
def send():
    poll = select.epoll(); poll.register(two, select.EPOLLIN)
    socket.send_fds(one, [b"an epoll"], [poll.fileno()]); poll.close()
send()
packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); packets.bind(("lo", 0))
SOL_PACKET, PACKET_RX_RING, FRAME, FRAMES = 263, 5, mmap.PAGESIZE // 4, 4
packets.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack("IIII", mmap.PAGESIZE, 1, FRAME, FRAMES))
ring = mmap.mmap(packets.fileno(), mmap.PAGESIZE)
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def taken():
    full = [at for at in range(0, FRAME * FRAMES, FRAME) if ring[at] & 1]
    for at in full: ring[at:at + 8] = bytes(8) # back to the kernel
    return full
while True:
    _, fds, _, _ = socket.recv_fds(two, 100, 1)
    poll = select.epoll.fromfd(fds[0])
    assert poll.poll(0) == [], "nothing waits"
    one.send(b"x"); assert len(poll.poll(0)) == 1, "an epoll in flight"; two.recv(1)
    poll.close(); send()
    out.sendto(b"packet", ("127.0.0.1", 9))
    while not taken(): time.sleep(0.001)
    print("turn"); time.sleep(0.01)
"#;

#[test]
fn an_epoll_in_flight_and_a_mapped_ring_come_back() {
    need!(Root, Program("python3"));
    apart!();
    every_kind_comes_back(ELSEWHERE);
}
