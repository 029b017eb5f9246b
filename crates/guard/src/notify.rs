//! What the service manager is told (`sd_notify(3)`): a datagram to the socket that `NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service manager, if there is one that wants to know.
#[derive(Debug, Default)]
pub struct Manager(Option<UnixDatagram>);

impl Manager {
    /// From the value of `NOTIFY_SOCKET`.
    #[must_use]
    pub fn at(name: Option<&OsStr>) -> Self {
        let connect = |name: &OsStr| {
            let address = match name.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(name),
            };
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect_addr(&address?)?;
            Ok::<_, std::io::Error>(socket)
        };
        Self(name.and_then(|name| connect(name).ok()))
    }

    /// Tells it. One that does not listen is none of our trouble.
    pub fn tell(&self, state: &str) {
        if let Some(socket) = &self.0 {
            let _ = socket.send(state.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_and_may_be_missing() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("notify");
        let listens = UnixDatagram::bind(&path).unwrap();
        Manager::at(Some(path.as_os_str())).tell("READY=1");
        let mut heard = [0; 16];
        let length = listens.recv(&mut heard).unwrap();
        assert_eq!(heard.get(..length), Some(&b"READY=1"[..]));
        Manager::at(None).tell("READY=1");
        Manager::at(Some(OsStr::new("/nowhere"))).tell("READY=1");
        Manager::at(Some(OsStr::new("@plimsoll-nobody"))).tell("READY=1");
    }
}
