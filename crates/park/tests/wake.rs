//! Parked trees that wake by themselves: for every kind of sleep, whatever is killed.
//!
//! The sleepers are small Python programs: each checks its memory whenever it says a word.

use crate::surgeon::{Theatre, Verb};
use plimsoll_park::wake::{self, WakeOn, Watching};
use plimsoll_testkit::{apart, need};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const PRELUDE: &str = r#"
import ctypes, os, select, signal, socket, struct, sys, time, zlib
memory = bytearray(os.urandom(64) * 65536)
sum = zlib.crc32(memory)
def say(word):
    assert zlib.crc32(memory) == sum, "a changed byte"
    print(word, flush=True)
libc = ctypes.CDLL(None)
def signalfd(number):
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    return libc.signalfd(-1, struct.pack("Q120x", 1 << number - 1), 0)
def timerfd(seconds):
    fd = libc.timerfd_create(1, 0)
    libc.timerfd_settime(fd, 0, struct.pack("qqqq", 0, 0, seconds, 0), None)
    return fd
def epoll(*members):
    set = select.epoll()
    for fd, events in members: set.register(fd, events)
    return set
IN, ET = select.EPOLLIN, select.EPOLLET
"#;

/// So long a word is waited for: longer than any sleep here.
const PATIENCE: Timespec = Timespec {
    tv_sec: 40,
    tv_nsec: 0,
};

/// A Python program that sleeps.
struct Sleeper {
    child: Child,
    words: BufReader<ChildStdout>,
}

impl Sleeper {
    /// Starts it, and waits until it is about to sleep.
    fn start(script: &str, stdin: impl Into<Stdio>) -> Self {
        let script = format!("{PRELUDE}\nsay('ready')\n{script}\n");
        let mut child = Command::new("python3")
            .args(["-c", &script])
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let words = BufReader::new(child.stdout.take().unwrap());
        let mut sleeper = Self { child, words };
        assert_eq!(sleeper.word(), "ready");
        sleeper.falls_asleep();
        sleeper
    }

