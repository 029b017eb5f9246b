//! Who a thread is and what it may do: `/proc/PID/task/TID/status` tells all but the secure bits.

use crate::error::Error;
use plimsoll_image::proto::CredsEntry;
use plimsoll_proc::process::status::{Status, field};
use plimsoll_proc::text::{hex, number, words};

/// The credentials that a `status` file shows.
pub(crate) fn parse(text: &[u8], status: &Status, secure_bits: u64) -> CredsEntry {
    let set = |key: &[u8]| {
        let bits = field(text, key).and_then(hex).unwrap_or(0);
        vec![low(bits), low(bits >> 32)]
    };
    let groups = field(text, b"Groups").unwrap_or_default();
    let group = |word| number(word).and_then(|group| u32::try_from(group).ok());
    CredsEntry {
        uid: status.uid.real,
        gid: status.gid.real,
        euid: status.uid.effective,
        egid: status.gid.effective,
        suid: status.uid.saved,
        sgid: status.gid.saved,
        fsuid: status.uid.fs,
        fsgid: status.gid.fs,
        cap_inh: set(b"CapInh"),
        cap_prm: set(b"CapPrm"),
        cap_eff: set(b"CapEff"),
        cap_bnd: set(b"CapBnd"),
        cap_amb: set(b"CapAmb"),
        secbits: low(secure_bits),
        groups: words(groups).filter_map(group).collect(),
        no_new_privs: (status.no_new_privs == Some(true)).then_some(1),
        ..CredsEntry::default()
    }
}

fn low(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0)
}

/// `/proc/PID/limits`, in the images' order (that of `RLIMIT_*`, which is the file's in all but its names).
pub(crate) fn limits(text: &[u8]) -> Result<Vec<plimsoll_image::proto::RlimitEntry>, Error> {
    /// The lines, by resource number (`proc_pid_limits(5)`).
    const NAMES: [&str; 16] = [
        "Max cpu time",
        "Max file size",
        "Max data size",
        "Max stack size",
        "Max core file size",
        "Max resident set",
        "Max processes",
        "Max open files",
        "Max locked memory",
        "Max address space",
        "Max file locks",
        "Max pending signals",
        "Max msgqueue size",
        "Max nice priority",
        "Max realtime priority",
        "Max realtime timeout",
    ];
    let value = |word: &[u8]| match word {
        b"unlimited" => Some(u64::MAX),
        word => number(word),
    };
    let limit = |name: &str| {
        let line =
            plimsoll_proc::text::lines(text).find(|line| line.starts_with(name.as_bytes()))?;
        let mut values = words(line.get(name.len()..)?);
        let (cur, max) = (value(values.next()?)?, value(values.next()?)?);
        Some(plimsoll_image::proto::RlimitEntry { cur, max })
    };
    NAMES
        .iter()
        .map(|name| {
            limit(name)
                .ok_or_else(|| Error::inconsistent(format!("no \"{name}\" in /proc/PID/limits")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_in_order() {
        let text = std::fs::read("/proc/self/limits").unwrap();
        let limits = limits(&text).unwrap();
        let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(Some(limits[7].cur), open_files.current.or(Some(u64::MAX)));
        let stack = rustix::process::getrlimit(rustix::process::Resource::Stack);
        assert_eq!(limits[3].cur, stack.current.unwrap_or(u64::MAX));
    }

    #[test]
    fn our_own_credentials_are_read() {
        let text = std::fs::read("/proc/self/status").unwrap();
        let creds = parse(&text, &Status::parse(&text).unwrap(), 0);
        assert_eq!(creds.euid, rustix::process::geteuid().as_raw());
        assert_eq!(creds.cap_prm.len(), 2);
    }
}
