//! What the kernel reports through a userfaultfd: faults, and what the process does to its own memory.
//!
//! A `fork(2)`, `mremap(2)`, `madvise(2)` or `munmap(2)` waits until its event has been read, and faults are
//! given out before events; so a pager reads until there is nothing left.
//!
//! # Safety
//! The number in a fork event is a descriptor that the kernel has just opened for the reader alone; it becomes
//! an [`OwnedFd`] exactly once, right after the read.
#![allow(unsafe_code)]

use super::{Features, Uffd};
use crate::Span;
use linux_raw_sys::general as k;
use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;

/// One message.
#[derive(Debug)]
pub enum Event {
    /// A thread waits for a page.
    Pagefault(Pagefault),
    /// It forked: the child's memory has this descriptor.
    Fork(Uffd),
    /// It moved a mapping; the range stays armed at its new place.
    Remap {
        /// Where it was.
        from: u64,
        /// What it is now (grown or shrunk pages included).
        to: Span,
    },
    /// It dropped pages (`MADV_DONTNEED` and its like): they are zeros now, the range stays armed.
    Remove(Span),
    /// It unmapped a range.
    Unmap(Span),
    /// A later kernel's.
    Unknown(u8),
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pagefault {
    /// Where (the page's address, without EXACT_ADDRESS).
    pub address: u64,
    /// By a write.
    pub write: bool,
    /// Because the page is write-protected, not absent.
    pub write_protected: bool,
    /// Because the page is cached but not mapped.
    pub minor: bool,
    /// By whom, with THREAD_ID.
    pub tid: Option<Pid>,
}

/// Length of `struct uffd_msg`.
pub(super) const MESSAGE: usize = 32;
/// Messages taken at a time.
pub(super) const BATCH: usize = 64;

/// A buffer for messages, to be used again.
#[derive(Debug)]
pub struct Events {
    bytes: [u8; MESSAGE * BATCH],
}

impl Default for Events {
    fn default() -> Self {
        Self {
            bytes: [0; MESSAGE * BATCH],
        }
    }
}

impl Events {
    /// Reads what there is and gives it out in order; nothing where nothing is to be read on a nonblocking
    /// descriptor. A blocking one waits for the first message.
    ///
    /// # Errors
    /// `EINVAL` before the handshake; `EMFILE`-like ones when a fork's descriptor can't be opened.
    pub fn read(&mut self, uffd: &Uffd) -> Result<impl Iterator<Item = Event> + use<'_>, Errno> {
        let read = rustix::io::retry_on_intr(|| rustix::io::read(uffd.as_fd(), &mut self.bytes));
        let length = match read {
            Ok(length) => length,
            Err(Errno::AGAIN) => 0,
            Err(errno) => return Err(errno),
        };
        let features = uffd.features();
        let messages = self.bytes.get(..length).unwrap_or_default();
        let (messages, _) = messages.as_chunks::<MESSAGE>();
        Ok(Unread {
            messages: messages.iter(),
            features,
        })
    }
}

/// Messages that were read and not yet given out. Descriptors of children are in them: what is not asked for is closed.
struct Unread<'e> {
    messages: std::slice::Iter<'e, [u8; MESSAGE]>,
    features: Features,
}

impl Iterator for Unread<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        Some(decode(self.messages.next()?, self.features))
    }
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// Decodes `struct uffd_msg`: the kind at 0, three words from 8.
pub(super) fn decode(message: &[u8; MESSAGE], features: Features) -> Event {
    let [kind, _, _, _, _, _, _, _, words @ ..] = message;
    let (words, _) = words.as_chunks::<8>();
    let mut words = words.iter().copied().map(u64::from_ne_bytes);
    let mut word = || words.next().unwrap_or_default();
    let (first, second, third) = (word(), word(), word());
    match u32::from(*kind) {
        k::UFFD_EVENT_PAGEFAULT => Event::Pagefault(pagefault(first, second, third)),
        k::UFFD_EVENT_FORK => fork(first, features),
        k::UFFD_EVENT_REMAP => Event::Remap {
            from: first,
            to: Span::new(second, third),
        },
        k::UFFD_EVENT_REMOVE => Event::Remove(Span {
            start: first,
            end: second,
        }),
        k::UFFD_EVENT_UNMAP => Event::Unmap(Span {
            start: first,
            end: second,
        }),
        _ => Event::Unknown(*kind),
    }
}

fn pagefault(flags: u64, address: u64, tid: u64) -> Pagefault {
    let has = |flag: u32| flags & u64::from(flag) != 0;
    let low = u32::try_from(tid & 0xffff_ffff).unwrap_or_default();
    Pagefault {
        address,
        write: has(k::UFFD_PAGEFAULT_FLAG_WRITE),
        write_protected: has(k::UFFD_PAGEFAULT_FLAG_WP),
        minor: has(k::UFFD_PAGEFAULT_FLAG_MINOR),
        tid: Pid::from_raw(low.cast_signed()),
    }
}

fn fork(word: u64, features: Features) -> Event {
    let low = u32::try_from(word & 0xffff_ffff).unwrap_or_default();
    // SAFETY: the kernel opened this descriptor for whoever read the message, which is us, and each message is
    // decoded once. It is never negative.
    let fd = unsafe { OwnedFd::from_raw_fd(low.cast_signed()) };
    Event::Fork(Uffd { fd, features })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<k::uffd_msg>(), MESSAGE);
        assert_eq!(offset_of!(k::uffd_msg, arg), 8);
        type Fault = k::uffd_msg__bindgen_ty_1__bindgen_ty_1;
        assert_eq!(
            (
                offset_of!(Fault, flags),
                offset_of!(Fault, address),
                offset_of!(Fault, feat)
            ),
            (0, 8, 16)
        );
        type Remap = k::uffd_msg__bindgen_ty_1__bindgen_ty_3;
        assert_eq!(
            (
                offset_of!(Remap, from),
                offset_of!(Remap, to),
                offset_of!(Remap, len)
            ),
            (0, 8, 16)
        );
    }
}
