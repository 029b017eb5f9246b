//! Kinds of open files beside the plain.

use crate::tree::{Tree, every_kind_comes_back};
use plimsoll_checkpoint::{After, Options};
use plimsoll_testkit::{apart, need};

/// A file that never had a name, symbolic links with and without a name, a namespace, an epoll that was told of files by
/// numbers that are closed or others' by now, pidfds of a process that is gone, and a child with the same descriptor table.
const KINDS: &str = r#"
import ctypes, os, select, signal, time
nameless = os.open(".", os.O_RDWR | os.O_TMPFILE, 0o600); os.write(nameless, b"nameless")
for name in ("kept", "gone"): os.symlink("target", name)
kept, gone = (os.open(name, os.O_PATH | os.O_NOFOLLOW) for name in ("kept", "gone"))
os.unlink("gone")
net = os.open("/proc/self/ns/net", os.O_RDONLY)
poll = select.epoll()
pipes = [os.pipe() for _ in range(3)]
for i, (reader, _) in enumerate(pipes):
    number = os.dup2(reader, 100)
    poll.register(number, select.EPOLLIN)
    os.close(number)
ended = os.fork()
if ended == 0: os._exit(0)
pidfds = [os.pidfd_open(ended) for _ in range(2)]
os.waitpid(ended, 0)
inode = [os.fstat(fd).st_ino for fd in pidfds]
libc = ctypes.CDLL(None, use_errno=True)
CLONE_FILES = 0x400
child = libc.syscall(56, CLONE_FILES | signal.SIGCHLD, 0, 0, 0, 0)
if child == 0:
    while True: libc.syscall(34)
while True:
    assert os.pread(nameless, 20, 0) == b"nameless"
    assert [os.readlink("", dir_fd=fd) for fd in (kept, gone)] == ["target", "target"]
    assert os.readlink(f"/proc/self/fd/{net}") == os.readlink("/proc/self/ns/net")
    for reader, writer in pipes:
        assert poll.poll(0) == []
        os.write(writer, b"x")
        assert len(poll.poll(0)) == 1
        os.read(reader, 1)
    for fd in pidfds:
        try: signal.pidfd_send_signal(fd, 0); assert False, "the process is not gone"
        except ProcessLookupError: pass
    assert os.fstat(pidfds[0]).st_ino == os.fstat(pidfds[1]).st_ino
    opened = os.open("/dev/null", os.O_RDONLY)
    assert os.path.lexists(f"/proc/{child}/fd/{opened}"), "the table is not shared"
    os.close(opened)
    print("turn")
    time.sleep(0.01)
"#;

#[test]
fn every_kind_of_file_comes_back() {
    need!(Root, Program("python3"));
    apart!();
    every_kind_comes_back(KINDS);
}

/// Holds a lease that another open file wants to share; told once.
const LEASE: &str = r#"
import fcntl, os, signal, time
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(1))
open("held", "w").close(); held = os.open("held", os.O_RDWR)
fcntl.fcntl(held, fcntl.F_SETSIG, signal.SIGUSR1); fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
try: os.open("held", os.O_RDONLY | os.O_NONBLOCK)
except BlockingIOError: pass
while not told: time.sleep(0.01)
while True:
    assert fcntl.fcntl(held, fcntl.F_GETLEASE) == fcntl.F_RDLCK, "lease"
    assert len(told) == 1, "told again"
    print("turn"); time.sleep(0.01)
"#;

#[test]
fn a_lease_that_is_being_broken_is_not_told_again() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(LEASE);
    let options = Options {
        file_locks: true,
        ..Options::default()
    };
    tree.dump_with(After::End, options).unwrap();
    tree.restore().unwrap();
    let said = tree.says().len();
    let says = tree.hear(said + 3);
    assert!(says.iter().all(|line| line == "turn"), "{says:?}");
}
