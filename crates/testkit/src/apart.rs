//! A test in namespaces of its own: network, System V objects, pids (`namespaces(7)`), and with
//! pseudoterminals and POSIX shared memory of its own.
//!
//! What a restore wants back (pids, ports, names, keys, terminals' numbers) is free to be taken while a tree is away, also by a
//! test beside this one. A test that says `apart!()` runs again as a process whose namespaces nobody else has; there a shell is
//! the first process, so that whoever loses its parent is reaped, and nothing outlives the test.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::process::Command;

/// Set in the process that is apart.
const APART: &str = "PLIMSOLL_APART";

/// Runs the rest of a test in namespaces of its own: what stands behind it is executed there, and not here. Belongs behind
/// [`need!`](crate::need) in a test that returns nothing.
#[macro_export]
macro_rules! apart {
    () => {{
        fn here() {}
        if $crate::apart::ran(::std::any::type_name_of_val(&here).trim_end_matches("::here")) {
            return;
        }
    }};
}

/// Whether `test` has been run apart, by this call; [`apart!`](crate::apart!) calls it.
///
/// # Panics
/// Where the test has failed there.
#[must_use]
pub fn ran(test: &str) -> bool {
    if std::env::var_os(APART).is_some() {
        raise_loopback().expect("a namespace of one's own has a loopback device to raise");
        return false;
    }
    if !unshared().arg("true").status().is_ok_and(|it| it.success()) {
        eprintln!("{test} runs beside others: no namespaces can be made here");
        return false;
    }
    let name = test.split_once("::").map_or(test, |(_, name)| name);
    let program = std::env::current_exe().expect("a test knows its program");
    let ended = unshared()
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .args(std::env::args().filter(|argument| argument == "--ignored"))
        .env(APART, "1")
        .status()
        .expect("it was started a moment ago");
    assert!(ended.success(), "{test} failed in namespaces of its own");
    true
}

/// The beginning of a command that is executed apart.
fn unshared() -> Command {
    // Every mount of devpts has terminals of its own. Pids begin with one that no other test has: some programs name files by
    // theirs. The command is not the shell's last, which the shell would become, and reap nobody.
    const FIRST: &str = r#"mount -t devpts -o ptmxmode=666 devpts /dev/pts &&
        mount --bind /dev/pts/ptmx /dev/ptmx &&
        mount -t tmpfs tmpfs /dev/shm &&
        echo "$0" > /proc/sys/kernel/ns_last_pid && "$@"; exit $?"#;
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--ipc", "--pid", "--mount-proc", "--fork"])
        .args(["--kill-child", "sh", "-c", FIRST])
        .arg(std::process::id().to_string());
    command
}

/// Sets the loopback device up: `RTM_NEWLINK` with a `struct ifinfomsg` (`rtnetlink(7)`).
fn raise_loopback() -> Result<(), Errno> {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
    const LOOPBACK: i32 = 1;
    const IFF_UP: u32 = 1;
    const LENGTH: u32 = 32;
    let mut message = LENGTH.to_ne_bytes().to_vec();
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    message.extend([0; 8]); // sequence number, port
    message.extend([0; 4]); // family, type
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes()); // what is to change
    let flags = SocketFlags::CLOEXEC;
    let netlink_route = None; // its number is 0
    let family = AddressFamily::NETLINK;
    let route = socket_with(family, SocketType::RAW, flags, netlink_route)?;
    send(&route, &message, SendFlags::empty())?;
    let mut answer = [0; 64];
    recv(&route, &mut answer, RecvFlags::empty())?;
    let code = answer.get(16..).and_then(<[u8]>::first_chunk);
    match code.map_or(0, |code| i32::from_ne_bytes(*code)) {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno.saturating_neg())),
    }
}

#[cfg(test)]
mod tests {
    use crate::need;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn whoever_is_apart_has_pids_and_ports_to_itself() {
        need!(Root, Program("unshare"));
        let _taken = TcpListener::bind("127.0.0.1:0").unwrap();
        apart!();
        assert_eq!(std::fs::read_to_string("/proc/1/comm").unwrap(), "sh\n");
        let sockets = || {
            std::fs::read_to_string("/proc/net/tcp")
                .unwrap()
                .lines()
                .count()
                - 1
        };
        assert_eq!(sockets(), 1, "ours");
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        TcpStream::connect(ours.local_addr().unwrap()).unwrap();
    }
}
