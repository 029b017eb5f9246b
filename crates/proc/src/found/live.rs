//! The look itself: every process once, then the sockets; or what a captured tree remembers of it.

use super::descriptors::{Gathered, inode_of};
use super::memory_files::MemoryFileCounter;
use super::pipes::PipeCounter;
use super::secretmem::SecretmemCounter;
use super::{CAPTURED, Found, Tmpfs, Unseen, sockets, tmpfs};
use crate::mountinfo::{self, Mount};
use crate::process::walk::{self, Process};
use crate::{ReadError, Root, sysvipc_shm};
use plimsoll_units::PageSize;
use rustix::fs::{Mode, OFlags, open, readlinkat};
use rustix::thread::CapabilitySet;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The live host's `/proc` can't be opened.
    #[error("cannot open /proc")]
    Proc(#[source] std::io::Error),
    /// Its processes can't be listed, or the captured tree does not hold the answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It holds something else in its place.
    #[error("cannot make sense of {CAPTURED}")]
    Malformed(#[source] serde_json::Error),
}

/// Looks at the live host, or reads what was found when a tree was captured. `page` is that host's page size.
///
/// What can't be seen is left out and named in [`Found::unseen`].
///
/// # Errors
/// When `/proc` can't be listed, or the captured answer can't be read.
pub fn look(root: &Root, page: PageSize) -> Result<Found, LookError> {
    let mut search = Search::begin(root, page)?;
    if root.is_live() {
        walk::walk(root, |_, process| {
            if let Ok(process) = &process {
                search.process(process);
            }
        })?;
    }
    search.finish()
}

/// A look for those who walk over all processes anyway: it is shown each of them.
#[derive(Debug)]
pub struct Search<'r> {
    root: &'r Root,
    state: State,
}

#[derive(Debug)]
enum State {
    Captured(Found),
    Live(Box<Live>),
}

impl<'r> Search<'r> {
    /// Begins to look at the live host, or reads what was found when a tree was captured.
    ///
    /// # Errors
    /// When `/proc` can't be opened, or the captured answer can't be read.
    pub fn begin(root: &'r Root, page: PageSize) -> Result<Self, LookError> {
        let state = if root.is_live() {
            State::Live(Box::new(Live::begin(page)?))
        } else {
            let found = serde_json::from_slice(&root.read(CAPTURED)?);
            State::Captured(found.map_err(LookError::Malformed)?)
        };
        Ok(Self { root, state })
    }

    /// Looks into one process.
    pub fn process(&mut self, process: &Process<'_>) {
        if let State::Live(live) = &mut self.state {
            live.process(process);
        }
    }

    /// Asks about sockets and adds everything up.
    ///
    /// # Errors
    /// When what was found can't be recorded.
    pub fn finish(self) -> Result<Found, LookError> {
        let live = match self.state {
            State::Captured(found) => return Ok(found),
            State::Live(live) => live,
        };
        // The answer is what a capture keeps, not what was read for it.
        let found = live.finish();
        let kept = serde_json::to_vec(&found).map_err(LookError::Malformed)?;
        self.root.record(CAPTURED, &kept);
        Ok(found)
    }
}

/// What is gathered on the live host.
#[derive(Debug)]
struct Live {
    proc: OwnedFd,
    gathered: Gathered,
    secretmem: SecretmemCounter,
    tmpfs: Vec<Tmpfs>,
}

impl Live {
    fn begin(page: PageSize) -> Result<Self, LookError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc =
            open("/proc", flags, Mode::empty()).map_err(|errno| LookError::Proc(errno.into()))?;
        let mounts = Root::live().read("proc/self/mountinfo");
        let mounts = mountinfo::parse(&mounts.unwrap_or_default());
        let tmpfs = tmpfs::usage(&mounts);
        let gathered = Gathered {
            page,
            pipes: PipeCounter::default(),
            files: MemoryFileCounter::new(&tmpfs),
            namespaces: mounted_network_namespaces(&mounts),
            refused: 0,
        };
        Ok(Self {
            proc,
            gathered,
            secretmem: SecretmemCounter::new(),
            tmpfs,
        })
    }

    fn process(&mut self, process: &Process<'_>) {
        // A kernel thread has no descriptors, and a process that gave up its memory is about to give up those, too.
        if process.status.vm.is_some() {
            self.gathered.process(process);
            self.secretmem.visit(process);
        }
    }

    fn finish(self) -> Found {
        let segments = Root::live().read("proc/sysvipc/shm").unwrap_or_default();
        let mut segments = sysvipc_shm::parse(&segments);
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.rss_bytes));
        let (pipes, pipes_refused) = self.gathered.pipes.finish();
        let mut found = Found {
            pipes,
            memory_files: self.gathered.files.finish(),
            segments,
            tmpfs: self.tmpfs,
            secretmem: self.secretmem.finish(),
            ..Found::default()
        };
        note_unseen(&mut found, self.gathered.refused, pipes_refused);
        let proc = self.proc.as_fd();
        let own = own_network_namespace(proc);
        sockets::look(&mut found, proc, own, &self.gathered.namespaces);
        found
    }
}

