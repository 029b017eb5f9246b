//! A descriptor in the words of a person: the link in `/proc/PID/fd`, and for a socket its address.

use rustix::fd::AsFd;
use rustix::net::{SocketAddr, SocketAddrAny, SocketAddrUnix, getpeername, getsockname, sockopt};
use std::os::unix::ffi::OsStrExt;

/// What a descriptor of a process is; `duplicate` is of the same file.
pub(super) fn describe(pid: u32, fd: i32, duplicate: impl AsFd) -> String {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
    let link = plimsoll_proc::text::printable(link.as_os_str().as_bytes()).into_owned();
    if link.starts_with("socket:") {
        return socket(duplicate);
    }
    by_link(&link)
}

fn by_link(link: &str) -> String {
    let terminal = ["/dev/pts/", "/dev/tty", "/dev/console"];
    if terminal.iter().any(|begin| link.starts_with(begin)) {
        return format!("terminal {link}");
    }
    let plain = link.strip_prefix("anon_inode:").unwrap_or(link);
    match plain.split_once(":[") {
        Some((kind, _)) => kind.to_owned(), // pipe:[1234]
        None => plain.trim_matches(['[', ']']).to_owned(),
    }
}

fn socket(socket: impl AsFd) -> String {
    let own = getsockname(&socket).ok().and_then(|found| address(&found));
    let peer = getpeername(&socket).ok().flatten();
    let peer = peer.and_then(|found| address(&found));
    let listens = sockopt::socket_acceptconn(&socket) == Ok(true);
    match (own, peer) {
        (Some(own), _) if listens => format!("socket {own}, listening"),
        (Some(own), Some(peer)) => format!("socket {own}, connected to {peer}"),
        (Some(one), None) | (None, Some(one)) => format!("socket {one}"),
        (None, None) => "socket".to_owned(),
    }
}

/// An address that says something: of the internet, or a name in the unix domain.
fn address(address: &SocketAddrAny) -> Option<String> {
    if let Ok(inet) = SocketAddr::try_from(address.clone()) {
        return Some(inet.to_string());
    }
    let unix = SocketAddrUnix::try_from(address.clone()).ok()?;
    let name = match (unix.path_bytes(), unix.abstract_name()) {
        (Some(path), _) if !path.is_empty() => plimsoll_proc::text::printable(path).into_owned(),
        (_, Some(name)) if !name.is_empty() => format!("@{}", plimsoll_proc::text::printable(name)),
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn links_in_words() {
        for (link, words) in [
            ("/dev/pts/3", "terminal /dev/pts/3"),
            ("pipe:[4711]", "pipe"),
            ("anon_inode:[timerfd]", "timerfd"),
            ("anon_inode:inotify", "inotify"),
            ("/run/fifo", "/run/fifo"),
        ] {
            assert_eq!(by_link(link), words);
        }
    }

    #[test]
    fn sockets_in_words() {
        let me = std::process::id();
        let told = |socket: &dyn AsRawFd, duplicate: &dyn AsFd| {
            describe(me, socket.as_raw_fd(), duplicate.as_fd())
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        assert_eq!(
            told(&listener, &listener),
            format!("socket {here}, listening")
        );
        let client = std::net::TcpStream::connect(here).unwrap();
        let own = client.local_addr().unwrap();
        assert_eq!(
            told(&client, &client),
            format!("socket {own}, connected to {here}")
        );
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(told(&one, &one), "socket");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("name");
        let named = UnixListener::bind(&path).unwrap();
        assert_eq!(
            told(&named, &named),
            format!("socket {}, listening", path.display())
        );
    }
}
