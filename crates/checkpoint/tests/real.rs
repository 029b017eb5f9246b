//! Programs that people run, with a client connected on the loopback: checkpointed, ended, restored, and neither end knows.

use crate::tree::Tree;
use plimsoll_checkpoint::After;
use plimsoll_testkit::{apart, need};

/// A server that counts, with a client that counts with it.
const REDIS: &str = r#"
import os, socket, subprocess, time
free = socket.socket(); free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]; free.close()
server = subprocess.Popen(["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--logfile", "log"],
    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
def connected():
    while True:
        try: return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError: time.sleep(0.02)
def asked(client, *words):
    client.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
    answer = b""
    while not answer.endswith(b"\r\n"):
        got = client.recv(1 << 16); assert got, "the server has hung up"; answer += got
    return answer
client = connected(); other = connected()
assert asked(client, b"SET", b"held", b"x" * 100000) == b"+OK\r\n"
turn = 0
while True:
    turn += 1
    assert asked(client, b"INCR", b"turns") == b":%d\r\n" % turn, "count"
    assert asked(other, b"STRLEN", b"held") == b":100000\r\n", "value"
    print("turn", turn)
    time.sleep(0.005)
    if os.path.exists("ask"):
        assert asked(connected(), b"GET", b"turns").split(b"\r\n")[1] == b"%d" % turn, "a new client"
        server.kill(); server.wait()
        print("turn", turn + 1); os.remove("ask"); os._exit(0)
"#;

/// A master with two workers, and a client that keeps its connection.
const NGINX: &str = r#"
import http.client, os, socket, subprocess, time
free = socket.socket(); free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]; free.close()
here = os.getcwd(); os.mkdir("www"); os.chmod(here, 0o755); open("www/page", "w").write("the page")
open("conf", "w").write("""
daemon off; worker_processes 2; pid %(here)s/pid; error_log %(here)s/error_log;
events { worker_connections 64; }
http { access_log off; server { listen 127.0.0.1:%(port)d; root %(here)s/www; keepalive_requests 1000000; } }
""" % globals())
server = subprocess.Popen(["nginx", "-p", here, "-c", here + "/conf", "-e", here + "/error_log"], stdin=subprocess.DEVNULL)
def get(client):
    client.request("GET", "/page"); answer = client.getresponse()
    assert (answer.status, answer.read()) == (200, b"the page"), "page"
client = http.client.HTTPConnection("127.0.0.1", port)
while True:
    try: client.connect(); break
    except ConnectionRefusedError: time.sleep(0.02)
def workers(): return open("/proc/%(pid)d/task/%(pid)d/children" % {"pid": server.pid}).read().split()
while len(workers()) < 2: time.sleep(0.02)
turn = 0
while True:
    get(client); turn += 1
    print("turn", turn)
    time.sleep(0.005)
    if os.path.exists("ask"):
        for _ in range(8): get(http.client.HTTPConnection("127.0.0.1", port))
        server.terminate(); server.wait()
        print("turn", turn + 1); os.remove("ask"); os._exit(0)
"#;

fn goes_on(script: &str, processes: usize) {
    let mut tree = Tree::start(script);
    tree.hear(5);
    assert_eq!(tree.dump(After::End).unwrap().processes, processes);
    let said = tree.says().len();
    tree.restore().unwrap();
    tree.hear(said + 5);
    tree.ends_when_asked();
}

#[test]
fn redis_and_its_clients_go_on() {
    need!(Root, Nftables, Program("python3"), Program("redis-server"));
    apart!();
    goes_on(REDIS, 2);
}

#[test]
fn nginx_serves_whom_it_served_and_others() {
    need!(Root, Nftables, Program("python3"), Program("nginx"));
    apart!();
    goes_on(NGINX, 4);
}
