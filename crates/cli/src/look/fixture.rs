//! A host made by hand, for the tests of views and of the JSON document.

use plimsoll_ledger::look::{
    Commit, CommitProcess, Detail, Exactness, Group, Host, Look, Owner, Policy, Process, SCHEMA,
    SlabCache, Unowned, Unread, Unreadable, Unseen,
};
use plimsoll_ledger::mappings::Part;
use plimsoll_units::Bytes;

const fn mib(mib: u64) -> Bytes {
    Bytes::from_mib(mib)
}

fn owner(id: &str, name: &str, bytes: Bytes, exactness: Exactness, reclaimable: bool) -> Owner {
    Owner {
        id: id.to_owned(),
        name: name.to_owned(),
        bytes,
        exactness,
        reclaimable,
        detail: Vec::new(),
    }
}

fn host() -> Host {
    let mut pipes = owner(
        "pipe_buffers",
        "pipe buffers",
        mib(245),
        Exactness::Inferred,
        false,
    );
    pipes.detail = vec![Detail {
        name: "python3 (pid 812)".to_owned(),
        bytes: mib(244),
    }];
    Host {
        total_bytes: mib(24 << 10),
        owners: vec![
            owner("free", "free", mib(12_000), Exactness::Exact, true),
            owner("anon", "anonymous", mib(6_144), Exactness::Exact, false),
            owner(
                "page_cache",
                "file cache",
                mib(5_916),
                Exactness::Exact,
                true,
            ),
            pipes,
            owner(
                "slab.nfs_inode_cache",
                "slab nfs_inode_cache",
                mib(200),
                Exactness::Exact,
                true,
            ),
            owner(
                "socket_buffers",
                "socket buffers",
                mib(54),
                Exactness::Unnamed,
                false,
            ),
            owner(
                "bounce",
                "bounce buffers",
                Bytes(0),
                Exactness::Exact,
                false,
            ),
        ],
        unattributed_bytes: 17 << 20,
        slab_caches: vec![
            cache("nfs_inode_cache", mib(200), 150_000, true),
            cache("kmalloc-64", mib(3), 40_000, false),
        ],
    }
}

fn process(pid: u32, ppid: u32, user: &str, command: &str, anon: u64) -> Process {
    Process {
        pid,
        ppid,
        command: command.to_owned(),
        user: user.to_owned(),
        cgroup: format!("/user.slice/{user}"),
        rss_bytes: mib(anon + 10),
        anon_bytes: mib(anon),
        swap_bytes: mib(1),
        pss_bytes: None,
        mapped: Some(vec![Part {
            name: "heap (brk)".to_owned(),
            count: 1,
            size_bytes: mib(anon + 2),
            rss_bytes: mib(anon),
            pss_bytes: mib(anon),
            anon_bytes: mib(anon),
            swap_bytes: mib(1),
        }]),
    }
}

fn cache(name: &str, bytes: Bytes, active_objects: u64, reclaimable: bool) -> SlabCache {
    SlabCache {
        name: name.to_owned(),
        bytes,
        active_objects,
        objects: 200_000,
        object_size_bytes: Bytes(1040),
        reclaimable,
    }
}

/// Something of everything.
pub(super) fn look() -> Look {
    Look {
        schema: SCHEMA,
        host: host(),
        commit: Some(Commit {
            policy: Policy::Heuristic,
            limit_bytes: mib(12 << 10),
            committed_bytes: mib(3_789),
            recomputed_bytes: Some(mib(3_755)),
            unexplained_bytes: Some(34 << 20),
            anon_outside_bytes: Some(mib(1_984)),
            unreadable: vec![Unreadable {
                pid: 1,
                command: "init".to_owned(),
                at_most_bytes: mib(34),
                why: Unread::Denied,
            }],
            processes: vec![CommitProcess {
                pid: 812,
                command: "python3".to_owned(),
                charged_bytes: mib(70),
                charged_not_resident_bytes: mib(60),
                anon_outside_bytes: mib(1_984),
                unreserved_bytes: mib(2_048),
                shapes: vec![
                    "1.94 GiB in 32 glibc heaps that Committed_AS does not see".to_owned(),
                ],
            }],
        }),
        processes: vec![
            process(812, 1, "ada", "python3 train.py --epochs 90", 4_000),
            process(813, 812, "ada", "python3 worker.py", 1_000),
            process(1, 0, "root", "/sbin/init", 12),
        ],
        groups: vec![
            Group {
                path: "/user.slice/ada".to_owned(),
                version: 2,
                current_bytes: Some(mib(5_300)),
                user_bytes: Some(mib(5_000)),
                kernel_bytes: Some(mib(250)),
                page_cache_bytes: Some(mib(40)),
                dentry_inode_bytes: Some(mib(10)),
                swap_bytes: Some(mib(12)),
                ram_limit_bytes: Some(mib(8_192)),
                ram_limit_effective_bytes: Some(mib(4_096)),
                swap_limit_bytes: None,
                ram_high_bytes: Some(mib(6_144)),
                stalled_percent: Some(0.5),
                refaulted_pages: Some(17),
                processes: Some(2),
                unowned_bytes: Some(mib(290)),
                unowned: Some(Unowned {
                    anon_bytes: mib(0),
                    shmem_bytes: mib(250),
                    page_cache_bytes: mib(40),
                }),
                dying_children: Some(3),
            },
            Group {
                path: "/old".to_owned(),
                version: 1,
                current_bytes: Some(mib(2)),
                user_bytes: None,
                kernel_bytes: None,
                page_cache_bytes: None,
                dentry_inode_bytes: None,
                swap_bytes: None,
                ram_limit_bytes: None,
                ram_limit_effective_bytes: None,
                swap_limit_bytes: None,
                ram_high_bytes: None,
                stalled_percent: None,
                refaulted_pages: None,
                processes: None,
                unowned_bytes: None,
                unowned: None,
                dying_children: None,
            },
        ],
        unseen: vec![Unseen {
            what: "mappings of 1 process".to_owned(),
            why: "denied; root would show them".to_owned(),
        }],
    }
}
