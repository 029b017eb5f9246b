//! Reads a beat: the host's files, then those of its largest processes, through descriptors and into bytes that were there before.

use crate::beat::{Beat, Moment, Source};
use crate::census::{Census, LARGEST, PidPath};
use plimsoll_proc::kernel_text;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::ffi::CString;

/// What is kept of the host, as paths below `/`. A recording lists them, so the list may change.
pub const HOST_FILES: [&str; 21] = [
    "proc/meminfo",
    "proc/vmstat",
    "proc/zoneinfo",
    "proc/buddyinfo",
    "proc/slabinfo",
    "proc/pressure/memory",
    "proc/pressure/io",
    "proc/pressure/cpu",
    "proc/swaps",
    "proc/loadavg",
    "proc/net/sockstat",
    "proc/sys/fs/dentry-state",
    "proc/sys/vm/overcommit_memory",
    "proc/sys/vm/overcommit_ratio",
    "proc/sys/vm/overcommit_kbytes",
    "proc/sys/vm/min_free_kbytes",
    "proc/sys/vm/admin_reserve_kbytes",
    "proc/sys/vm/user_reserve_kbytes",
    "proc/sys/vm/swappiness",
    "proc/sysvipc/shm",
    "proc/self/mountinfo",
];

/// A file may grow to this many times what it was at first: caches and zones come, lines get longer.
const GROWTH: usize = 2;

/// And each may grow by this much in any case; a process's file holds less.
const SPARE_BYTES: usize = 4 << 10;

/// Reads beats.
#[derive(Debug)]
pub struct Sampler {
    files: [Option<OwnedFd>; HOST_FILES.len()],
    census: Census,
    buffer: Vec<u8>,
    beat: Beat,
}

impl Sampler {
    /// Opens what stays open, and reads all once to know how much room it takes.
    ///
    /// # Errors
    /// When there is no `/proc` to list; any single file may be missing, or be denied.
    pub fn open() -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, c"/proc", flags, Mode::empty())?;
        let files = HOST_FILES.map(|path| {
            let path = CString::new(format!("/{path}")).ok()?;
            kernel_text::open(None, &path).ok()
        });
        let lengths = files.iter().flatten().map(length);
        let (longest, all) = lengths.fold((0, 0), |(longest, all), length| {
            (longest.max(length), all + length)
        });
        let room = |length: usize| length.saturating_mul(GROWTH).saturating_add(SPARE_BYTES);
        let processes = LARGEST * 2;
        Ok(Self {
            files,
            census: Census::new(directory),
            buffer: vec![0; room(longest)],
            beat: Beat::with_room(
                room(all).saturating_add(processes * SPARE_BYTES),
                HOST_FILES.len() + processes,
            ),
        })
    }

    /// Which of [`HOST_FILES`] could not be opened.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        let paths = self.files.iter().zip(HOST_FILES);
        paths
            .filter(|(file, _)| file.is_none())
            .map(|(_, path)| path)
    }

    /// Reads the beat of now.
    pub fn beat(&mut self) -> &Beat {
        self.beat.begin(now());
        for (place, file) in (0..).zip(&self.files) {
            if let Some(text) = file
                .as_ref()
                .and_then(|file| kernel_text::read(file, &mut self.buffer))
            {
                self.beat.add(Source::Host(place), text);
            }
        }
        self.census.go_on(&mut self.buffer);
        for pid in self.census.largest() {
            self.process(pid);
        }
        &self.beat
    }

    fn process(&mut self, pid: u32) {
        for (name, source) in [
            (&b"stat"[..], Source::Stat(pid)),
            (b"status", Source::Status(pid)),
        ] {
            let mut path = PidPath::default();
            let file = path
                .of(pid, name)
                .map(|path| kernel_text::open(Some(self.census.directory()), path));
            // One that has ended meanwhile is not there any more.
            if let Some(Ok(file)) = file
                && let Some(text) = kernel_text::read(file, &mut self.buffer)
            {
                self.beat.add(source, text);
            }
        }
    }
}

/// The most that is tried for one file.
const LONGEST_BYTES: usize = 64 << 20;

/// How long a file is now; 0 where it can't be read.
fn length(file: &OwnedFd) -> usize {
    let sizes = std::iter::successors(Some(16 << 10), |size| Some(size * 2));
    let mut tries = sizes.take_while(|size| *size <= LONGEST_BYTES);
    let found = tries.find_map(|size| kernel_text::read(file, &mut vec![0; size]).map(<[u8]>::len));
    found.unwrap_or(0)
}

fn now() -> Moment {
    let ns = |time: Timespec| {
        time.tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(time.tv_nsec)
    };
    Moment {
        realtime_ns: ns(clock_gettime(ClockId::Realtime)),
        boottime_ns: ns(clock_gettime(ClockId::Boottime)),
    }
}
