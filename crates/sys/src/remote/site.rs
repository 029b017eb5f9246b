//! Where in a process the instructions lie that remote calls borrow.
//!
//! Wanted are three snippets, in any executable mapping: `syscall`; `syscall; ret`; and the signal restorer,
//! `mov $15, %rax; syscall`, which every C library (and Go's runtime) brings because the kernel demands it of
//! whoever installs a signal handler. The vdso has the first, libc and the dynamic loader have all.

use super::Error;
use crate::Span;
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A system call: its number, as in `libc::SYS_*`, and its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syscall {
    /// The number.
    pub number: u64,
    /// The arguments; those that it does not take are ignored.
    pub args: [u64; 6],
}

impl Syscall {
    /// A call with `N` arguments.
    #[must_use]
    pub fn new<const N: usize>(number: libc::c_long, args: [u64; N]) -> Self {
        let mut args = args.into_iter();
        Self {
            number: number.unsigned_abs(),
            args: std::array::from_fn(|_| args.next().unwrap_or(0)),
        }
    }
}

/// The borrowed instructions of one address space; valid as long as their mappings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// A `syscall` instruction.
    pub(super) syscall: u64,
    /// The way home for a thread that loses us in the middle.
    pub(super) way_home: Option<WayHome>,
}

/// `syscall; ret` and the signal restorer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WayHome {
    pub(super) syscall_ret: u64,
    pub(super) restorer: u64,
}

const SYSCALL: &[u8] = &[0x0f, 0x05];
const SYSCALL_RET: &[u8] = &[0x0f, 0x05, 0xc3];
/// `mov $15, %rax` (glibc, musl, Go) or `mov $15, %eax`, then `syscall`.
const RESTORERS: [&[u8]; 2] = [
    &[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05],
    &[0xb8, 15, 0, 0, 0, 0x0f, 0x05],
];

/// Bytes looked at together, with this much overlap so that no snippet is cut.
const CHUNK: usize = 64 << 10;
const OVERLAP: u64 = 16;

impl Site {
    /// Looks through the `executable` mappings of a process, in the order given, until all is found.
    ///
    /// Give only mappings whose pages reading can bring in: file mappings and the vdso.
    ///
    /// # Errors
    /// [`Error::NoSyscallInstruction`]; [`Error::Memory`] when its memory can't be opened.
    pub fn find(pid: Pid, executable: impl IntoIterator<Item = Span>) -> Result<Self, Error> {
        let memory = File::open(format!("/proc/{}/mem", pid.as_raw_pid())).map_err(|error| {
            Error::Memory {
                operation: "open memory",
                tid: pid,
                address: 0,
                errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
            }
        })?;
        let mut found = Found::default();
        let mut bytes = vec![0; CHUNK];
        'mappings: for span in executable {
            let mut at = span.start;
            while at < span.end {
                let wanted = usize::try_from(span.end - at).unwrap_or(CHUNK).min(CHUNK);
                let buffer = bytes.get_mut(..wanted).unwrap_or_default();
                let Ok(length @ 1..) = memory.read_at(buffer, at) else {
                    break; // a page that can't be read: the next mapping may do
                };
                found.look(at, buffer.get(..length).unwrap_or_default());
                if found.complete() {
                    break 'mappings;
                }
                let next = at.saturating_add(length as u64);
                at = if next < span.end {
                    next.saturating_sub(OVERLAP).max(at + 1)
                } else {
                    next
                };
            }
        }
        found.site().ok_or(Error::NoSyscallInstruction { pid })
    }

    /// The same instructions after the mapping that all of them lie in was moved (`mremap(2)`).
    #[must_use]
    pub fn moved(self, from: u64, to: u64) -> Self {
        let there = |address: u64| to.wrapping_add(address.wrapping_sub(from));
        Self {
            syscall: there(self.syscall),
            way_home: self.way_home.map(|way_home| WayHome {
                syscall_ret: there(way_home.syscall_ret),
                restorer: there(way_home.restorer),
            }),
        }
    }

    /// Address of a `syscall` instruction, for a thread that is not to come back from its call.
    #[must_use]
    pub fn syscall(&self) -> u64 {
        self.syscall
    }

    /// Whether calls made here can survive us.
    #[must_use]
    pub fn has_way_home(&self) -> bool {
        self.way_home.is_some()
    }

    /// The same, for a process that can't `ret` to where nobody called from: one with shadow stacks.
    #[must_use]
    pub fn without_way_home(self) -> Self {
        Self {
            way_home: None,
            ..self
        }
    }
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    syscall: Option<u64>,
    syscall_ret: Option<u64>,
    restorer: Option<u64>,
}

impl Found {
    fn look(&mut self, base: u64, bytes: &[u8]) {
        let find = |snippet: &[u8]| {
            let at = memchr::memmem::find(bytes, snippet)?;
            base.checked_add(at as u64)
        };
        self.syscall = self.syscall.or_else(|| find(SYSCALL));
        self.syscall_ret = self.syscall_ret.or_else(|| find(SYSCALL_RET));
        self.restorer = self
            .restorer
            .or_else(|| RESTORERS.into_iter().find_map(find));
    }

    fn complete(&self) -> bool {
        self.syscall_ret.is_some() && self.restorer.is_some()
    }

    fn site(&self) -> Option<Site> {
        let way_home = self.syscall_ret.zip(self.restorer);
        Some(Site {
            syscall: self.syscall?,
            way_home: way_home.map(|(syscall_ret, restorer)| WayHome {
                syscall_ret,
                restorer,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_are_found_where_they_lie() {
        let mut found = Found::default();
        found.look(0x1000, b"\x90\x0f\x05\x48\x90");
        assert_eq!((found.syscall, found.complete()), (Some(0x1001), false));
        found.look(0x2000, b"\xb8\x0f\0\0\0\x0f\x05\x0f\x05\xc3");
        assert_eq!(
            (found.restorer, found.syscall_ret),
            (Some(0x2000), Some(0x2007))
        );
        assert_eq!(found.site().unwrap().syscall, 0x1001);
    }

    #[test]
    fn this_very_program_has_them_all() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let executable = maps
            .lines()
            .filter(|line| line.contains("r-xp"))
            .filter_map(|line| {
                let (start, end) = line.split_once(' ')?.0.split_once('-')?;
                let address = |text| u64::from_str_radix(text, 16).ok();
                Some(Span {
                    start: address(start)?,
                    end: address(end)?,
                })
            });
        let site = Site::find(rustix::process::getpid(), executable).unwrap();
        assert!(site.way_home.is_some());
    }
}
