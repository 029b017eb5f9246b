//! Language runtimes with their own threads and collectors, checkpointed, ended and restored: what they hold is right, and they
//! go on.
//!
//! Each writes a line for every turn in which it found all in order, with the number of the turn.

use crate::tree::Tree;
use plimsoll_checkpoint::After;
use plimsoll_testkit::{apart, need};
use std::io::{Read, Write};

/// Two rounds: what was restored can be checkpointed again.
fn two_rounds(mut tree: Tree) -> Tree {
    for round in 0..2 {
        tree.dump(After::End).unwrap();
        let said = tree.says().len();
        tree.restore().unwrap();
        let says = tree.hear(said + 3);
        for (i, line) in says.iter().enumerate() {
            assert_eq!(line, &format!("turn {}", i + 1), "round {round}: {says:?}");
        }
        std::fs::remove_dir_all(tree.images()).unwrap();
    }
    tree
}

/// Matrices multiplied by the library's own threads and by two of Python's, a file mapped as an array, random numbers that
/// go on where they were.
const NUMPY: &str = r#"
import numpy as np, queue, threading, time
generator = np.random.default_rng(7); twin = np.random.default_rng(7)
a = generator.standard_normal((400, 400)); twin.standard_normal((400, 400))
want = a @ a
on_disk = np.memmap("array", dtype="f8", mode="w+", shape=(1000,)); on_disk[:] = np.arange(1000)
asked, answered = queue.Queue(), queue.Queue()
def work():
    while True:
        asked.get(); answered.put(np.allclose(a @ a, want))
for _ in range(2): threading.Thread(target=work, daemon=True).start()
turn = 0
while True:
    for _ in range(2): asked.put(1)
    assert all(answered.get() for _ in range(2)), "product"
    assert (generator.standard_normal(10) == twin.standard_normal(10)).all(), "random numbers"
    assert on_disk.sum() == 499500, "mapped array"
    turn += 1; print("turn", turn); time.sleep(0.02)
"#;

#[test]
fn numpy_with_threads() {
    need!(Root, Numpy);
    apart!();
    drop(two_rounds(Tree::start(NUMPY)));
}

/// A heap with collections, threads that wait for each other, a timer.
const JAVA: &str = r#"
import java.util.*; import java.util.concurrent.*;
public class Turns {
    public static void main(String[] args) throws Exception {
        Map<Integer, String> map = new HashMap<>();
        for (int i = 0; i < 100_000; i++) map.put(i, "value " + i);
        ExecutorService pool = Executors.newFixedThreadPool(4);
        ScheduledExecutorService clock = Executors.newScheduledThreadPool(1);
        BlockingQueue<Integer> ticks = new LinkedBlockingQueue<>();
        clock.scheduleAtFixedRate(() -> ticks.add(1), 10, 10, TimeUnit.MILLISECONDS);
        for (int turn = 1; ; turn++) {
            List<Future<Integer>> parts = new ArrayList<>();
            for (int p = 0; p < 4; p++) {
                final int part = p;
                parts.add(pool.submit(() -> {
                    int right = 0;
                    for (int i = part; i < 100_000; i += 4) if (map.get(i).equals("value " + i)) right++;
                    return right;
                }));
            }
            int sum = 0;
            for (Future<Integer> part : parts) sum += part.get();
            if (sum != 100_000) throw new Error("heap");
            if (ticks.poll(10, TimeUnit.SECONDS) == null) throw new Error("timer");
            byte[] garbage = new byte[1 << 20];
            System.out.println("turn " + turn + (garbage[7] == 0 ? "" : "?"));
        }
    }
}
"#;

#[test]
fn a_jvm() {
    need!(Root, Program("java"), Program("javac"));
    apart!();
    let source = tempfile::tempdir().unwrap();
    let file = source.path().join("Turns.java");
    std::fs::write(&file, JAVA).unwrap();
    let path = file.to_str().unwrap();
    let tree = Tree::start_program(&["java", "-Xmx128m", path], |_| {});
    drop(two_rounds(tree));
}

/// Objects, a timer, work on the library's threads, a listening socket.
const NODE: &str = r#"
const crypto = require("crypto"), fs = require("fs"), http = require("http");
const rows = []; for (let i = 0; i < 50000; i++) rows.push({ i, text: "row " + i });
const sum = () => rows.reduce((s, row) => (s * 31 + row.i + row.text.length) >>> 0, 0);
const want = sum();
const digest = () => new Promise((done) => crypto.pbkdf2("a", "b", 10, 8, "sha1", (e, key) => done(key.toString("hex"))));
const server = http.createServer((request, response) => response.end(sum() === want ? "right" : "wrong"));
server.listen(0, "127.0.0.1", async () => {
  fs.writeFileSync("port", String(server.address().port));
  const first = await digest();
  for (let turn = 1; ; turn++) {
    if (sum() !== want) throw new Error("rows");
    if (await digest() !== first) throw new Error("digest");
    console.log("turn " + turn);
    await new Promise((done) => setTimeout(done, 20));
  }
});
"#;

#[test]
fn node() {
    need!(Root, Program("node"));
    apart!();
    let tree = Tree::start_program(&["node", "-e", NODE], |_| {});
    let port = std::fs::read_to_string(tree.dir.path().join("port")).unwrap();
    let tree = two_rounds(tree);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nright"), "{answer:?}");
    drop(tree);
}
