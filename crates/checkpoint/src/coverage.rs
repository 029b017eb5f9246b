//! What is covered and what is refused, resource by resource. Refusals are made of these rows, and the manual's tables are
//! printed from them: none can say what the other does not.

use crate::obstacle::Obstacle;
use std::fmt::Display;

/// A resource of a process tree.
#[derive(Debug)]
pub struct Resource {
    /// Its name.
    pub name: &'static str,
    /// What is taken along.
    pub taken: &'static str,
    /// What CRIU 4.2 does otherwise.
    pub criu: &'static str,
    /// What stands in the way.
    pub refusals: &'static [&'static Refusal],
}

/// Something that stands in the way of a checkpoint.
#[derive(Debug)]
pub struct Refusal {
    /// What is said of it; braces stand for what only the case at hand tells.
    pub what: &'static str,
    /// What can be done about it.
    pub remedy: &'static str,
    /// When it is known.
    pub seen: Seen,
}

/// When something that stands in the way is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// While the tree runs: `plimsoll check --checkpoint` tells.
    Running,
    /// When the tree stands still; it runs on then.
    Standing,
}

impl Refusal {
    /// The obstacle that it is in a case: what takes the places of the braces, in order.
    pub(crate) fn of(&self, pid: impl Into<Option<u32>>, told: &[&dyn Display]) -> Obstacle {
        let mut pieces = self.what.split("{}");
        let mut what = pieces.next().unwrap_or_default().to_owned();
        for (i, piece) in pieces.enumerate() {
            if let Some(told) = told.get(i) {
                what += &told.to_string();
            }
            what += piece;
        }
        Obstacle {
            pid: pid.into(),
            what,
            remedy: self.remedy.into(),
            is_privilege: false,
        }
    }
}

const fn running(what: &'static str, remedy: &'static str) -> Refusal {
    let seen = Seen::Running;
    Refusal { what, remedy, seen }
}

const fn standing(what: &'static str, remedy: &'static str) -> Refusal {
    let seen = Seen::Standing;
    Refusal { what, remedy, seen }
}

const WITH_CRIU: &str = "none yet: checkpoint it with CRIU";
const CLOSE: &str = "close it first";
const SHOW_ELSEWHERE: &str =
    "allow it to find another terminal by --shell-job, or checkpoint what is behind it, too";

pub(crate) const TRACED: Refusal = running("it is traced", "end the debugger or tracer first");
pub(crate) const SHADOW_STACKS: Refusal = running(
    "it has shadow stacks",
    "run it with GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK",
);
pub(crate) const NAMESPACE: Refusal =
    running("it has another {} namespace than this command", WITH_CRIU);
pub(crate) const MAPPING: Refusal = running("it maps {} at {}", "none yet");
pub(crate) const OTHER_FILE: Refusal = running(
    "descriptor {} is {}",
    "close it first, or checkpoint it with CRIU",
);
pub(crate) const SHARED: Refusal = standing("it shares {} with another process", WITH_CRIU);
pub(crate) const SUPERVISOR: Refusal = standing(
    "a supervisor answers some of its system calls (SECCOMP_RET_USER_NOTIF)",
    "run it without the supervisor",
);
pub(crate) const LOCKS: Refusal = running(
    "it holds file locks",
    "allow them to be taken along by --file-locks",
);
pub(crate) const LARGE_UNLINKED: Refusal = running(
    "{} is unlinked and holds more than {} bytes",
    "allow more by --ghost-limit",
);
pub(crate) const OTHER_NAME: Refusal = running(
    "{} is open and its name is gone, but another name keeps it",
    "allow a new name beside it by --link-remap",
);
pub(crate) const PACKETS: Refusal = standing(
    "descriptor {} is a pipe that holds packets, whose borders can't be seen",
    "none yet: try again when it is empty",
);
pub(crate) const EPOLL: Refusal = running(
    "descriptor {} is an epoll that watches a file which the process has not open",
    CLOSE,
);
pub(crate) const FILE_SYSTEM: Refusal = running(
    "descriptor {} watches a whole file system",
    "watch its mounts instead",
);
pub(crate) const NO_HANDLES: Refusal = running(
    "descriptor {} watches a file on a file system that gives no handles",
    CLOSE,
);
pub(crate) const UNIX_IN_BETWEEN: Refusal = running(
    "descriptor {} is a socket {}",
    "let it be accepted or closed first",
);
pub(crate) const UNIX_OUTSIDE: Refusal = running(
    "descriptor {} is a socket connected with one outside of the tree",
    "close it first, or checkpoint the other end with it",
);
pub(crate) const TERMINAL_NUMBER: Refusal = running(
    "descriptor {} is the terminal {}",
    "use terminals of smaller numbers",
);
pub(crate) const TERMINAL_TWICE: Refusal = running(
    "terminal {} was hung up, and another has its number now",
    "close one of them",
);
pub(crate) const TERMINAL_OUTSIDE: Refusal = running(
    "descriptor {} is a terminal that others show",
    SHOW_ELSEWHERE,
);
pub(crate) const CONTROLLED_OUTSIDE: Refusal =
    running("others show its controlling terminal", SHOW_ELSEWHERE);