    /// Waits until its one thread sleeps in the same call for a while.
    fn falls_asleep(&self) {
        let path = format!("/proc/{}/syscall", self.child.id());
        let mut seen = String::new();
        let mut same = 0;
        while same < 5 {
            std::thread::sleep(Duration::from_millis(10));
            let now = std::fs::read_to_string(&path).unwrap();
            same = if now == seen && now != "running\n" {
                same + 1
            } else {
                0
            };
            seen = now;
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The next word; empty when it has ended, or said nothing for long.
    fn word(&mut self) -> String {
        let waiting = &mut [PollFd::new(self.words.get_ref(), PollFlags::IN)];
        if self.words.buffer().is_empty() && poll(waiting, Some(&PATIENCE)) != Ok(1) {
            return String::new();
        }
        let mut line = String::new();
        self.words.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Theatre {
    fn park_to_wake(&self, sleeper: &Sleeper) {
        let mut surgeon = self.surgeon(Verb::ParkToWake, sleeper.pid(), None);
        let parked = surgeon.stdout(Stdio::null()).status().unwrap();
        assert!(parked.success());
        let record = self.record_of(sleeper.pid()).unwrap();
        assert_eq!(record.wake, WakeOn::Input);
    }

    /// Sees to it that there is a watcher, which dies at this step.
    fn watch(&self, step: Option<&str>) -> Result<Watching, plimsoll_park::ParkError> {
        let test = std::env::current_exe().unwrap();
        let target = test.ancestors().nth(2).unwrap();
        let mut watcher = Command::new(target.join("examples/watcher"));
        watcher.arg(self.records());
        watcher.env("PLIMSOLL_FAULT_POINT", step.unwrap_or(""));
        wake::ensure(&self.runtime(), &mut watcher)
    }

    /// Parks a sleeper, has it watched, wakes it, and sees it come back with nothing left behind.
    fn park_and_wake(&self, sleeper: &mut Sleeper, wake: impl FnOnce()) {
        self.park_to_wake(sleeper);
        assert_eq!(self.watch(None).unwrap(), Watching::Started);
        wake();
        assert_eq!(sleeper.word(), "woke");
        self.until_unwatched();
        assert!(self.record_of(sleeper.pid()).is_none(), "a record is left");
        assert_eq!(self.stores(), 0, "a store is left");
    }

    fn until_unwatched(&self) {
        while self.runtime().is_watched().unwrap() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn pipe() -> (OwnedFd, std::fs::File) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (reader, writer.into())
}

/// A terminal: its slave, and its master.
fn terminal() -> (OwnedFd, std::fs::File) {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
    (slave, master.into())
}

#[test]
fn a_byte_wakes_whoever_sleeps_on_it_by_whatever_call() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    for sleep in [
        "os.read(0, 1)",
        "os.readv(0, [bytearray(1)])",
        "select.select([0], [], [])",
        "select.select([0], [], [], 5)",
        "poll = select.poll(); poll.register(0, select.POLLIN); poll.poll()",
        "epoll((0, IN)).poll()",
        "epoll((0, IN | ET)).poll()",
        "inner = epoll((0, IN)); epoll((inner.fileno(), IN)).poll()",
        // With a signalfd in it, the instance itself is not polled.
        "epoll((0, IN), (signalfd(10), IN)).poll()",
    ] {
        println!("{sleep}");
        let (reader, mut writer) = pipe();
        let mut sleeper = Sleeper::start(&format!("{sleep}\nsay('woke')\ntime.sleep(60)"), reader);
        theatre.park_and_wake(&mut sleeper, || writer.write_all(b"x").unwrap());
    }
}

#[test]
fn what_came_before_anybody_watched_wakes() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    let (reader, mut writer) = pipe();
    let mut sleeper = Sleeper::start("os.read(0, 1); say('woke'); time.sleep(60)", reader);
    theatre.park_to_wake(&sleeper);
    writer.write_all(b"x").unwrap();
    theatre.watch(None).unwrap();
    assert_eq!(sleeper.word(), "woke");
    theatre.until_unwatched();
}

#[test]
fn a_line_wakes_who_reads_a_terminal() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    let (slave, mut master) = terminal();
    let mut sleeper = Sleeper::start("sys.stdin.readline(); say('woke'); time.sleep(60)", slave);
    theatre.park_to_wake(&sleeper);
    let record = theatre.record_of(sleeper.pid()).unwrap();
    let what = &record.waits.descriptors[0].what;
    assert!(what.starts_with("terminal /dev/pts/"), "{what}");
    theatre.watch(None).unwrap();
    // Half a line is no line to a terminal in its canonical mode.
    master.write_all(b"half").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(theatre.record_of(sleeper.pid()).is_some());
    master.write_all(b" and half\n").unwrap();
    assert_eq!(sleeper.word(), "woke");
    theatre.until_unwatched();
}

#[test]
fn a_connection_wakes_a_server_and_room_a_writer() {
    need!(Root, Userfaultfd, Program("python3"));
    apart!();
    let theatre = Theatre::new();
    let server = "server = socket.create_server(('127.0.0.1', 0)); say(server.getsockname()[1]); server.accept(); say('woke'); time.sleep(60)";
    let mut sleeper = Sleeper::start(server, Stdio::null());
    let port: u16 = sleeper.word().parse().unwrap();
    sleeper.falls_asleep();
    theatre.park_and_wake(&mut sleeper, || {
        drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    });
    let (ours, theirs) = UnixStream::pair().unwrap();
    let writer = "socket.socket(fileno=0).sendall(bytes(1 << 20)); say('woke'); time.sleep(60)";
    let mut sleeper = Sleeper::start(writer, OwnedFd::from(theirs));
    std::thread::scope(|scope| {
        theatre.park_and_wake(&mut sleeper, || {
            scope.spawn(|| (&ours).take(1 << 20).read_to_end(&mut Vec::new()).unwrap());
        });
    });
}

#[test]
fn a_signal_wakes_who_takes_it() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    for sleep in [
        "signal.signal(10, lambda *_: say('woke')); signal.pause()",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [10]); signal.sigwait([10]); say('woke')",
        "os.read(signalfd(10), 128); say('woke')",
        // Polled from outside, this one would never hear of its signal.
        "epoll((0, IN), (signalfd(10), IN)).poll(); say('woke')",
    ] {
        println!("{sleep}");
        let (reader, _writer) = pipe();
        let mut sleeper = Sleeper::start(&format!("{sleep}\ntime.sleep(60)"), reader);
        let pid = sleeper.pid();
        theatre.park_and_wake(&mut sleeper, || kill_process(pid, Signal::USR1).unwrap());
    }
}

