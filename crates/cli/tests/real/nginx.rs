//! nginx, the whole tree, while wrk keeps twenty connections busy. Its workers are those of another user.

use super::running::Running;
use super::{Client, directory, ten_rounds};
use plimsoll_testkit::{apart, need};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::running::until;

/// A new connection each time.
struct Visitor {
    port: u16,
}

impl Client for Visitor {
    fn ask(&mut self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\nhere"), "{answer:?}");
    }
}

#[test]
fn under_wrk() {
    need!(Root, Userfaultfd, Program("nginx"), Program("wrk"));
    apart!();
    let dir = directory();
    let here = dir.path();
    std::fs::set_permissions(here, PermissionsExt::from_mode(0o755)).unwrap();
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let configuration = format!(
        "daemon off; worker_processes 2; pid {0}/pid; error_log {0}/errors; events {{}} \
         http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{ return 200 here; }} }} }}",
        here.display()
    );
    std::fs::write(here.join("nginx.conf"), configuration).unwrap();
    let mut nginx = Command::new("nginx");
    nginx
        .arg("-p")
        .arg(here)
        .arg("-c")
        .arg(here.join("nginx.conf"));
    let nginx = Running::start(nginx.stderr(Stdio::null()));
    assert!(until(|| TcpStream::connect(("127.0.0.1", port)).is_ok()));

    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "-c20", "-d1h", "--timeout", "1m"]);
    wrk.arg(format!("http://127.0.0.1:{port}/"))
        .stdout(Stdio::piped());
    let mut wrk = Running::start(&mut wrk);
    ten_rounds("nginx under wrk", nginx.pid(), &mut Visitor { port });

    kill_process(Pid::from_child(&wrk.child), Signal::INT).unwrap(); // it sums up
    let mut told = String::new();
    let output = wrk.child.stdout.as_mut().unwrap();
    output.read_to_string(&mut told).unwrap();
    assert!(told.contains("Requests/sec"), "{told}");
    assert!(
        !told.contains("errors") && !told.contains("Non-2xx"),
        "{told}"
    );
    let errors = std::fs::read_to_string(here.join("errors")).unwrap();
    assert_eq!(errors, "");
}
