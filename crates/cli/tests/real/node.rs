//! Node with timers and an HTTP server; one connection is kept open through all rounds.

use super::running::Lines;
use super::wakes::twenty_wakes;
use super::{Client, fixture, ten_rounds};
use plimsoll_testkit::{apart, need};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// One connection, kept.
struct Http(BufReader<TcpStream>);

impl Http {
    fn get(&mut self) -> String {
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        self.0.get_mut().write_all(request).unwrap();
        let mut length = 0;
        for line in self.0.by_ref().lines() {
            let line = line.unwrap().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

impl Client for Http {
    fn ask(&mut self) {
        let answer = self.get();
        assert!(answer.starts_with("right "), "{answer:?}");
    }
}

#[test]
fn timers_and_a_server() {
    need!(Root, Userfaultfd, Program("node"));
    apart!();
    let node = Lines::start(Command::new("node").arg(fixture("server.js")));
    let port = node.ready.strip_prefix("ready ").unwrap().parse().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut http = Http(BufReader::new(stream));
    ten_rounds("node", node.running.pid(), &mut http);
    twenty_wakes("node", node.running.pid(), &mut http);
}
