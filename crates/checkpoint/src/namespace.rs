//! Namespaces by their names: what `/proc/PID/ns` calls them, the number that our images give each, and their flag of
//! `clone(2)`. All processes of a tree have the same, and but for
//! that of IPC they are ours.

/// One kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Namespace {
    pub(crate) name: &'static str,
    pub(crate) id: u32,
    pub(crate) flag: u32,
}

/// Objects of System V, POSIX message queues.
pub(crate) const IPC: Namespace = of("ipc", 3, libc::CLONE_NEWIPC);

/// All kinds.
pub(crate) const ALL: [Namespace; 8] = [
    of("pid", 1, libc::CLONE_NEWPID),
    of("net", 2, libc::CLONE_NEWNET),
    IPC,
    of("uts", 4, libc::CLONE_NEWUTS),
    of("time", 5, 0x80),
    of("mnt", 6, libc::CLONE_NEWNS),
    of("user", 7, libc::CLONE_NEWUSER),
    of("cgroup", 8, libc::CLONE_NEWCGROUP),
];

const fn of(name: &'static str, id: u32, flag: i32) -> Namespace {
    Namespace {
        name,
        id,
        flag: flag.unsigned_abs(),
    }
}

/// The kind that the link of an open file tells of: `net:[4026531840]`.
pub(crate) fn of_link(link: &[u8]) -> Option<Namespace> {
    let name = link.split(|byte| *byte == b':').next()?;
    let after = link.get(name.len()..)?;
    let found = ALL.iter().find(|kind| kind.name.as_bytes() == name)?;
    after.starts_with(b":[").then_some(*found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_tell_the_kind() {
        assert_eq!(of_link(b"net:[4026531840]").map(|kind| kind.id), Some(2));
        assert_eq!(of_link(b"network:[1]"), None);
        assert_eq!(of_link(b"net"), None);
        assert_eq!(of_link(b"pipe:[1]"), None);
    }
}
