//! Names of UNIX sockets (`unix(7)`): bound by the very text that they had, which is all that the kernel shows of them.
//!
//! One whose file is gone must not disturb what lies there now, and its directory may be gone, too. It is bound in a root that
//! is made for that and removed again. Of every name we keep a handle of the socket's file: whoever knows the socket
//! connects by that, whatever has become of the name.

use crate::error::Error;
use plimsoll_image::proto::UnixSkEntry;
use plimsoll_sys::own_fs::with_own_fs;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, chmod, chown, lstat, unlink};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, bind, connect};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Binds a socket to its name; gives a handle of its file. `gone`: the name is not to stay.
pub(super) fn name(
    socket: &OwnedFd,
    entry: &UnixSkEntry,
    gone: bool,
) -> Result<Option<OwnedFd>, Error> {
    let failed = |errno: Errno| Error::file("name", format!("UNIX socket {}", entry.ino), errno);
    if entry.name.is_empty() {
        return Ok(None);
    }
    if entry.name.first() == Some(&0) {
        let name = address(entry).map_err(failed)?;
        return match bind(socket, &name) {
            // An accepted socket has its listener's name, which can't be bound twice.
            Ok(()) | Err(Errno::ADDRINUSE) => Ok(None),
            Err(errno) => Err(failed(errno)),
        };
    }
    if gone {
        return nowhere(socket, entry).map(Some).map_err(failed);
    }
    let path = path(entry);
    let is_socket = |path: &Path| {
        lstat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
    };
    if is_socket(&path) {
        unlink(&path).map_err(failed)?; // its own, left behind
    }
    let file = with_own_fs(|| {
        rustix::process::chdir(directory(entry))?;
        bind_here(socket, entry)
    });
    let file = file.map_err(failed)?;
    if let Some(perms) = &entry.file_perms {
        let (uid, gid) = (Uid::from_raw(perms.uid), Gid::from_raw(perms.gid));
        chown(&path, Some(uid), Some(gid)).map_err(failed)?;
        chmod(&path, Mode::from_raw_mode(perms.mode & 0o7777)).map_err(failed)?;
    }
    Ok(Some(file))
}

/// Connects a socket with a named one: by the handle of its file, else by the name.
pub(super) fn connect_with(
    socket: BorrowedFd<'_>,
    named: &UnixSkEntry,
    file: Option<&OwnedFd>,
) -> Result<(), Errno> {
    match file {
        Some(file) => {
            let itself = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
            connect(socket, &SocketAddrUnix::new(itself)?)
        }
        None => connect(socket, &address(named)?),
    }
}

/// Binds in a root of its own, which is gone afterwards.
fn nowhere(socket: &OwnedFd, entry: &UnixSkEntry) -> Result<OwnedFd, Errno> {
    let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let root = tempfile::tempdir().map_err(failed)?;
    let path = path(entry);
    for needed in [directory(entry), path.parent().unwrap_or(&path)] {
        std::fs::create_dir_all(root.path().join(below(needed))).map_err(failed)?;
    }
    with_own_fs(|| {
        rustix::process::chroot(root.path())?;
        rustix::process::chdir(directory(entry))?;
        bind_here(socket, entry)
    })
}

fn bind_here(socket: &OwnedFd, entry: &UnixSkEntry) -> Result<OwnedFd, Errno> {
    let text = text(entry);
    bind(socket, &SocketAddrUnix::new(text)?)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(text, flags, Mode::empty())
}

/// A path as it lies below a root: nothing in it leads out.
fn below(path: &Path) -> PathBuf {
    let mut below = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::ParentDir => drop(below.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    below
}

/// The name without the end that the kernel gives it.
fn text(entry: &UnixSkEntry) -> &[u8] {
    let mut parts = entry.name.split(|byte| *byte == 0);
    parts.next().unwrap_or_default()
}

/// What a relative name is relative to.
fn directory(entry: &UnixSkEntry) -> &Path {
    let directory = entry.name_dir.as_deref().unwrap_or(b"/");
    Path::new(OsStr::from_bytes(directory))
}

fn path(entry: &UnixSkEntry) -> PathBuf {
    directory(entry).join(OsStr::from_bytes(text(entry)))
}

fn address(entry: &UnixSkEntry) -> Result<SocketAddrUnix, Errno> {
    match entry.name.split_first() {
        Some((0, rest)) => SocketAddrUnix::new_abstract_name(rest),
        _ => SocketAddrUnix::new(path(entry)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_testkit::need;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn nothing_leads_out_of_a_root() {
        for (path, expected) in [("/a/../../b/./c", "b/c"), ("../..", ""), ("/x", "x")] {
            assert_eq!(below(Path::new(path)), Path::new(expected));
        }
    }

    #[test]
    fn a_socket_without_a_file_has_its_name_and_can_be_reached() {
        need!(Root);
        let entry = UnixSkEntry {
            name: b"/no/such/directory/socket\0".to_vec(),
            ..UnixSkEntry::default()
        };
        let socket = UnixDatagram::unbound().unwrap();
        let socket = OwnedFd::from(socket);
        let file = name(&socket, &entry, true).unwrap();
        let socket = UnixDatagram::from(socket);
        let address = socket.local_addr().unwrap();
        let shown = address.as_pathname();
        assert_eq!(shown, Some(Path::new("/no/such/directory/socket")));
        assert!(!Path::new("/no").exists());
        let other = UnixDatagram::unbound().unwrap();
        connect_with(other.as_fd(), &entry, file.as_ref()).unwrap();
        other.send(b"here").unwrap();
        let mut four = [0; 4];
        assert_eq!(socket.recv(&mut four).unwrap(), 4);
    }
}
