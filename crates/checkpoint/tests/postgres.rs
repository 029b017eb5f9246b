//! A postgres cluster with a transaction held open by a client, checkpointed with it, ended and restored.

use crate::tree::Tree;
use plimsoll_checkpoint::After;
use plimsoll_testkit::{apart, need};

/// Each turn asks for the digest of a temporary table that only the open transaction sees, and adds a row to another.
const CLUSTER: &str = r#"
import os, signal, subprocess, time
here = os.getcwd(); os.chmod(here, 0o755); home = here + "/cluster"; os.mkdir(home)
who = dict(user="postgres", group="postgres", extra_groups=[], cwd=home, stdin=subprocess.DEVNULL)
subprocess.run(["chown", "postgres:", home], check=True)
log = open("log", "w")
subprocess.run(["initdb", "-D", home + "/data", "-A", "trust", "-N"], check=True, stdout=log, stderr=log, **who)
server = subprocess.Popen(["postgres", "-D", home + "/data", "-c", "listen_addresses=", "-k", home], stdout=log, stderr=log, **who)
while subprocess.run(["pg_isready", "-q", "-h", home]).returncode: time.sleep(0.05)
client = subprocess.Popen(["psql", "-h", home, "-U", "postgres", "-qAtX", "postgres"], text=True, bufsize=1,
    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def asked(words):
    client.stdin.write(words + "\n"); return client.stdout.readline().strip()
digest = "select md5(string_agg(text, ',' order by i)) from held;"
want = asked("begin; create temp table held as select i, md5(i::text) as text from generate_series(1, 20000) as i;"
    "create table turns (turn int); " + digest)
turn = 0
while True:
    turn += 1
    assert asked(digest) == want, "held"
    assert asked("insert into turns values (%d); select count(*) from turns;" % turn) == str(turn), "turns"
    print("turn", turn)
    time.sleep(0.02)
    if os.path.exists("ask"):
        assert asked("commit; select max(turn) from turns;") == str(turn), "commit"
        new = subprocess.run(["psql", "-h", home, "-U", "postgres", "-qAtX", "postgres", "-c", "select count(*) from turns"],
            capture_output=True, text=True)
        assert new.stdout.strip() == str(turn), "a new client"
        server.send_signal(signal.SIGINT); server.wait(); client.kill()
        print("turn", turn + 1); os.remove("ask"); os._exit(0)
"#;

#[test]
fn a_cluster_with_an_open_transaction_goes_on() {
    need!(
        Root,
        Program("postgres"),
        Program("initdb"),
        Program("psql"),
        Program("pg_isready")
    );
    apart!();
    let mut tree = Tree::start(CLUSTER);
    let dumped = tree.dump(After::End).unwrap();
    assert!(dumped.processes > 4, "{dumped:?}");
    let said = tree.says().len();
    tree.restore().unwrap();
    tree.hear(said + 3);
    tree.ends_when_asked();
}
