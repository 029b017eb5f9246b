//! Which processes are the largest, counted a part at a time.
//!
//! A host may have thousands of processes, and a beat must not grow with them: each beat looks at [`AT_A_TIME`] more of them
//! where the last one stopped, and the largest of the last whole round are the ones whose files are kept. What counts is what
//! `/proc/PID/status` says of resident memory and swap together; reading it neither faults the process's memory in nor waits
//! for its locks (`proc_pid_status(5)`).

use plimsoll_proc::kernel_text;
use plimsoll_proc::text::{lines, number, words};
use rustix::fd::OwnedFd;
use rustix::fs::{RawDir, SeekFrom, seek};
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// How many processes a beat looks at.
const AT_A_TIME: usize = 128;

/// How many of the largest are kept.
pub(crate) const LARGEST: usize = 24;

/// A process and the kB it has in RAM and swap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    pid: u32,
    kib: u64,
}

/// The largest of those that were counted, largest first.
#[derive(Debug, Clone, Copy, Default)]
struct Top([Counted; LARGEST]);

impl Top {
    fn count(&mut self, counted: Counted) {
        let smaller = self.0.iter().position(|other| other.kib < counted.kib);
        if let Some(tail) = smaller.and_then(|place| self.0.get_mut(place..)) {
            tail.rotate_right(1);
            if let Some(place) = tail.first_mut() {
                *place = counted;
            }
        }
    }
}

/// The count under way, and the last whole one.
#[derive(Debug)]
pub(crate) struct Census {
    directory: OwnedFd,
    last: Top,
    under_way: Top,
    /// Whether a whole round is done.
    settled: bool,
}

impl Census {
    pub(crate) const fn new(directory: OwnedFd) -> Self {
        Self {
            directory,
            last: Top([Counted { pid: 0, kib: 0 }; LARGEST]),
            under_way: Top([Counted { pid: 0, kib: 0 }; LARGEST]),
            settled: false,
        }
    }

    /// Below which the processes are.
    pub(crate) const fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Counts on; `buffer` is for the text of one file.
    pub(crate) fn go_on(&mut self, buffer: &mut [u8]) {
        let mut names = [MaybeUninit::uninit(); 4096];
        let mut looked_at = 0;
        while looked_at < AT_A_TIME {
            // One buffer's entries, all of them: the kernel keeps the place behind what it gave.
            let mut entries = RawDir::new(&self.directory, &mut names);
            let mut any = false;
            while let Some(Ok(entry)) = entries.next() {
                any = true;
                if let Some(pid) = pid_of(entry.file_name().to_bytes()) {
                    looked_at += 1;
                    let kib = kib_of(&self.directory, pid, buffer).unwrap_or(0);
                    self.under_way.count(Counted { pid, kib });
                }
                if entries.is_buffer_empty() {
                    break;
                }
            }
            if !any {
                self.last = self.under_way;
                self.under_way = Top::default();
                self.settled = true;
                let _ = seek(&self.directory, SeekFrom::Start(0)); // a directory that can't be rewound counts nobody
                break;
            }
        }
    }

    /// The largest processes, largest first.
    pub(crate) fn largest(&self) -> impl Iterator<Item = u32> + use<> {
        let top = if self.settled {
            self.last
        } else {
            self.under_way
        };
        let real = |counted: &Counted| counted.kib > 0;
        top.0.into_iter().filter(real).map(|counted| counted.pid)
    }
}

fn pid_of(name: &[u8]) -> Option<u32> {
    number(name)?.try_into().ok()
}

/// `VmRSS` and `VmSwap`; a kernel thread has neither.
fn kib_of(directory: &OwnedFd, pid: u32, buffer: &mut [u8]) -> Option<u64> {
    let mut path = PidPath::default();
    let file = kernel_text::open(Some(directory), path.of(pid, b"status")?).ok()?;
    let text = kernel_text::read(file, buffer)?;
    let kib = |name: &[u8]| {
        let mut found = lines(text).filter(|line| line.starts_with(name));
        number(words(found.next()?).nth(1)?)
    };
    kib(b"VmRSS:")?.checked_add(kib(b"VmSwap:").unwrap_or(0))
}

/// `PID/FILE`, without memory of its own on the heap.
#[derive(Debug, Default)]
pub(crate) struct PidPath([u8; 32]);

impl PidPath {
    pub(crate) fn of(&mut self, pid: u32, file: &[u8]) -> Option<&CStr> {
        let mut rest = self.0.as_mut_slice();
        std::io::Write::write_fmt(&mut rest, format_args!("{pid}/")).ok()?;
        let (name, end) = rest.split_at_mut_checked(file.len())?;
        name.copy_from_slice(file);
        *end.first_mut()? = 0;
        CStr::from_bytes_until_nul(&self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_in_order() {
        let mut top = Top::default();
        for pid in 1..=100 {
            top.count(Counted {
                pid,
                kib: u64::from(pid * 37 % 101),
            });
        }
        let kept: Vec<_> = top.0.iter().map(|counted| counted.kib).collect();
        let expected: Vec<u64> = (77..=100).rev().collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn a_path_is_put_together() {
        let mut path = PidPath::default();
        assert_eq!(path.of(u32::MAX, b"status").unwrap(), c"4294967295/status");
        assert_eq!(path.of(1, b"stat").unwrap(), c"1/stat");
    }
}