#[test]
fn a_signal_that_nobody_takes_does_not_wake() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    let (reader, mut writer) = pipe();
    let blocks = "signal.pthread_sigmask(signal.SIG_BLOCK, [10]); os.read(0, 1); say('woke'); time.sleep(60)";
    let mut sleeper = Sleeper::start(blocks, reader);
    theatre.park_to_wake(&sleeper);
    theatre.watch(None).unwrap();
    kill_process(sleeper.pid(), Signal::USR1).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(theatre.record_of(sleeper.pid()).is_some());
    writer.write_all(b"x").unwrap();
    assert_eq!(sleeper.word(), "woke");
    theatre.until_unwatched();
}

#[test]
fn time_wakes_a_long_sleep_and_a_timer_but_no_tick_does() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    // A parked one, ticking, beside them.
    let (reader, mut writer) = pipe();
    let ticks =
        "ticker = epoll((0, IN))\nwhile not ticker.poll(0.1): pass\nsay('woke'); time.sleep(60)";
    let mut ticker = Sleeper::start(ticks, reader);
    theatre.park_to_wake(&ticker);
    let waits = theatre.record_of(ticker.pid()).unwrap().waits;
    assert_eq!((waits.housekeeping_ms, waits.deadline), (Some(100), None));
    let sleeps = [
        "time.sleep(12)",
        "select.select([], [], [], 12)",
        "libc.poll(None, 0, 12000)",
        "epoll((timerfd(4), IN)).poll()",
    ];
    let mut sleepers = sleeps.map(|sleep| {
        let begun = format!("before = time.monotonic(); {sleep}\n");
        let after = "say('woke' if time.monotonic() - before >= 3.9 else 'early'); time.sleep(60)";
        let sleeper = Sleeper::start(&(begun + after), Stdio::null());
        theatre.park_to_wake(&sleeper);
        sleeper
    });
    theatre.watch(None).unwrap();
    for (sleep, sleeper) in sleeps.iter().zip(&mut sleepers) {
        assert_eq!(sleeper.word(), "woke", "{sleep}");
    }
    assert!(theatre.record_of(ticker.pid()).is_some(), "a tick woke it");
    writer.write_all(b"x").unwrap();
    assert_eq!(ticker.word(), "woke");
    theatre.until_unwatched();
}

#[test]
fn a_sleep_that_was_parked_before_is_still_known() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    let (reader, mut writer) = pipe();
    let script = "poll = select.poll(); poll.register(0, select.POLLIN); poll.poll(); say('woke'); time.sleep(60)";
    let mut sleeper = Sleeper::start(script, reader);
    // From now on it is in restart_syscall(2).
    theatre.park_to_wake(&sleeper);
    let mut surgeon = theatre.surgeon(Verb::Resume, sleeper.pid(), None);
    assert!(surgeon.stdout(Stdio::null()).status().unwrap().success());
    sleeper.falls_asleep();
    theatre.park_and_wake(&mut sleeper, || writer.write_all(b"x").unwrap());
}

