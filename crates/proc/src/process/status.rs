//! `/proc/PID/status`: what the cheap tier stands on. The only place with exact per-kind resident sizes
//! that costs no walk of page tables (`proc_pid_status(5)`, `fs/proc/array.c`).

use super::Malformed;
use super::smaps::kilobytes;
use crate::text;
use plimsoll_units::Bytes;
use rustix::thread::CapabilitySet;

/// Real, effective, saved and file-system id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ids {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
    /// File system.
    pub fs: u32,
}

/// The address space of a process; a kernel thread or a zombie has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vm {
    /// `VmPeak`: largest size so far.
    pub peak: Bytes,
    /// `VmSize`: size of all mappings.
    pub size: Bytes,
    /// `VmLck`: locked.
    pub locked: Bytes,
    /// `VmPin`: pinned for devices.
    pub pinned: Bytes,
    /// `VmHWM`: largest resident size so far.
    pub high_water: Bytes,
    /// `VmRSS`: the sum of the next three.
    pub rss: Bytes,
    /// `RssAnon` (4.5).
    pub rss_anon: Option<Bytes>,
    /// `RssFile` (4.5).
    pub rss_file: Option<Bytes>,
    /// `RssShmem` (4.5).
    pub rss_shmem: Option<Bytes>,
    /// `VmData`: private writable mappings that are no stack.
    pub data: Bytes,
    /// `VmStk`: the main thread's stack.
    pub stack: Bytes,
    /// `VmExe`: text.
    pub exe: Bytes,
    /// `VmLib`: other executable mappings of files.
    pub lib: Bytes,
    /// `VmPTE`: page tables.
    pub page_tables: Bytes,
    /// `VmSwap`: swapped out, shared memory not counted (`None` without swap support).
    pub swap: Option<Bytes>,
    /// `HugetlbPages` (4.4).
    pub hugetlb: Option<Bytes>,
}

/// The signal sets of the thread that was asked, and its process: bit N-1 is signal N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// `SigPnd`: pending for the thread.
    pub pending: u64,
    /// `ShdPnd`: pending for the process.
    pub shared_pending: u64,
    /// `SigBlk`
    pub blocked: u64,
    /// `SigIgn`
    pub ignored: u64,
    /// `SigCgt`: has a handler.
    pub caught: u64,
}

/// The file, without what nobody here asks for: [`field`] gives any line by its key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// `Name`, its escapes undone.
    pub name: Vec<u8>,
    /// `State`'s letter.
    pub state: u8,
    /// `Tgid`
    pub tgid: u32,
    /// `Pid`: the thread's own.
    pub pid: u32,
    /// `PPid`; 0 for none.
    pub ppid: u32,
    /// `TracerPid`; 0 for none.
    pub tracer_pid: u32,
    /// `Uid`
    pub uid: Ids,
    /// `Gid`
    pub gid: Ids,
    /// `NStgid`: its pids from the reader's pid namespace inwards (4.1); empty where not told.
    pub ns_tgid: Vec<u32>,
    /// `Kthread` (6.8).
    pub kthread: Option<bool>,
    /// Its address space; `None` for a kernel thread, a zombie, a process in exit.
    pub vm: Option<Vm>,
    /// `CoreDumping` (4.15).
    pub core_dumping: Option<bool>,
    /// `Threads`
    pub threads: u32,
    /// Signal sets.
    pub signals: Signals,
    /// `CapEff`: effective capabilities.
    pub cap_effective: u64,
    /// `NoNewPrivs` (4.10).
    pub no_new_privs: Option<bool>,
    /// `Seccomp`: 0 none, 1 strict, 2 filters; `None` without support.
    pub seccomp: Option<u32>,
    /// `Seccomp_filters` (5.9).
    pub seccomp_filters: Option<u32>,
}

impl Status {
    /// Its effective capabilities, in its own user namespace (`capabilities(7)`).
    #[must_use]
    pub const fn capabilities(&self) -> CapabilitySet {
        CapabilitySet::from_bits_retain(self.cap_effective)
    }

    /// Whether all of `wanted` are among them.
    #[must_use]
    pub const fn has(&self, wanted: CapabilitySet) -> bool {
        self.capabilities().contains(wanted)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When the lines that every kernel writes are not there.
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut status = Self::default();
        let mut vm = Vm::default();
        let mut has_vm = false;
        for line in text::lines(text) {
            // As it stands: a name may begin and end with blanks, and be nothing but.
            if let Some(name) = line.strip_prefix(b"Name:\t") {
                status.name = unescape(name);
                continue;
            }
            let Some((key, value)) = text::key_value(line) else {
                continue;
            };
            has_vm |= key == b"VmSize";
            if status.take(key, value).is_none() {
                let _not_ours = vm.take(key, value);
            }
        }
        if status.pid == 0 || status.tgid == 0 || status.state == 0 {
            return Err(Malformed::new("status", text));
        }
        status.vm = has_vm.then_some(vm);
        Ok(status)
    }