pub(crate) const TCP_OUTSIDE: Refusal = running(
    "descriptor {} is a TCP connection with one outside of the tree",
    "allow it by --tcp-established, or close it by --tcp-close",
);
pub(crate) const TCP_UNLOCKED: Refusal = standing(
    "descriptor {} is a TCP connection with one outside of the tree, and nftables can't keep its packets away: {}",
    "do without by --network-lock skip: the peer may give up",
);
pub(crate) const TCP_IN_BETWEEN: Refusal = running("descriptor {} is a TCP socket {}", CLOSE);
pub(crate) const IP_BUSY: Refusal = running(
    "descriptor {} is a socket {}",
    "wait until it is done with that",
);
pub(crate) const NETLINK_WAITS: Refusal = running(
    "messages wait in descriptor {}, a netlink socket",
    "wait until they are read",
);
pub(crate) const SEGMENT_PART: Refusal = standing(
    "it has a part of System V segment {} attached",
    "attach it whole",
);
pub(crate) const SEGMENT_OUTSIDE: Refusal = standing(
    "others have System V segment {} attached, too",
    "checkpoint them with it",
);

pub(crate) const SEMAPHORE_UNDO: Refusal = standing(
    "it was the last on System V semaphores {}, which may be set back when it ends (SEM_UNDO)",
    "let it give them back and another process take them, or remove them",
);
pub(crate) const POSIX_QUEUES: Refusal = standing(
    "its own IPC namespace has POSIX message queues",
    "remove them first (mq_unlink)",
);
pub(crate) const POSIX_QUEUE: Refusal = running(
    "descriptor {} is a POSIX message queue, which can only be read by taking what is in it",
    CLOSE,
);
pub(crate) const IPC_NAMESPACES: Refusal = running(
    "it has another IPC namespace than the root of its tree",
    WITH_CRIU,
);

/// What a mapping may be that [`MAPPING`] is said of.
pub(crate) mod mapped {
    pub(crate) const DEVICE: &str = "memory of a device";
    pub(crate) const ARMED: &str = "memory that it answers the page faults of";
    pub(crate) const SHADOW_STACK: &str = "a shadow stack";
    pub(crate) const SEALED: &str = "sealed memory";
    pub(crate) const HUGE_SEGMENT: &str = "a System V segment of huge pages";
    pub(crate) const SECRET: &str = "secret memory";
    pub(crate) const RING: &str = "a ring that it shares with the kernel";
    pub(super) const ALL: [&str; 7] = [
        DEVICE,
        ARMED,
        SHADOW_STACK,
        SEALED,
        HUGE_SEGMENT,
        SECRET,
        RING,
    ];
}

