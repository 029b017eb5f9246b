//! `/proc/PID/stat`: one line of numbers (`proc_pid_stat(5)`).
//!
//! The second field is the name in parentheses, raw: it may hold blanks, newlines and parentheses, so the
//! numbers begin behind the *last* closing one.

use super::Malformed;
use crate::text;
use plimsoll_units::Pages;

/// What this project asks of the line; [`field`] gives any other by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Process id, as seen from the reader's pid namespace.
    pub pid: u32,
    /// The name, at most 15 bytes for a program, more for kernel workers.
    pub comm: Vec<u8>,
    /// `R`, `S`, `D`, `T` (stopped), `t` (traced), `Z`, `X`, `I`.
    pub state: u8,
    /// Parent; 0 for none.
    pub ppid: u32,
    /// Process group.
    pub pgrp: u32,
    /// Session.
    pub session: u32,
    /// Device number of the controlling terminal, or 0.
    pub tty_nr: i32,
    /// The kernel's `PF_*` flags; 0x0020_0000 is a kernel thread.
    pub flags: u64,
    /// User time in clock ticks.
    pub utime: u64,
    /// System time in clock ticks.
    pub stime: u64,
    /// Threads.
    pub num_threads: u64,
    /// Start, in clock ticks since boot: with the pid it names a process for ever.
    pub starttime: u64,
    /// Size of the address space.
    pub vsize_bytes: u64,
    /// Resident, inexact; `status` has it better.
    pub rss: Pages,
}

const PF_KTHREAD: u64 = 0x0020_0000;

impl Stat {
    /// Reads the line.
    ///
    /// # Errors
    /// When it is no such line.
    pub fn parse(line: &[u8]) -> Result<Self, Malformed> {
        Self::read(line).ok_or_else(|| Malformed::new("stat", line))
    }

    fn read(line: &[u8]) -> Option<Self> {
        let open = memchr::memchr(b'(', line)?;
        let close = memchr::memrchr(b')', line)?;
        let number = |n| text::number(field(line, n)?);
        let id = |n| u32::try_from(number(n)?).ok();
        // -1 where there is none, and 0 for what lies outside the reader's pid namespace.
        let signed = |n| {
            std::str::from_utf8(field(line, n)?)
                .ok()?
                .parse::<i64>()
                .ok()
        };
        let or_none = |n| Some(u32::try_from(signed(n)?).unwrap_or(0));
        Some(Self {
            pid: u32::try_from(text::number(line.get(..open)?.trim_ascii())?).ok()?,
            comm: line.get(open.checked_add(1)?..close)?.to_vec(),
            state: *field(line, 3)?.first()?,
            ppid: id(4)?,
            pgrp: or_none(5)?,
            session: or_none(6)?,
            tty_nr: i32::try_from(signed(7)?).ok()?,
            flags: number(9)?,
            utime: number(14)?,
            stime: number(15)?,
            num_threads: number(20)?,
            starttime: number(22)?,
            vsize_bytes: number(23)?,
            rss: Pages(u64::try_from(signed(24)?).unwrap_or(0)),
        })
    }

    /// Whether it is a kernel thread.
    #[must_use]
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }
}

/// The field with the number that `proc_pid_stat(5)` gives it, from 3 (`state`) on.
#[must_use]
pub fn field(line: &[u8], number: usize) -> Option<&[u8]> {
    let close = memchr::memrchr(b')', line)?;
    let behind = line.get(close.checked_add(1)?..)?.trim_ascii_end();
    text::words(behind).nth(number.checked_sub(3)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAIL: &str =
        " S 1 2 -1 34816 -1 4194304 131 0 1 0 7 8 0 0 20 0 3 0 98900 2990080 404 184467";

    #[test]
    fn a_name_may_hold_anything() {
        for comm in ["sleep", "a) S 1", "((", "x\n1 (y) R 0", "", " "] {
            let stat = Stat::parse(format!("42 ({comm}){TAIL}\n").as_bytes()).unwrap();
            assert_eq!(stat.comm, comm.as_bytes());
            assert_eq!(
                (stat.pid, stat.state, stat.ppid, stat.session),
                (42, b'S', 1, 0)
            );
            assert_eq!(
                (stat.tty_nr, stat.starttime, stat.rss),
                (34816, 98900, Pages(404))
            );
            assert!(!stat.is_kernel_thread());
        }
    }

    #[test]
    fn the_live_line_agrees_with_getpid() {
        let stat = Stat::parse(&crate::Root::live().read("proc/self/stat").unwrap()).unwrap();
        assert_eq!(stat.pid, std::process::id());
    }

    #[test]
    fn a_small_process() {
        let stat = Stat::parse(include_bytes!("../../fixtures/stat-6.18-sleep.txt")).unwrap();
        assert_eq!((stat.comm.as_slice(), stat.num_threads), (&b"sleep"[..], 1));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        for text in [
            &b""[..],
            b"1",
            b"1 (a",
            b"1 (a)",
            b"1 (a) S 1 2",
            b"x (a) S 1",
        ] {
            assert!(Stat::parse(text).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Stat::parse(&bytes);
        }
    }
}
