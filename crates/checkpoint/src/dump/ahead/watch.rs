//! A process whose writes are noted by the kernel, and by nobody else: asynchronous write protection of userfaultfd, asked for
//! by `PAGEMAP_SCAN` (Linux 6.7, `Documentation/admin-guide/mm/pagemap.rst`).
//!
//! A write to a protected page takes the protection off, in the kernel, and goes on. The descriptor is ours alone
//! ([`descriptor`]), and the kernel takes all protection off when the last one is closed: when this is
//! dropped, or when we are killed.
//!
//! Only private anonymous memory is watched. Elsewhere the kernel puts marks in the place of pages that were given up, which look
//! like pages in swap that nobody has written.

use crate::fault_point::fault_point;
use plimsoll_proc::Root;
use plimsoll_proc::process::map_name::MapName;
use plimsoll_proc::process::maps;
use plimsoll_surgery::operate::Operation;
use plimsoll_surgery::stop::StoppedProcess;
use plimsoll_surgery::tree::ProcessName;
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::{Categories, Pagemap, Scan, ScanFlags};
use plimsoll_sys::remote::Syscall;
use plimsoll_sys::uffd::{CreateFlags, Features, Modes, Uffd};
use plimsoll_units::PageSize;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io;

/// The name of the mapping that `io_setup(2)` makes.
const AIO_RING: &[u8] = b"/[aio]";
/// Of a thread, whichever it is (`pidfd_open(2)`).
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::PIDFD_THREAD);

/// A process that is watched as long as this lives.
#[derive(Debug)]
pub(super) struct Watched {
    name: ProcessName,
    /// What is watched of it.
    spans: Vec<Span>,
    /// That of its memory as it was: nothing, once it has executed another program.
    pagemap: Pagemap,
    /// Its last close is the end of the watch.
    _uffd: Uffd,
}

impl Watched {
    /// Begins with a process that stands, so that no write of its own is under way. Those of a device that began before would
    /// not be seen: where there may be such, as with AIO, it is not begun.
    ///
    /// # Errors
    /// The kernel can't, or the process may not.
    pub(super) fn begin(
        root: &Root,
        process: &mut StoppedProcess,
        page_size: PageSize,
    ) -> io::Result<Self> {
        let name = process.name;
        let pid = name.pid().ok_or(Errno::SRCH)?;
        let fd = descriptor(root, process)?;
        let uffd = Uffd::handshake(fd, Features::WP_ASYNC).map_err(|refused| refused.errno)?;
        let maps = root.read(format!("proc/{}/maps", name.pid));
        let maps = maps.map_err(io::Error::other)?;
        let pagemap = Pagemap::open(pid, page_size)?;
        let mut spans = Vec::new();
        for mapping in maps::parse(&maps).flatten() {
            if mapping.raw_name.starts_with(AIO_RING) {
                return Err(Errno::BUSY.into());
            }
            let anonymous = matches!(
                mapping.name(),
                MapName::Anonymous | MapName::Heap | MapName::Stack | MapName::AnonNamed(_)
            );
            let span = Span {
                start: mapping.start,
                end: mapping.end,
            };
            // One that can't be watched is copied while it stands.
            if anonymous && !mapping.is_shared() && uffd.register(span, Modes::WP).is_ok() {
                protect(&pagemap, span)?;
                spans.push(span);
            }
        }
        Ok(Self {
            name,
            spans,
            pagemap,
            _uffd: uffd,
        })
    }

    pub(super) fn name(&self) -> ProcessName {
        self.name
    }

    /// What is watched of it.
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The pages that were there when the watch began, are there still, and were never written in between; in order.
    pub(super) fn unwritten(&self) -> Vec<Span> {
        let not = Categories::WRITTEN | Categories::FILE | Categories::PFNZERO;
        let wanted = Scan {
            all: Categories::WPALLOWED | not,
            inverted: not,
            any: Categories::PRESENT | Categories::SWAPPED,
            ..Scan::default()
        };
        let mut found = Vec::new();
        for span in &self.spans {
            // What the kernel doesn't tell is copied again.
            let _ = self
                .pagemap
                .each_region(*span, &wanted, |region| found.push(region.span()));
        }
        Span::joined(found)
    }
}

/// A userfaultfd for the memory of a process that stands, as our own. It is made by a thread with descriptors of its own, so that
/// whatever becomes of us the process never has it. A descriptor of a thread can be taken since Linux 6.9 (`PIDFD_THREAD`).
fn descriptor(root: &Root, process: &mut StoppedProcess) -> io::Result<OwnedFd> {
    let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK | CreateFlags::USER_MODE_ONLY;
    let make = Syscall::new(libc::SYS_userfaultfd, [u64::from(flags.bits())]);
    let mut operation = Operation::begin(root, process).map_err(io::Error::other)?;
    let taken = operation.aside(|thread| {
        let number = thread.call(make).map_err(io::Error::other)??;
        fault_point("made");
        let theirs = i32::try_from(number).map_err(|_| Errno::BADF)?;
        let pidfd = pidfd_open(thread.tid(), PIDFD_THREAD)?;
        Ok(pidfd_getfd(pidfd, theirs, PidfdGetfdFlags::empty())?)
    });
    taken.map_err(io::Error::other)?
}

/// Protects every page of a range that is the process's own. Guard pages (Linux 6.15) are none, and are no category before.
fn protect(pagemap: &Pagemap, span: Span) -> Result<(), Errno> {
    let protect = |not: Categories| {
        let wanted = Scan {
            all: not,
            inverted: not,
            any: Categories::PRESENT | Categories::SWAPPED,
            flags: ScanFlags::WP_MATCHING | ScanFlags::CHECK_WPASYNC,
            ..Scan::default()
        };
        pagemap.each_region(span, &wanted, |_| {})
    };
    let not = Categories::FILE | Categories::PFNZERO;
    match protect(not | Categories::GUARD) {
        Err(Errno::INVAL) => protect(not),
        done => done,
    }
}
