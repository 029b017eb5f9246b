//! The 22 parameters of user beancounters (`ub.h` of vzctl), in the wiki's order.

use serde::{Serialize, Serializer};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "named as in the files; TABLE says what each means"
)]
pub enum Parameter {
    Numproc,
    Numtcpsock,
    Numothersock,
    Vmguarpages,
    Kmemsize,
    Tcpsndbuf,
    Tcprcvbuf,
    Othersockbuf,
    Dgramrcvbuf,
    Oomguarpages,
    Privvmpages,
    Lockedpages,
    Shmpages,
    Zshmpages,
    Physpages,
    Swappages,
    Numfile,
    Numflock,
    Numpty,
    Numsiginfo,
    Dcachesize,
    Numiptent,
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Items,
    /// Bytes.
    Bytes,
    /// Pages of the host that the value is from.
    Pages,
}

/// How much of it there is today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// The same thing.
    Equivalent,
    /// A part of it, or something near it.
    Partial,
    /// Nothing.
    None,
}

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    /// Which.
    pub parameter: Parameter,
    /// Its name in `/proc/user_beancounters`; in configurations it is in capitals.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// How much of it there is today.
    pub support: Support,
    /// What it meant, and what there is.
    pub means: &'static str,
}

/// All of them.
#[rustfmt::skip]
pub const TABLE: [Described; 22] = {
    use Parameter as P;
    use Support::{Equivalent, None, Partial};
    use Unit::{Bytes, Items, Pages};
    const fn row(parameter: Parameter, name: &'static str, unit: Unit, support: Support, means: &'static str) -> Described {
        Described { parameter, name, unit, support, means }
    }
    [
        row(P::Numproc, "numproc", Items, Equivalent, "processes and threads: pids.max"),
        row(P::Numtcpsock, "numtcpsock", Items, None, "TCP sockets are not counted by group; their buffers are part of RAM"),
        row(P::Numothersock, "numothersock", Items, None, "other sockets are not counted by group; their buffers are part of RAM"),
        row(P::Vmguarpages, "vmguarpages", Pages, Partial, "allocations below it never failed; memory.low keeps so much from being reclaimed"),
        row(P::Kmemsize, "kmemsize", Bytes, Partial, "kernel memory is part of RAM, with no limit of its own"),
        row(P::Tcpsndbuf, "tcpsndbuf", Bytes, Partial, "TCP send buffers are part of RAM, with no limit of their own"),
        row(P::Tcprcvbuf, "tcprcvbuf", Bytes, Partial, "TCP receive buffers are part of RAM, with no limit of their own"),
        row(P::Othersockbuf, "othersockbuf", Bytes, Partial, "buffers of UNIX sockets are part of RAM, with no limit of their own"),
        row(P::Dgramrcvbuf, "dgramrcvbuf", Bytes, Partial, "buffers of datagrams are part of RAM, with no limit of their own"),
        row(P::Oomguarpages, "oomguarpages", Pages, Partial, "nobody was killed below it; memory.low keeps so much from being reclaimed"),
        row(P::Privvmpages, "privvmpages", Pages, None, "private address space, used or not: nothing limits that by group, RAM and swap limit what is used"),
        row(P::Lockedpages, "lockedpages", Pages, Partial, "locked memory of all: RLIMIT_MEMLOCK limits each process"),
        row(P::Shmpages, "shmpages", Pages, Partial, "shared memory is part of RAM; a tmpfs has its size=, an ipc namespace its kernel.shmall"),
        row(P::Zshmpages, "zshmpages", Pages, None, "a dummy: it never limited anything"),
        row(P::Physpages, "physpages", Pages, Equivalent, "RAM with page cache and kernel memory: the first number"),
        row(P::Swappages, "swappages", Pages, Equivalent, "swap: the second number, beside RAM"),
        row(P::Numfile, "numfile", Items, Partial, "open files of all: RLIMIT_NOFILE limits each process"),
        row(P::Numflock, "numflock", Items, None, "file locks are not counted by group"),
        row(P::Numpty, "numpty", Items, Equivalent, "pseudo-terminals: the max= of the container's devpts"),
        row(P::Numsiginfo, "numsiginfo", Items, Partial, "queued signals: RLIMIT_SIGPENDING limits each user"),
        row(P::Dcachesize, "dcachesize", Bytes, Partial, "dentries and inodes are part of RAM, and reclaimed first"),
        row(P::Numiptent, "numiptent", Items, None, "firewall rules are not counted by group; nftables charges their memory to RAM"),
    ]
};

impl Parameter {
    /// What the table says of it.
    #[must_use]
    pub fn described(self) -> &'static Described {
        let found = TABLE.iter().find(|row| row.parameter == self);
        found.expect("a test holds the table to the names")
    }

    /// The one of this name, in either case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name));
        found.map(|row| row.parameter)
    }
}

impl Serialize for Parameter {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.described().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_22_is_there_once_and_in_order() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.parameter as usize, at, "{}", row.name);
            assert_eq!(
                Parameter::named(&row.name.to_uppercase()),
                Some(row.parameter)
            );
            let words = format!("{:?}", row.parameter).to_lowercase();
            assert_eq!(words, row.name);
        }
        assert_eq!(Parameter::named("dummy"), None);
    }
}