/// Network namespaces that are kept by a mount (`ip netns add`), whether or not a process is in them.
fn mounted_network_namespaces(mounts: &[Mount]) -> BTreeMap<u64, CString> {
    let namespaces = mounts.iter().filter(|mount| mount.fs_type == b"nsfs");
    let by_inode = namespaces.filter_map(|mount| {
        let inode = inode_of(mount.root.as_os_str().as_bytes(), b"net")?;
        let path = CString::new(mount.mount_point.as_os_str().as_bytes()).ok()?;
        Some((inode, path))
    });
    by_inode.collect()
}

fn own_network_namespace(proc: BorrowedFd<'_>) -> Option<u64> {
    let link = readlinkat(proc, c"thread-self/ns/net", Vec::new()).ok()?;
    inode_of(link.as_bytes(), b"net")
}

fn note_unseen(found: &mut Found, processes: u64, pipes: usize) {
    let mut note = |what: String, why: &str| {
        let why = format!("{why}; {}", who_may_look());
        found.unseen.push(Unseen { what, why });
    };
    if processes > 0 {
        note(
            format!(
                "pipes, memory files and network namespaces of {processes} process{}",
                if processes == 1 { "" } else { "es" }
            ),
            "descriptors may not be read",
        );
    }
    if pipes > 0 {
        note(
            format!("what {pipes} pipes hold"),
            "their processes may not be examined (pidfd_getfd, since Linux 5.6)",
        );
    }
}

/// Who sees more than we did. Root does; who is refused as root is so by something above this host's root.
fn who_may_look() -> &'static str {
    let ours = rustix::thread::capabilities(None).map(|sets| sets.effective);
    if ours.is_ok_and(|ours| ours.contains(CapabilitySet::SYS_PTRACE)) {
        "refused even with CAP_SYS_PTRACE (another user namespace, or a security module)"
    } else {
        "root sees those of other users (CAP_SYS_PTRACE)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::found::{MemoryFileKind, SocketFamily};
    use plimsoll_units::Bytes;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn find() -> Found {
        let page = PageSize::new(rustix::param::page_size() as u64).unwrap();
        look(&Root::live(), page).unwrap()
    }

    #[test]
    fn what_this_process_holds_is_found() {
        let memfd = rustix::fs::memfd_create(c"a\nname", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        std::fs::File::from(memfd.try_clone().unwrap())
            .write_all(&vec![1; 3 << 20])
            .unwrap();
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, b"1").unwrap();
        let (_kept, mut sender) = UnixStream::pair().unwrap();
        sender.write_all(&[1; 50_000]).unwrap();
        let (heir, mut closed) = UnixStream::pair().unwrap();
        closed.write_all(&[1; 50_000]).unwrap();
        drop(closed);

        let found = find();
        let file = (found.memory_files.iter())
            .find(|file| file.pid == std::process::id() && file.name == "a\\x0aname")
            .unwrap();
        assert_eq!(
            (file.bytes, file.kind),
            (Bytes(3 << 20), MemoryFileKind::Memfd)
        );
        assert_eq!(file.descriptors, 1);
        assert!(found.pipes.page_bytes >= Bytes(rustix::param::page_size() as u64));
        let unix = (found.sockets.iter())
            .find(|sum| sum.family == SocketFamily::UnixStream)
            .unwrap();
        assert!(unix.queued_bytes >= Bytes(100_000));
        assert!(unix.truesize_bytes >= Bytes(100_000));
        drop(heir);
    }

    #[test]
    fn what_was_found_is_captured_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let fd = open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let page = PageSize::new(rustix::param::page_size() as u64).unwrap();
        let live = Root::recorded(fd);
        let found = look(&live, page).unwrap();
        live.finish_recording().unwrap();
        let replay = Root::captured(dir.path()).unwrap();
        assert_eq!(look(&replay, page).unwrap(), found);
        std::fs::write(dir.path().join(CAPTURED), "{").unwrap();
        assert!(matches!(look(&replay, page), Err(LookError::Malformed(_))));
    }
}