#[test]
fn a_watcher_that_was_killed_at_any_step_is_replaced() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    for step in ["watch-locked", "watch-taken", "watch-woke", "watch-forked"] {
        println!("{step}");
        let (reader, mut writer) = pipe();
        let mut sleeper = Sleeper::start("os.read(0, 1); say('woke'); time.sleep(60)", reader);
        theatre.park_to_wake(&sleeper);
        let _ = theatre.watch(Some(step)); // it may end before it is ready
        writer.write_all(b"x").unwrap();
        theatre.until_unwatched();
        if step == "watch-forked" {
            assert_eq!(sleeper.word(), "woke", "the child went on");
        } else {
            assert!(theatre.record_of(sleeper.pid()).is_some());
            assert_eq!(theatre.watch(None).unwrap(), Watching::Started);
            assert_eq!(sleeper.word(), "woke");
        }
        theatre.until_unwatched();
    }
}

#[test]
fn a_resume_of_the_watchers_that_is_killed_can_be_taken_up() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    for step in ["resuming", "thawed", "back", "returned"] {
        println!("{step}");
        let (reader, mut writer) = pipe();
        let mut sleeper = Sleeper::start("os.read(0, 1); say('woke'); time.sleep(60)", reader);
        theatre.park_to_wake(&sleeper);
        theatre.watch(Some(step)).unwrap();
        writer.write_all(b"x").unwrap();
        theatre.until_unwatched();
        let mut surgeon = theatre.surgeon(Verb::Resume, sleeper.pid(), None);
        assert!(surgeon.stdout(Stdio::null()).status().unwrap().success());
        assert_eq!(sleeper.word(), "woke");
        assert_eq!(theatre.stores(), 0, "a store is left");
    }
}

#[test]
fn peers_of_a_watched_process_that_is_killed_see_it_gone() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let sleeper = Sleeper::start("socket.socket(fileno=0).recv(1)", OwnedFd::from(theirs));
    theatre.park_to_wake(&sleeper);
    theatre.watch(None).unwrap();
    kill_process(sleeper.pid(), Signal::KILL).unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    theatre.until_unwatched();
    assert_eq!(theatre.stores(), 0, "a store is left");
}

#[test]
fn resumed_by_hand_it_is_watched_no_more() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    let (reader, mut writer) = pipe();
    let mut sleeper = Sleeper::start(
        "os.read(0, 1); say('woke'); os.close(0); time.sleep(60)",
        reader,
    );
    theatre.park_to_wake(&sleeper);
    assert_eq!(theatre.watch(None).unwrap(), Watching::Started);
    assert_eq!(theatre.watch(None).unwrap(), Watching::Already);
    let mut surgeon = theatre.surgeon(Verb::Resume, sleeper.pid(), None);
    assert!(surgeon.stdout(Stdio::null()).status().unwrap().success());
    theatre.until_unwatched();
    assert_eq!(theatre.watch(None).unwrap(), Watching::Unwanted);
    writer.write_all(b"x").unwrap();
    assert_eq!(sleeper.word(), "woke");
    // Nobody else has the pipe open: it has no reader now.
    while writer.write_all(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_that_turn_ready_at_once_wake_both() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    let mut pipes = [pipe(), pipe()].map(|(reader, writer)| {
        let script = "os.read(0, 1); say('woke'); time.sleep(60)";
        (Sleeper::start(script, reader), writer)
    });
    for (sleeper, _) in &pipes {
        theatre.park_to_wake(sleeper);
    }
    theatre.watch(None).unwrap();
    for (_, writer) in &mut pipes {
        writer.write_all(b"x").unwrap();
    }
    for (sleeper, _) in &mut pipes {
        assert_eq!(sleeper.word(), "woke");
    }
    theatre.until_unwatched();
}

#[test]
fn whoever_works_in_between_is_parked_asleep() {
    need!(Root, Userfaultfd, Program("python3"));
    let theatre = Theatre::new();
    let works = "ticker = epoll((0, IN))
while not ticker.poll(0.008):
    end = time.monotonic() + 0.002
    while time.monotonic() < end: pass
say('woke'); time.sleep(60)";
    for _ in 0..5 {
        let (reader, mut writer) = pipe();
        let mut sleeper = Sleeper::start(works, reader);
        theatre.park_and_wake(&mut sleeper, || writer.write_all(b"x").unwrap());
    }
}
