//! Sockets go on where they were, and whoever is at the other end hears nothing of it.

use crate::killed::start;
use crate::tree::Tree;
use plimsoll_checkpoint::{After, Error, Options};
use plimsoll_proc::Root;
use plimsoll_testkit::{apart, need};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

/// Serves one client from outside: echoes what it is sent, and first of all says that it is there.
const ECHO: &str = r#"
import socket, sys
client = socket.create_connection(("127.0.0.1", int(open("port").read())))
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
client.sendall(b"begun")
print("connected", client.getsockname()[1])
turn = 0
while True:
    got = client.recv(1 << 16)
    if not got: print("end"); break
    assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "options"
    assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) > 10000, "segments" # the loopback's are long
    client.sendall(got); turn += 1
    print("turn", turn)
"#;

const ESTABLISHED: Options = Options {
    shell_job: false,
    file_locks: false,
    link_remap: false,
    tcp_established: true,
    tcp_close: false,
    skip_network_lock: false,
    skip_in_flight: false,
    external_unix: false,
    ghost_limit_bytes: None,
};

/// A tree whose only connection is one with us.
fn with_us() -> (Tree, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let tree = Tree::start_with(ECHO, |dir| std::fs::write(dir.join("port"), &port).unwrap());
    let (mut us, _) = listener.accept().unwrap();
    let mut begun = [0; 5];
    us.read_exact(&mut begun).unwrap();
    (tree, us)
}

fn echoed(us: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    us.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    us.read_exact(&mut back).unwrap();
    back
}

/// Nothing has come, not even an end.
fn hears_nothing(us: &TcpStream) -> bool {
    us.set_nonblocking(true).unwrap();
    let heard = us.peek(&mut [0]);
    us.set_nonblocking(false).unwrap();
    heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_peer_outside_hears_nothing_and_loses_nothing() {
    need!(Root, Nftables, Program("python3"));
    apart!();
    let (mut tree, mut us) = with_us();
    assert_eq!(echoed(&mut us, b"before"), b"before");
    tree.dump_with(After::End, ESTABLISHED).unwrap();
    assert!(hears_nothing(&us));
    us.write_all(b"while it is away").unwrap();
    assert!(hears_nothing(&us));
    tree.restore().unwrap();
    let mut back = [0; 16];
    us.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"while it is away");
    let much = vec![7; 1 << 20];
    us.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut writer = us.try_clone().unwrap();
    let sent = much.clone();
    let writing = std::thread::spawn(move || writer.write_all(&sent));
    let mut back = vec![0; much.len()];
    us.read_exact(&mut back).unwrap();
    writing.join().unwrap().unwrap();
    assert!(back == much);
}

#[test]
fn one_that_is_left_running_keeps_its_connection() {
    need!(Root, Nftables, Program("python3"));
    apart!();
    let (mut tree, mut us) = with_us();
    tree.dump_with(After::Run, ESTABLISHED).unwrap();
    assert!(tree.is_alive());
    assert_eq!(echoed(&mut us, b"after"), b"after");
}

#[test]
fn whoever_is_killed_over_a_connection_leaves_it_open() {
    need!(Root, Nftables, Program("python3"));
    apart!();
    let (tree, mut us) = with_us();
    for step in ["stopped", "looked", "written", "durable", "complete"] {
        let ended = start("dump", tree.pid, &tree.images(), step)
            .wait()
            .unwrap();
        assert_eq!(ended.signal(), Some(9), "{step}");
        assert_eq!(echoed(&mut us, step.as_bytes()), step.as_bytes());
    }
}

#[test]
fn a_connection_with_one_outside_is_refused_unless_it_is_allowed() {
    need!(Root, Program("python3"));
    apart!();
    let (mut tree, mut us) = with_us();
    let Err(Error::Refused(obstacles)) = tree.dump(After::End) else {
        panic!("it was not refused");
    };
    assert!(obstacles[0].what.contains("outside"), "{obstacles:?}");
    // The same is told by looking alone.
    let seen = plimsoll_checkpoint::obstacles(&Root::live(), tree.pid).unwrap();
    assert_eq!(seen, obstacles);
    assert_eq!(echoed(&mut us, b"as it was"), b"as it was");
}

/// Both ends of connections in one tree: one that talks, one that is half closed with something left to read, a listener that
/// goes on taking clients, a UDP socket that talks to itself, and one in which datagrams wait.
const INSIDE: &str = r#"
import os, select, socket
listeners = []
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    listener = socket.socket(family); listener.bind((host, 0)); listener.listen(5)
    listeners.append(listener)
