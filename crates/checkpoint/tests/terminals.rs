//! A program in a terminal of its own goes on there: settings, size, what was typed and printed, and whom the keys reach.

use crate::tree::Tree;
use plimsoll_checkpoint::{After, Error};
use plimsoll_proc::Root;
use plimsoll_testkit::{apart, need};

/// Shows a terminal in which another process leads a session, and types into it.
const SHOWS: &str = r#"
import fcntl, os, pty, signal, struct, sys, termios, time
child, master = pty.fork()
if child == 0:
    interrupted = []
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(1))
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        while True: time.sleep(1)
    settings = termios.tcgetattr(0); settings[3] &= ~termios.ECHO; termios.tcsetattr(0, termios.TCSANOW, settings)
    tty_again = os.open("/dev/tty", os.O_RDWR)
    print("ready", flush=True)
    while True:
        try: line = sys.stdin.readline()
        except InterruptedError: continue
        print(line.strip(), "interrupted", len(interrupted), os.ttyname(0),
              os.tcgetpgrp(tty_again) == os.getpgid(0), os.get_terminal_size(), flush=True)
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
told = os.fdopen(os.dup(master), "rb", 0)
def hear():
    line = b""
    while not line.endswith(b"\n"): line += told.read(1)
    return line.decode().strip()
def ask(word):
    os.write(master, word + b"\n")
    return hear()
assert hear() == "ready"
first = ask(b"word")
turn = 0
while True:
    os.write(master, b"\x03")
    answer = ask(b"word")
    turn += 1
    assert answer == first.replace("interrupted 0", "interrupted %d" % turn), (first, answer)
    print("turn", turn)
    time.sleep(0.02)
"#;

#[test]
fn a_session_goes_on_in_its_terminal() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(SHOWS);
    assert_eq!(tree.dump(After::End).unwrap().processes, 3);
    let said = tree.says().len();
    tree.restore().unwrap();
    let says = tree.hear(said + 5);
    for (i, line) in says.iter().enumerate() {
        assert_eq!(*line, format!("turn {}", i + 1), "{says:?}");
    }
}

/// Leaves words in both directions and looks for them when it is told to.
const WAITS: &str = r#"
import os, pty, time
master, slave = os.openpty()
os.write(master, b"one\ntwo\n"); os.write(slave, b"printed\n")
print("ready")
while not os.path.exists("look"): time.sleep(0.01)
print(os.read(slave, 100), os.read(slave, 100), os.read(master, 100))
while True: time.sleep(1)
"#;

#[test]
fn what_waits_in_a_terminal_comes_along_and_stays_where_it_was() {
    need!(Root, Program("python3"));
    apart!();
    for after in [After::Run, After::End] {
        let mut tree = Tree::start(WAITS);
        tree.dump(after).unwrap();
        if after == After::End {
            tree.restore().unwrap();
        }
        std::fs::write(tree.dir.path().join("look"), "").unwrap();
        let told = tree.hear(2).pop().unwrap();
        assert!(told.starts_with(r"b'one\n' b'two\n' b'"), "{told}");
        for printed in [r"one\r\n", r"two\r\n", r"printed\r\n"] {
            assert_eq!(told.matches(printed).count(), 1, "{told}");
        }
    }
}

#[test]
fn a_terminal_that_others_show_is_refused() {
    need!(Root, Program("python3"));
    apart!();
    let shown = "import os, pty, time\n\
        pid, master = pty.fork()\n\
        if pid == 0:\n  print('ready')\n  time.sleep(1000)\n\
        os.read(master, 1)\n\
        print(pid)\n\
        time.sleep(1000)\n";
    let tree = Tree::start(shown);
    let child = tree.says()[0].parse().unwrap();
    let refused = crate::tree::dump(child, &tree.images(), After::Run).unwrap_err();
    let Error::Refused(obstacles) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        obstacles.iter().any(|o| o.remedy.contains("--shell-job")),
        "{obstacles:?}"
    );
    let seen = plimsoll_checkpoint::obstacles(&Root::live(), child).unwrap();
    assert_eq!(seen, obstacles);
    let whole = plimsoll_checkpoint::obstacles(&Root::live(), tree.pid).unwrap();
    assert_eq!(whole, []);
}
