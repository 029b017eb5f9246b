//! A postgres cluster, the whole tree, with a transaction held open; benchmarked afterwards. Its processes are those
//! of another user.

use super::running::{Lines, Running, until};
use super::{Client, directory, ten_rounds};
use plimsoll_testkit::need;
use rustix::process::Signal;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

const DIGEST: &str = "select 'right' where (select count(*) from held) = 100000 and \
    (select md5(string_agg(text, ',' order by i)) from held) = (select digest from known);";
const TRANSACTION: &str = "begin; \
    create temp table held as select i, md5(i::text) as text from generate_series(1, 100000) as i; \
    create temp table known as select md5(string_agg(text, ',' order by i)) as digest from held; \
    select 'ready';";

/// A psql in a transaction.
struct Psql(Lines);

impl Client for Psql {
    fn ask(&mut self) {
        assert_eq!(self.0.answer("select 6 * 7;"), "42");
    }

    fn check(&mut self) {
        assert_eq!(self.0.answer(DIGEST), "right");
    }
}

/// User and group of `postgres`.
fn user() -> (u32, u32) {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line
        .unwrap()
        .split(':')
        .skip(2)
        .map(|field| field.parse().unwrap());
    (fields.next().unwrap(), fields.next().unwrap())
}

/// Runs a program of postgres's to its end.
fn run(name: &str, socket: &Path, words: &[&str]) -> String {
    let mut command = Command::new(name);
    command
        .arg("-h")
        .arg(socket)
        .args(["-U", "postgres"])
        .args(words);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_cluster_with_an_open_transaction() {
    need!(
        Root,
        Userfaultfd,
        Program("postgres"),
        Program("initdb"),
        Program("psql"),
        Program("pgbench")
    );
    let dir = directory();
    let socket = dir.path();
    let (uid, gid) = user();
    chown(socket, Some(uid), Some(gid)).unwrap();
    let as_postgres = |name: &str| {
        let mut command = Command::new(name);
        command
            .uid(uid)
            .gid(gid)
            .current_dir(socket)
            .stdout(Stdio::null());
        command.arg("-D").arg(socket.join("data"));
        command
    };
    let mut initdb = as_postgres("initdb");
    assert!(
        initdb
            .args(["-A", "trust", "-N"])
            .status()
            .unwrap()
            .success()
    );
    let mut server = as_postgres("postgres");
    server.args(["-c", "listen_addresses=", "-k"]).arg(socket);
    let server = Running::start(server.stderr(Stdio::null())).ended_by(Signal::QUIT);
    let ready = || {
        let mut ready = Command::new("pg_isready");
        ready
            .arg("-q")
            .arg("-h")
            .arg(socket)
            .status()
            .unwrap()
            .success()
    };
    assert!(until(ready));
    run("pgbench", socket, &["-i", "-q", "postgres"]);

    let mut psql = Command::new("psql");
    psql.arg("-h")
        .arg(socket)
        .args(["-U", "postgres", "-qAtX", "postgres"]);
    let mut psql = Psql(Lines::begin(&mut psql, TRANSACTION));
    ten_rounds("postgres", server.pid(), &mut psql);
    assert_eq!(psql.0.answer("commit; select 'committed';"), "committed");

    let told = run("pgbench", socket, &["-t", "200", "-c", "2", "postgres"]);
    assert!(told.contains("processed: 400/400"), "{told}");
}
