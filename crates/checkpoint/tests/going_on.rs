//! What was checkpointed goes on where it was: memory, threads, signals, timers, files, pipes.

use crate::tree::Tree;
use plimsoll_checkpoint::After;
use plimsoll_testkit::{apart, need};

/// Counts, and holds everything that a line names; each turn it checks all of it.
pub(crate) const HOLDS: &str = r#"
import os, sys, threading, time, mmap, signal, hashlib, select
data = os.urandom(1 << 20); digest = hashlib.sha256(data).digest()
shared = mmap.mmap(-1, 1 << 16); shared[:4] = b"self"
log = open("log", "ab", 0); log.write(b"begun\n")
gone = open("gone", "w+b", 0); gone.write(b"nameless"); os.unlink("gone")
reader, writer = os.pipe(); os.write(writer, b"in the pipe")
caught = []
signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
counts = [0, 0]
def work(i):
    while True:
        counts[i] += 1; time.sleep(0.001)
for i in range(2): threading.Thread(target=work, args=(i,), daemon=True).start()
turn = 0
while True:
    before = list(counts)
    while not all(a < b for a, b in zip(before, counts)): time.sleep(0.01) # or it hangs
    assert hashlib.sha256(data).digest() == digest, "memory"
    assert shared[:4] == b"self", "shared memory"
    gone.seek(0); assert gone.read() == b"nameless", "unlinked file"
    os.kill(os.getpid(), signal.SIGUSR1); turn += 1
    assert len(caught) == turn, "signals"
    log.write(b"turn\n")
    if select.select([reader], [], [], 0)[0]:
        waiting = os.read(reader, 100); assert waiting == b"in the pipe", "pipe"; os.write(writer, waiting)
    print("turn", turn, os.getpid(), os.getcwd())
"#;

#[test]
fn a_program_goes_on_where_it_was() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(HOLDS);
    let pid = tree.pid;
    tree.dump(After::End).unwrap();
    assert!(!tree.is_alive());
    let said = tree.says();
    let restored = tree.restore().unwrap();
    assert_eq!((restored.pid, restored.processes), (pid, 1));
    let says = tree.hear(said.len() + 5);
    // Line for line: no turn is missing, none is told twice, and nothing was found amiss.
    for (i, line) in says.iter().enumerate() {
        assert!(
            line.starts_with(&format!("turn {} {pid} ", i + 1)),
            "{says:?}"
        );
    }
}

#[test]
fn one_that_is_left_running_runs_on_and_can_be_started_from_its_images_later() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(HOLDS);
    tree.dump(After::Run).unwrap();
    assert!(tree.is_alive());
    let said = tree.says().len();
    tree.hear(said + 3);
}

/// A parent with children of three kinds: one that works, one that has ended, one in a session of its own.
pub(crate) const FAMILY: &str = r#"
import os, signal, sys, time
reader, writer = os.pipe()
worker = os.fork()
if worker == 0:
    os.close(reader)
    while True:
        os.write(writer, b"x"); time.sleep(0.01)
ended = os.fork()
if ended == 0: os._exit(7)
apart = os.fork()
if apart == 0:
    os.setsid()
    while True: time.sleep(1)
os.close(writer)
while os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT) is None: pass
while os.getsid(apart) != apart: time.sleep(0.01)
turn = 0
while True:
    assert os.read(reader, 1) == b"x", "pipe"
    turn += 1
    print("turn", turn, os.getpid(), os.getsid(apart) == apart, os.getpgid(worker) == os.getpgid(0))
    if os.path.exists("ask"):
        print("turn", turn + 1, os.getpid(), os.waitpid(ended, 0)[1] >> 8)
        os.kill(worker, 9); os.kill(apart, 9); sys.exit(0)
"#;

#[test]
fn a_family_goes_on() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(FAMILY);
    let dumped = tree.dump(After::End).unwrap();
    assert_eq!(dumped.processes, 4);
    let said = tree.says().len();
    assert_eq!(tree.restore().unwrap().processes, 4);
    tree.hear(said + 5);
    std::fs::write(tree.dir.path().join("ask"), "").unwrap();
    let says = loop {
        let says = tree.says();
        if !tree.is_alive() {
            break says;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    // The one that had ended was waited for, and had ended with 7.
    assert!(says.last().unwrap().ends_with(" 7"), "{says:?}");
    assert!(
        says[..says.len() - 1]
            .iter()
            .all(|line| line.ends_with("True True")),
        "{says:?}"
    );
}