/// Beginnings of what `/proc/PID/fd/N` leads to that [`OTHER_FILE`] is said of, each with a word for it.
pub(crate) const OTHER_FILES: &[(&[u8], &str)] = &[
    (b"anon_inode:[io_uring]", "an io_uring"),
    (b"anon_inode:[userfaultfd]", "a userfaultfd"),
    (b"anon_inode:[perf_event]", "a perf event"),
    (b"anon_inode:bpf", "a BPF object"),
    (b"anon_inode:kvm", "a virtual machine"),
    (b"/secretmem", "secret memory"),
    (b"/dev/nvidia", "a GPU"),
    (b"/dev/dri/", "a GPU"),
    (b"/dev/kfd", "a GPU"),
    (b"/dev/infiniband/", "an RDMA device"),
    (b"/dev/net/tun", "a TUN device"),
];

const SAME: &str = "the same";

/// All resources.
pub const RESOURCES: &[Resource] = &[
    Resource {
        name: "memory",
        taken: "private and shared mappings, files mapped either way, memfds, huge pages of either kind, locked memory, guard pages (`MADV_GUARD_INSTALL`), advice given by `madvise`; rings of `io_setup` with the events in them (a request that is under way is lost); droppable memory (`MAP_DROPPABLE`) without what is in it",
        criu: SAME,
        refusals: &[&MAPPING],
    },
    Resource {
        name: "threads",
        taken: "all registers that CRIU's images hold, TLS, rseq, robust lists, scheduling, names",
        criu: "shadow stacks, too",
        refusals: &[&TRACED, &SHADOW_STACKS],
    },
    Resource {
        name: "signals",
        taken: "actions, masks, alternate stacks, queues, stopped processes",
        criu: SAME,
        refusals: &[],
    },
    Resource {
        name: "timers",
        taken: "interval timers, POSIX timers with their ids, timerfd",
        criu: SAME,
        refusals: &[],
    },
    Resource {
        name: "files",
        taken: "positions, flags, owners of signals, unlinked files with their holes, symbolic links, directories, the tree's namespaces, working directory, root, locks and leases",
        criu: "whose lease was being broken is told again",
        refusals: &[&OTHER_FILE, &LOCKS, &LARGE_UNLINKED, &OTHER_NAME],
    },
    Resource {
        name: "pipes, FIFOs",
        taken: "with what waits in them",
        criu: SAME,
        refusals: &[&PACKETS],
    },
    Resource {
        name: "trees",
        taken: "parents, sessions, groups, zombies, subreapers, descriptor tables and working directories shared between processes",
        criu: SAME,
        refusals: &[&SHARED],
    },
    Resource {
        name: "events",
        taken: "eventfd, epoll, signalfd, pidfd; inotify and fanotify with the numbers of their watches",
        criu: "BPF maps, too",
        refusals: &[&EPOLL, &FILE_SYSTEM, &NO_HANDLES],
    },
    Resource {
        name: "UNIX sockets",
        taken: "pairs, listeners, names, also those whose file is gone, queues with open files in flight",
        criu: SAME,
        refusals: &[&UNIX_IN_BETWEEN, &UNIX_OUTSIDE],
    },
    Resource {
        name: "terminals",
        taken: "pseudoterminals with settings, size, packet mode and what waits in them, sessions and groups in control, `/dev/tty`, consoles",
        criu: SAME,
        refusals: &[
            &TERMINAL_OUTSIDE,
            &CONTROLLED_OUTSIDE,
            &TERMINAL_NUMBER,
            &TERMINAL_TWICE,
        ],
    },
    Resource {
        name: "TCP",
        taken: "listeners, connections with their queues, windows and options, ends that are closed, both ends in the tree or (`--tcp-established`) one of them elsewhere; `--tcp-close` brings them back closed",
        criu: "refuses every connection without its `--tcp-established`; a listener's port has to be out of `TIME-WAIT`",
        refusals: &[&TCP_OUTSIDE, &TCP_UNLOCKED, &TCP_IN_BETWEEN, &IP_BUSY],
    },
    Resource {
        name: "UDP, ICMP, raw",
        taken: "names, peers, what is shut down, options, socket filters; datagrams that wait in a UDP socket, with who sent them",
        criu: "drops what waits",
        refusals: &[&IP_BUSY],
    },
    Resource {
        name: "netlink sockets",
        taken: "ports, groups, peers, options",
        criu: SAME,
        refusals: &[&NETLINK_WAITS],
    },
    Resource {
        name: "packet sockets",
        taken: "interfaces, memberships, rings, mapped or not, without the packets in them, fan-out, options",
        criu: SAME,
        refusals: &[&MAPPING],
    },
    Resource {
        name: "System V IPC",
        taken: "of an IPC namespace of the tree's own: shared memory, attached or not, semaphores with their values, message queues with their messages, limits; all with numbers, keys, owners and creators. Of this command's own IPC namespace: shared memory that is attached; semaphores and message queues stay where they are",
        criu: "only in an IPC namespace of the tree's own; what a process has to undo on semaphores is lost",
        refusals: &[
            &SEGMENT_PART,
            &SEGMENT_OUTSIDE,
            &SEMAPHORE_UNDO,
            &IPC_NAMESPACES,
        ],
    },
    Resource {
        name: "POSIX message queues",
        taken: "nothing",
        criu: SAME,
        refusals: &[&POSIX_QUEUE, &POSIX_QUEUES],
    },
    Resource {
        name: "credentials",
        taken: "users, groups, capabilities, limits, `no_new_privs`, secure bits, the login user, seccomp filters",
        criu: "needs CAP_SYS_RESOURCE",
        refusals: &[&SUPERVISOR],
    },
    Resource {
        name: "control groups",
        taken: "which thread is in which, of v1 and v2, where not all are in this command's; how those groups are set up, with all below them, but for the state of the freezer; a cgroup namespace. `restore` enters the groups that are there, the `criu` door makes and sets up what its `--manage-cgroups` says",
        criu: "the state of the freezer, too",
        refusals: &[],
    },
    Resource {
        name: "other namespaces",
        taken: "nothing: the tree is in those of this command, and restored into those of the restorer; images that CRIU made of a tree with others are refused before anything is made",
        criu: "all kinds",
        refusals: &[&NAMESPACE],
    },
];