    /// Takes one line; `None` when it is not one of these.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"State" => self.state = *value.first()?,
            b"Tgid" => self.tgid = id(value)?,
            b"Pid" => self.pid = id(value)?,
            b"PPid" => self.ppid = id(value)?,
            b"TracerPid" => self.tracer_pid = id(value)?,
            b"Uid" => self.uid = ids(value)?,
            b"Gid" => self.gid = ids(value)?,
            b"NStgid" => self.ns_tgid = text::words(value).filter_map(id).collect(),
            b"Kthread" => self.kthread = Some(id(value)? != 0),
            b"CoreDumping" => self.core_dumping = Some(id(value)? != 0),
            b"Threads" => self.threads = id(value)?,
            b"SigPnd" => self.signals.pending = text::hex(value)?,
            b"ShdPnd" => self.signals.shared_pending = text::hex(value)?,
            b"SigBlk" => self.signals.blocked = text::hex(value)?,
            b"SigIgn" => self.signals.ignored = text::hex(value)?,
            b"SigCgt" => self.signals.caught = text::hex(value)?,
            b"CapEff" => self.cap_effective = text::hex(value)?,
            b"NoNewPrivs" => self.no_new_privs = Some(id(value)? != 0),
            b"Seccomp" => self.seccomp = Some(id(value)?),
            b"Seccomp_filters" => self.seccomp_filters = Some(id(value)?),
            _ => return None,
        }
        Some(())
    }
}

impl Vm {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let bytes = kilobytes(value)?;
        match key {
            b"VmPeak" => self.peak = bytes,
            b"VmSize" => self.size = bytes,
            b"VmLck" => self.locked = bytes,
            b"VmPin" => self.pinned = bytes,
            b"VmHWM" => self.high_water = bytes,
            b"VmRSS" => self.rss = bytes,
            b"RssAnon" => self.rss_anon = Some(bytes),
            b"RssFile" => self.rss_file = Some(bytes),
            b"RssShmem" => self.rss_shmem = Some(bytes),
            b"VmData" => self.data = bytes,
            b"VmStk" => self.stack = bytes,
            b"VmExe" => self.exe = bytes,
            b"VmLib" => self.lib = bytes,
            b"VmPTE" => self.page_tables = bytes,
            b"VmSwap" => self.swap = Some(bytes),
            b"HugetlbPages" => self.hugetlb = Some(bytes),
            _ => return None,
        }
        Some(())
    }
}

/// The value of any line, by its key.
#[must_use]
pub fn field<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    text::lines(text)
        .filter_map(text::key_value)
        .find_map(|(found, value)| (found == key).then_some(value))
}

fn id(value: &[u8]) -> Option<u32> {
    u32::try_from(text::number(value)?).ok()
}

fn ids(value: &[u8]) -> Option<Ids> {
    let mut ids = text::words(value).map(id);
    Some(Ids {
        real: ids.next()??,
        effective: ids.next()??,
        saved: ids.next()??,
        fs: ids.next()??,
    })
}

/// Undoes what the kernel does to a name here: `\n` and `\\` for newline and backslash.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter().copied();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(other) => other,
                None => b'\\',
            },
            _ => byte,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLEEP: &[u8] = include_bytes!("../../fixtures/status-6.18-sleep.txt");

    #[test]
    fn a_small_process() {
        let status = Status::parse(SLEEP).unwrap();
        let vm = status.vm.unwrap();
        assert_eq!(
            (status.name.as_slice(), status.state),
            (&b"sleep"[..], b'S')
        );
        assert_eq!(status.kthread, Some(false));
        assert_eq!(status.ns_tgid, [status.tgid]);
        let kinds = [vm.rss_anon, vm.rss_file, vm.rss_shmem].map(Option::unwrap);
        assert_eq!(kinds.into_iter().sum::<Bytes>(), vm.rss);
        assert_eq!(field(SLEEP, b"Cpus_allowed_list"), Some(&b"0-1"[..]));
    }

    #[test]
    fn a_kernel_thread_has_no_memory() {
        let status =
            Status::parse(include_bytes!("../../fixtures/status-6.18-kthread.txt")).unwrap();
        assert_eq!((status.vm, status.kthread), (None, Some(true)));
    }

    #[test]
    fn names_come_back_as_they_were() {
        let text = b"Name:\ta\\nb\\\\c\nState:\tS (sleeping)\nTgid:\t7\nPid:\t7\n";
        assert_eq!(Status::parse(text).unwrap().name, b"a\nb\\c");
        assert!(Status::parse(b"Name:\tx\nPid:\t7\n").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Status::parse(&[b"Pid: 1\nTgid: 1\nState: S\n", bytes.as_slice()].concat());
        }
    }
}
