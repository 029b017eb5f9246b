//! The walk over all open descriptors: one `readlink` each, and a second look only where the link promises
//! memory.
//!
//! Links of `/proc/PID/fd` (`proc_pid_fd(5)`) tell what a descriptor is: `pipe:[INODE]`, `/memfd:NAME (deleted)`,
//! `/run/x (deleted)`, `net:[INODE]`. Named FIFOs look like any other path and are not followed: each would cost
//! a `stat` of a file system that may not answer.

use super::MemoryFileKind;
use super::memory_files::MemoryFileCounter;
use super::pipes::PipeCounter;
use crate::process::walk::Process;
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

/// A descriptor that is worth a second look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descriptor<'a> {
    /// Whose it is.
    pub(super) process: &'a Process<'a>,
    /// `/proc/PID/fd`.
    pub(super) fds: BorrowedFd<'a>,
    /// Its number, as a name in there.
    pub(super) number: &'a CStr,
}

/// What the walk gathers.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) page: PageSize,
    pub(super) pipes: PipeCounter,
    pub(super) files: MemoryFileCounter,
    /// Network namespaces by inode, with a path that opens them: absolute, or below `/proc`.
    pub(super) namespaces: BTreeMap<u64, CString>,
    /// Processes whose descriptors we may not see.
    pub(super) refused: u64,
}

impl Gathered {
    fn descriptor(&mut self, descriptor: Descriptor<'_>, link: Link<'_>) {
        match link {
            Link::Pipe(inode) => self.pipes.visit(descriptor, inode, self.page),
            Link::Memfd(name) => (self.files).visit(descriptor, MemoryFileKind::Memfd, name),
            Link::Deleted(name) => (self.files).visit(descriptor, MemoryFileKind::Deleted, name),
            Link::NetworkNamespace(inode) => {
                let number = descriptor.number.to_string_lossy();
                self.namespace(inode, descriptor.process, &format!("fd/{number}"));
            }
        }
    }

    /// `name`, below the process's directory, opens the namespace.
    fn namespace(&mut self, inode: u64, process: &Process<'_>, name: &str) {
        self.namespaces.entry(inode).or_insert_with(|| {
            let path = format!("{}/{name}", process.status.pid);
            CString::new(path).unwrap_or_default()
        });
    }

    /// Visits every descriptor of a process. One that has ended, in whole or in part, is passed over.
    pub(super) fn process(&mut self, process: &Process<'_>) {
        let mut link = [MaybeUninit::uninit(); LINK_MAX];
        if let Ok((target, _)) = readlinkat_raw(&process.dir, c"ns/net", &mut link)
            && let Some(inode) = inode_of(target, b"net")
        {
            self.namespace(inode, process, "ns/net");
        }
        let fds = match openat(&process.dir, c"fd", DIRECTORY, Mode::empty()) {
            Ok(fds) => fds,
            Err(Errno::ACCESS | Errno::PERM) => {
                self.refused += 1;
                return;
            }
            Err(_) => return, // it ended
        };
        let mut names = [MaybeUninit::uninit(); 4 << 10];
        let mut entries = RawDir::new(&fds, &mut names);
        while let Some(Ok(entry)) = entries.next() {
            let number = entry.file_name();
            if number == c"." || number == c".." {
                continue;
            }
            match readlinkat_raw(&fds, number, &mut link) {
                Ok((target, _)) => {
                    if let Some(found) = classify(target) {
                        let fds = fds.as_fd();
                        let descriptor = Descriptor {
                            process,
                            fds,
                            number,
                        };
                        self.descriptor(descriptor, found);
                    }
                }
                // A process that is not dumpable shows how many it has, and no more: one refusal is all of them.
                Err(Errno::ACCESS | Errno::PERM) => {
                    self.refused += 1;
                    return;
                }
                Err(_) => {} // closed meanwhile
            }
        }
    }
}

/// Longest link that is read; a longer path than `PATH_MAX` can't come out of the kernel.
const LINK_MAX: usize = 4096;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

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
