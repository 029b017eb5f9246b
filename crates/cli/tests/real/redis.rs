//! Redis with a million keys, whose digest stays; benchmarked afterwards.

use super::running::{Running, until};
use super::wakes::twenty_wakes;
use super::{Client, directory, ten_rounds};
use plimsoll_testkit::need;
use std::path::PathBuf;
use std::process::{Command, Stdio};

struct Redis {
    socket: PathBuf,
}

impl Redis {
    fn cli(&self, words: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        let output = cli
            .arg("-s")
            .arg(&self.socket)
            .args(words)
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }
}

impl Client for Redis {
    fn ask(&mut self) {
        assert_eq!(self.cli(&["PING"]), "PONG");
    }

    fn check(&mut self) {
        assert_eq!(self.cli(&["DBSIZE"]), "1000000");
        assert_eq!(self.cli(&["GET", "key:424242"]), "value:424242");
    }
}

#[test]
fn a_million_keys() {
    need!(
        Root,
        Userfaultfd,
        Program("redis-server"),
        Program("redis-cli"),
        Program("redis-benchmark")
    );
    let dir = directory();
    let mut redis = Redis {
        socket: dir.path().join("socket"),
    };
    let mut server = Command::new("redis-server");
    server.args([
        "--port",
        "0",
        "--save",
        "",
        "--enable-debug-command",
        "local",
    ]);
    server.arg("--unixsocket").arg(&redis.socket);
    let server = Running::start(server.stdout(Stdio::null()));
    assert!(until(|| redis.cli(&["PING"]) == "PONG"));
    assert_eq!(redis.cli(&["DEBUG", "POPULATE", "1000000"]), "OK");
    let digest = redis.cli(&["DEBUG", "DIGEST"]);
    assert_eq!(digest.len(), 40, "{digest}");

    ten_rounds("redis", server.pid(), &mut redis);
    twenty_wakes("redis", server.pid(), &mut redis);

    assert_eq!(redis.cli(&["DEBUG", "DIGEST"]), digest);
    let mut benchmark = Command::new("redis-benchmark");
    benchmark.arg("-s").arg(&redis.socket);
    let output = benchmark
        .args(["-q", "-t", "get,set", "-n", "20000"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("GET: "), "{told}");
}
