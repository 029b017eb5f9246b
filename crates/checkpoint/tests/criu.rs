//! Together with CRIU, both ways: it restores what we checkpoint, and we restore what it dumps.
//!
//! One program, or more, of each of the first nine groups of resources; each checks itself at every turn, and says so.

use crate::ahead;
use crate::going_on::{FAMILY, HOLDS};
use crate::memory::RING;
use crate::segments::NAMESPACE;
use crate::sharing::NURSERY;
use crate::tree::Tree;
use plimsoll_checkpoint::After;
use plimsoll_testkit::{apart, criu, need};
use rustix::process::WaitOptions;
use std::process::Command;
use std::time::Duration;

/// Timers of three kinds that tick on, and one that is far from its end.
const TIMERS: &str = r#"
import ctypes, os, signal, struct, time
ticks = []
signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
signal.signal(signal.SIGVTALRM, signal.SIG_IGN)
signal.setitimer(signal.ITIMER_VIRTUAL, 5000, 7000)
libc = ctypes.CDLL(None)
fd = libc.timerfd_create(time.CLOCK_MONOTONIC, 0)
assert libc.timerfd_settime(fd, 0, struct.pack("qqqq", 0, 10**7, 0, 10**7), None) == 0
while True:
    before = len(ticks)
    assert struct.unpack("Q", os.read(fd, 8))[0] > 0, "timerfd"
    while len(ticks) == before: signal.pause()
    left, every = signal.getitimer(signal.ITIMER_VIRTUAL)
    assert 4000 < left < 5001 and 6999 < every < 7001, "virtual timer"
    print("turn")
"#;

/// An eventfd with a count, an epoll that watches it and a pipe, a signalfd, a memfd.
const EVENTS: &str = r#"
import ctypes, os, select, signal, struct, time
libc = ctypes.CDLL(None)
event = os.eventfd(7)
reader, writer = os.pipe()
poll = select.epoll()
poll.register(event, select.EPOLLIN); poll.register(reader, select.EPOLLIN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
signals = libc.signalfd(-1, struct.pack("Q120x", 1 << signal.SIGUSR2 - 1), 0)
memory = os.memfd_create("held"); os.write(memory, b"in memory")
while True:
    assert dict(poll.poll(0)) == {event: select.EPOLLIN}, "epoll"
    os.write(writer, b"x"); assert len(poll.poll(0)) == 2, "epoll of a pipe"; os.read(reader, 1)
    assert os.eventfd_read(event) == 7, "eventfd"; os.eventfd_write(event, 7)
    os.kill(os.getpid(), signal.SIGUSR2)
    assert struct.unpack("I", os.read(signals, 128)[:4])[0] == signal.SIGUSR2, "signalfd"
    assert os.pread(memory, 20, 0) == b"in memory", "memfd"
    print("turn"); time.sleep(0.01)
"#;

/// A pair with bytes and an open file on their way, and a listener with a name.
const UNIX: &str = r#"
import array, os, socket, time
one, two = socket.socketpair()
passed = os.open("passed", os.O_RDWR | os.O_CREAT); os.write(passed, b"passed on")
def send(): socket.send_fds(one, [b"with a file"], [passed])
send()
listener = socket.socket(socket.AF_UNIX); listener.bind("name"); listener.listen(5)
while True:
    said, fds, _, _ = socket.recv_fds(two, 100, 1)
    assert said == b"with a file", "queue"
    assert os.pread(fds[0], 20, 0) == b"passed on", "a file on its way"; os.close(fds[0]); send()
    caller = socket.socket(socket.AF_UNIX); caller.connect("name")
    answers, _ = listener.accept(); answers.sendall(b"here"); assert caller.recv(9) == b"here", "listener"
    answers.close(); caller.close()
    print("turn"); time.sleep(0.01)
"#;

/// What each is for.
const PROGRAMS: [(&str, &str); 8] = [
    ("memory, threads, signals, files, pipes", HOLDS),
    ("timers", TIMERS),
    ("trees", FAMILY),
    ("events", EVENTS),
    ("UNIX sockets", UNIX),
    ("pages in common", NURSERY),
    ("an IPC namespace", NAMESPACE),
    ("a ring of io_setup", RING),
];

/// Runs CRIU on the images of a tree; its log is shown where it fails.
fn run_criu(tree: &Tree, action: &str, arguments: &[&str]) {
    let images = tree.images();
    let log = format!("{action}.log");
    let done = Command::new(criu())
        .arg(action)
        .arg("--images-dir")
        .arg(&images)
        .args(["--log-file", &log])
        .args(arguments)
        .status()
        .unwrap();
    let text = std::fs::read_to_string(images.join(&log)).unwrap_or_default();
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("Error")).collect();
    assert!(done.success(), "{action}: {errors:#?}");
}

/// It says more, and nothing is amiss: the last word of one that found something is no turn.
fn goes_on(what: &str, tree: &Tree, said: usize) {
    let says = tree.hear(said + 5);
    assert!(
        says.iter().all(|line| line.starts_with("turn")),
        "{what}: {says:?}"
    );
    assert!(tree.is_alive(), "{what}");
    // The family takes leave of its members in other sessions.
    std::fs::write(tree.dir.path().join("ask"), "").unwrap();
    if what == "trees" {
        while tree.is_alive() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn criu_restores_what_we_checkpoint() {
    need!(Root, Criu, Program("python3"));
    apart!();
    // Who has ended, and what CRIU starts and leaves, is ours to wait for.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    for (what, program) in PROGRAMS {
        let mut tree = Tree::start(program);
        tree.dump(After::End).unwrap();
        while rustix::process::wait(WaitOptions::empty()).is_ok() {}
        let said = tree.says().len();
        run_criu(&tree, "restore", &["--restore-detached"]);
        goes_on(what, &tree, said);
    }
}

#[test]
fn criu_restores_what_was_copied_ahead() {
    need!(Root, Criu, Program("python3"));
    apart!();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    for program in [ahead::BUSY, ahead::FAMILY] {
        let mut tree = Tree::start(program);
        tree.dump(After::Run).unwrap();
        assert!(tree.images().join("parent").exists());
        tree.end();
        run_criu(&tree, "restore", &["--restore-detached"]);
        tree.ends_when_asked();
        tree.end();
    }
}

#[test]
fn we_restore_what_criu_dumps() {
    need!(Root, Criu, Program("python3"));
    apart!();
    for (what, program) in PROGRAMS {
        let mut tree = Tree::start(program);
        std::fs::create_dir(tree.images()).unwrap();
        let pid = tree.pid.to_string();
        run_criu(&tree, "dump", &["--tree", &pid]);
        tree.reap();
        let said = tree.says().len();
        tree.restore().unwrap();
        goes_on(what, &tree, said);
    }
}