/// The manual's tables, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = "| resource | taken along | CRIU 4.2 |\n| --- | --- | --- |\n".to_owned();
    for resource in RESOURCES {
        text += &format!(
            "| {} | {} | {} |\n",
            resource.name, resource.taken, resource.criu
        );
    }
    text += "\nWhat is refused, as it is said; \\* is known only when the tree stands still, and it runs on then:\n\n";
    text += "| resource | what stands in the way | remedy |\n| --- | --- | --- |\n";
    for resource in RESOURCES {
        for refusal in resource.refusals {
            let star = if refusal.seen == Seen::Standing {
                " \\*"
            } else {
                ""
            };
            let [what, remedy] = [refusal.what, refusal.remedy].map(|text| text.replace("{}", "…"));
            text += &format!("| {} | {what}{star} | {remedy} |\n", resource.name);
        }
    }
    let mut files: Vec<&str> = OTHER_FILES.iter().map(|(_, word)| *word).collect();
    files.dedup();
    text += &format!(
        "\nA descriptor that is refused may be, among others: {}. A mapping: {}.\n",
        files.join(", "),
        mapped::ALL.join(", ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_filled_in_order() {
        let obstacle = MAPPING.of(7, &[&"a ring", &"0x10"]);
        assert_eq!(obstacle.what, "it maps a ring at 0x10");
        assert_eq!(
            (obstacle.pid, obstacle.remedy.as_str()),
            (Some(7), "none yet")
        );
    }

    #[test]
    fn the_manual_has_these_tables() {
        let manual = include_str!("../../../docs/manual/checkpoint.md");
        let tables = markdown();
        assert!(manual.contains(&tables), "the manual wants:\n\n{tables}");
    }
}