pairs = []
for listener in listeners:
    one = socket.socket(listener.family); one.connect(listener.getsockname()[:2])
    other, _ = listener.accept(); pairs.append((one, other))
one = socket.create_connection(listeners[0].getsockname()); other, _ = listeners[0].accept()
one.sendall(b"the last"); one.shutdown(socket.SHUT_WR)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("127.0.0.1", 0)); udp.connect(udp.getsockname())
anybodys = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); anybodys.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
anybodys.bind(("::", 0)); port = anybodys.getsockname()[1]; waits = []
for family, host, seen in ((socket.AF_INET, "127.0.0.1", "::ffff:127.0.0.1"), (socket.AF_INET6, "::1", "::1")):
    sender = socket.socket(family, socket.SOCK_DGRAM); sender.bind((host, 0))
    for message in (b"", b"odd", os.urandom(60000)):
        sender.sendto(message, (host, port)); waits.append((message, seen, sender.getsockname()[1]))
names = [s.getsockname() for pair in pairs for s in pair]
parent, child = os.getpid(), os.fork()
if child == 0:
    while os.getppid() == parent:
        for far in select.select([far for _, far in pairs], [], [], 1)[0]: far.sendall(far.recv(100))
    os._exit(0)
turn = 0
while True:
    for near, _ in pairs:
        near.sendall(b"ping"); assert near.recv(100) == b"ping", "pair"
    assert names == [s.getsockname() for pair in pairs for s in pair], "names"
    udp.send(b"datagram"); assert udp.recv(100) == b"datagram", "udp"
    turn += 1
    print("turn", turn)
    if os.path.exists("ask"):
        assert other.recv(100) == b"the last" and other.recv(100) == b"", "half closed"
        other.sendall(b"back"); other.shutdown(socket.SHUT_WR); assert one.recv(100) == b"back" and one.recv(1) == b"", "half closed"
        for message, host, port in waits:
            got, sender = anybodys.recvfrom(1 << 16); assert (got, *sender[:2]) == (message, host, port), "what waited"
        for listener in listeners:
            late = socket.socket(listener.family); late.connect(listener.getsockname()[:2])
            taken, _ = listener.accept(); late.close(); assert taken.recv(1) == b"", "listener"
        print("turn", turn + 1); os.remove("ask"); os.kill(child, 9); os._exit(0)
"#;

#[test]
fn connections_inside_the_tree_go_on_without_being_asked_for() {
    need!(Root, Nftables, Program("python3"));
    apart!();
    let mut tree = Tree::start(INSIDE);
    let seen = plimsoll_checkpoint::obstacles(&Root::live(), tree.pid).unwrap();
    assert_eq!(seen, []);
    tree.dump(After::End).unwrap();
    let said = tree.says().len();
    tree.restore().unwrap();
    tree.hear(said + 3);
    tree.ends_when_asked();
}

/// UNIX sockets whose names are gone or have become somebody else's, and what nobody is left to have sent.
const NAMELESS: &str = r#"
import os, socket
def bound(path):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); one.bind(path)
    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); other.connect(path)
    os.unlink(path)
    return one, other
os.mkdir("away")
pairs = [bound("away/name"), bound("away/name"), bound(os.path.abspath("taken"))]
os.rmdir("away"); open("taken", "w").write("a file")
left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); left.send(b"the last"); left.close()
route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); route.bind((0, 0))
names = [one.getsockname() for one, _ in pairs] + [route.getsockname()]
turn = 0
while True:
    for i, (one, other) in enumerate(pairs):
        other.send(b"%d" % i); assert one.recv(10) == b"%d" % i, "pairs"
    assert names == [one.getsockname() for one, _ in pairs] + [route.getsockname()], "names"
    assert open("taken").read() == "a file" and not os.path.exists("away"), "files"
    turn += 1
    print("turn", turn)
    if os.path.exists("ask"):
        assert right.recv(10) == b"the last", "queue"
        print("turn", turn + 1); os.remove("ask"); os._exit(0)
"#;

#[test]
fn sockets_without_a_file_keep_their_names_and_whoever_knows_them() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(NAMELESS);
    tree.dump(After::End).unwrap();
    let said = tree.says().len();
    tree.restore().unwrap();
    tree.hear(said + 3);
    tree.ends_when_asked();
}
