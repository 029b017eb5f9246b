//! The walk over all open descriptors: one `readlink` each, and a second look only where the link promises
//! memory.
//!
//! Links of `/proc/PID/fd` (`proc_pid_fd(5)`) tell what a descriptor is: `pipe:[INODE]`, `/memfd:NAME (deleted)`,
//! `/run/x (deleted)`, `net:[INODE]`. Named FIFOs look like any other path and are not followed: each would cost
//! a `stat` of a file system that may not answer.

use super::MemoryFileKind;
use super::memory_files::MemoryFileCounter;
use super::pipes::PipeCounter;
use crate::text::number;
use plimsoll_units::PageSize;
use rustix::fs::{Mode, OFlags, RawDir, openat, readlinkat_raw};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

/// What the link of a descriptor says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Link<'a> {
    /// A pipe, by inode.
    Pipe(u64),
    /// A network namespace, by inode.
    NetworkNamespace(u64),
    /// A memfd, by the name it was given.
    Memfd(&'a [u8]),
    /// A deleted file, by the path it had.
    Deleted(&'a [u8]),
}

/// Reads a link; `None` for all that holds no memory of its own.
pub(super) fn classify(target: &[u8]) -> Option<Link<'_>> {
    if let Some(path) = target.strip_suffix(b" (deleted)") {
        if let Some(name) = path.strip_prefix(b"/memfd:") {
            return Some(Link::Memfd(name));
        }
        return path.starts_with(b"/").then_some(Link::Deleted(path));
    }
    inode_of(target, b"pipe")
        .map(Link::Pipe)
        .or_else(|| inode_of(target, b"net").map(Link::NetworkNamespace))
}

/// The number in `KIND:[NUMBER]`.
pub(super) fn inode_of(target: &[u8], kind: &[u8]) -> Option<u64> {
    let rest = target.strip_prefix(kind)?.strip_prefix(b":[")?;
    number(rest.strip_suffix(b"]")?)
}

/// One process of the walk, with what is needed for a second look.
#[derive(Debug)]
pub(super) struct Process<'a> {
    pub(super) pid: u32,
    /// `/proc`.
    pub(super) proc: BorrowedFd<'a>,
    /// `/proc/PID/fd`.
    pub(super) fds: BorrowedFd<'a>,
}

/// What the walk gathers.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) page: PageSize,
    pub(super) pids: Vec<u32>,
    pub(super) pipes: PipeCounter,
    pub(super) files: MemoryFileCounter,
    /// Network namespaces by inode, with a path that opens them: absolute, or below `/proc`.
    pub(super) namespaces: BTreeMap<u64, CString>,
    /// Processes whose descriptors we may not see.
    pub(super) refused: u64,
}

impl Gathered {
    fn descriptor(&mut self, process: &Process<'_>, fd: &CStr, link: Link<'_>) {
        match link {
            Link::Pipe(inode) => self.pipes.visit(process, fd, inode, self.page),
            Link::Memfd(name) => (self.files).visit(process, fd, MemoryFileKind::Memfd, name),
            Link::Deleted(name) => (self.files).visit(process, fd, MemoryFileKind::Deleted, name),
            Link::NetworkNamespace(inode) => {
                let path = of_process(process.pid, &format!("fd/{}", fd.to_string_lossy()));
                self.namespaces.entry(inode).or_insert(path);
            }
        }
    }
}

/// Longest link that is read; a longer path than `PATH_MAX` can't come out of the kernel.
const LINK_MAX: usize = 4096;

/// Visits every descriptor of every process. Processes that end meanwhile are passed over.
///
/// # Errors
/// When `/proc` itself can't be listed.
pub(super) fn walk(proc: BorrowedFd<'_>, gathered: &mut Gathered) -> Result<(), Errno> {
    let listing = openat(proc, c".", DIRECTORY, Mode::empty())?;
    let mut names = [MaybeUninit::uninit(); 16 << 10];
    let mut entries = RawDir::new(listing, &mut names);
    while let Some(entry) = entries.next() {
        let pid = number(entry?.file_name().to_bytes()).and_then(|pid| u32::try_from(pid).ok());
        if let Some(pid) = pid {
            walk_process(proc, pid, gathered);
        }
    }
    Ok(())
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

fn walk_process(proc: BorrowedFd<'_>, pid: u32, gathered: &mut Gathered) {
    gathered.pids.push(pid);
    let mut link = [MaybeUninit::uninit(); LINK_MAX];
    let namespace = of_process(pid, "ns/net");
    if let Ok((target, _)) = readlinkat_raw(proc, &*namespace, &mut link)
        && let Some(inode) = inode_of(target, b"net")
    {
        gathered.namespaces.entry(inode).or_insert(namespace);
    }
    let fds = match openat(proc, &*of_process(pid, "fd"), DIRECTORY, Mode::empty()) {
        Ok(fds) => fds,
        Err(Errno::ACCESS | Errno::PERM) => {
            gathered.refused += 1;
            return;
        }
        Err(_) => return, // it ended
    };
    let process = Process {
        pid,
        proc,
        fds: fds.as_fd(),
    };
    let mut names = [MaybeUninit::uninit(); 4 << 10];
    let mut entries = RawDir::new(&fds, &mut names);
    while let Some(Ok(entry)) = entries.next() {
        let fd = entry.file_name();
        if fd == c"." || fd == c".." {
            continue;
        }
        match readlinkat_raw(&fds, fd, &mut link) {
            Ok((target, _)) => {
                if let Some(found) = classify(target) {
                    gathered.descriptor(&process, fd, found);
                }
            }
            // A process that is not dumpable shows how many it has, and no more: one refusal is all of them.
            Err(Errno::ACCESS | Errno::PERM) => {
                gathered.refused += 1;
                return;
            }
            Err(_) => {} // closed meanwhile
        }
    }
}

/// `PID/NAME`, below `/proc`.
pub(super) fn of_process(pid: u32, name: &str) -> CString {
    CString::new(format!("{pid}/{name}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_tell_what_holds_memory() {
        for (target, link) in [
            (&b"pipe:[42]"[..], Some(Link::Pipe(42))),
            (
                b"net:[4026531840]",
                Some(Link::NetworkNamespace(4_026_531_840)),
            ),
            (
                b"/memfd:a b (deleted) (deleted)",
                Some(Link::Memfd(b"a b (deleted)")),
            ),
            (
                b"/dev/shm/\xff\n (deleted)",
                Some(Link::Deleted(b"/dev/shm/\xff\n")),
            ),
            (b"socket:[7]", None),
            (b"/dev/null", None),
            (b"pipe:[]", None),
            (b"pipe:[-1]", None),
            (b"pipe:[1", None),
            (b" (deleted)", None),
        ] {
            assert_eq!(classify(target), link, "{target:?}");
        }
    }
}
