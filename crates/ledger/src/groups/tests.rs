use super::*;
use plimsoll_cgroup::format::{Format, Pids};
use plimsoll_cgroup::mount::Hierarchy;
use plimsoll_cgroup::sample::{MemoryV1, MemoryV2};
use plimsoll_cgroup::{v1, v2};
use plimsoll_proc::{DirId, Root};
use std::ffi::OsString;
use std::path::Path;

const MIB: u64 = 1 << 20;

fn tree(version: Version, groups: Vec<sample::Group>) -> Sample {
    let hierarchy = Hierarchy {
        version,
        mount_point: "/sys/fs/cgroup".into(),
        root: "/".into(),
        device: (0, 30),
    };
    Sample {
        trees: vec![Tree {
            hierarchy,
            groups,
            vanished: 0,
            dying: Some(3),
        }],
        errors: Vec::new(),
    }
}

fn group(name: &str, parent: Option<usize>, pids: &str, memory: Memory) -> sample::Group {
    sample::Group {
        name: OsString::from(name),
        parent,
        id: DirId {
            device: 1,
            inode: 1,
        },
        procs: Pids::parse(pids.as_bytes()),
        memory,
    }
}

fn memory_v2(current_mib: u64, max: Limit, stat: &str) -> Memory {
    Memory::V2(MemoryV2 {
        current: Some(Bytes::from_mib(current_mib)),
        max: Some(max),
        stat: v2::MemoryStat::parse(stat.as_bytes()),
        descendants: v2::Descendants::parse(b"nr_dying_descendants 2\nnr_dying_subsys_memory 1\n"),
        ..MemoryV2::default()
    })
}

/// 100 MiB anonymous, 20 MiB page cache of which 5 are mapped, 10 MiB tmpfs, 8 MiB kernel of which 3 are dentries.
fn busy_v2(max: Limit) -> Memory {
    let stat = format!(
        "anon {}\nfile {}\nkernel {}\nsock {}\nshmem {}\nfile_mapped {}\nslab_reclaimable {}\n",
        100 * MIB,
        30 * MIB,
        8 * MIB,
        MIB,
        10 * MIB,
        5 * MIB,
        3 * MIB
    );
    memory_v2(139, max, &stat)
}

fn resident(anon_mib: u64, file_mib: u64, shmem_mib: u64) -> Resident {
    Resident {
        anon: Bytes::from_mib(anon_mib),
        file: Bytes::from_mib(file_mib),
        shmem: Bytes::from_mib(shmem_mib),
    }
}

#[test]
fn four_kinds_of_v2_sum_to_what_is_charged() {
    let sample = tree(Version::V2, vec![group("", None, "", busy_v2(Limit::Max))]);
    let (rows, unseen) = account(&sample, &HashMap::new());
    let row = &rows[0];
    assert_eq!(row.user_bytes, Some(Bytes::from_mib(110)));
    assert_eq!(row.kernel_bytes, Some(Bytes::from_mib(6)));
    assert_eq!(row.page_cache_bytes, Some(Bytes::from_mib(20)));
    assert_eq!(row.dentry_inode_bytes, Some(Bytes::from_mib(3)));
    assert_eq!(row.dying_children, Some(1));
    assert_eq!((row.path.as_str(), row.version), ("/", 2));
    assert!(unseen.is_empty());
}

#[test]
fn a_kernel_before_5_18_shows_the_parts_only() {
    let stat = "anon 0\nfile 0\nshmem 0\nkernel_stack 1\npagetables 2\nslab_reclaimable 4\nslab_unreclaimable 8\n";
    let sample = tree(
        Version::V2,
        vec![group("", None, "", memory_v2(1, Limit::Max, stat))],
    );
    let (rows, _) = account(&sample, &HashMap::new());
    assert_eq!(rows[0].kernel_bytes, Some(Bytes(1 + 2 + 8)));
    assert_eq!(rows[0].dentry_inode_bytes, Some(Bytes(4)));
}

#[test]
fn the_tightest_limit_above_holds_below() {
    let at_most = |mib| Limit::Bytes(Bytes::from_mib(mib));
    let groups = vec![
        group("", None, "", busy_v2(Limit::Max)),
        group("a", Some(0), "", busy_v2(at_most(300))),
        group("b", Some(1), "", busy_v2(Limit::Max)),
        group("c", Some(1), "", busy_v2(at_most(200))),
        group("d", Some(3), "", busy_v2(at_most(900))),
    ];
    let (rows, _) = account(&tree(Version::V2, groups), &HashMap::new());
    let limits: Vec<_> = rows
        .iter()
        .map(|row| {
            let mib = |limit: Option<Bytes>| limit.map(|bytes| bytes.get() / MIB);
            (
                row.path.as_str(),
                mib(row.ram_limit_bytes),
                mib(row.ram_limit_effective_bytes),
            )
        })
        .collect();
    assert_eq!(
        limits,
        [
            ("/", None, None),
            ("/a", Some(300), Some(300)),
            ("/a/b", None, Some(300)),
            ("/a/c", Some(200), Some(200)),
            ("/a/c/d", Some(900), Some(200)),
        ]
    );
}

#[test]
fn what_no_process_owns_is_what_they_have_not_resident() {
    let groups = vec![
        group("", None, "", busy_v2(Limit::Max)),
        group("a", Some(0), "7\n8\n", busy_v2(Limit::Max)),
    ];
    let processes = HashMap::from([(7, resident(50, 1, 4)), (8, resident(20, 1, 0))]);
    let (rows, _) = account(&tree(Version::V2, groups), &processes);
    for row in rows {
        assert_eq!(row.processes, Some(2), "{}", row.path);
        let unowned = row.unowned.unwrap();
        assert_eq!(unowned.anon_bytes, Bytes::from_mib(30));
        assert_eq!(unowned.shmem_bytes, Bytes::from_mib(6));
        assert_eq!(unowned.page_cache_bytes, Bytes::from_mib(18));
        // 25 MiB of page cache and tmpfs are mapped by nobody: one more than the two parts prove.
        assert_eq!(row.unowned_bytes, Some(Bytes::from_mib(30 + 25)));
    }
}

#[test]
fn a_group_without_processes_owns_nothing_itself() {
    let sample = tree(Version::V2, vec![group("", None, "", busy_v2(Limit::Max))]);
    let (rows, _) = account(&sample, &HashMap::new());
    assert_eq!(rows[0].unowned_bytes, Some(Bytes::from_mib(130)));
}

#[test]
fn with_an_unknown_process_only_what_nobody_maps_is_certain() {
    for pids in ["7\n", "0\n"] {
        let sample = tree(
            Version::V2,
            vec![group("", None, pids, busy_v2(Limit::Max))],
        );
        let (rows, _) = account(&sample, &HashMap::new());
        let unowned = rows[0].unowned.unwrap();
        assert_eq!(unowned.anon_bytes, Bytes::ZERO);
        assert_eq!(unowned.shmem_bytes, Bytes::from_mib(5));
        assert_eq!(unowned.page_cache_bytes, Bytes::from_mib(15));
        assert_eq!(rows[0].unowned_bytes, Some(Bytes::from_mib(25)));
    }
}

#[test]
fn v1_keeps_dentries_in_its_kernel_memory_and_says_so() {
    let stat = format!(
        "hierarchical_memory_limit {}\ntotal_cache {}\ntotal_rss {}\ntotal_shmem {}\ntotal_mapped_file 0\n",
        64 * MIB,
        30 * MIB,
        100 * MIB,
        10 * MIB
    );
    let memory = Memory::V1(MemoryV1 {
        usage: Some(Bytes::from_mib(138)),
        limit: Some(Limit::Bytes(Bytes::from_mib(200))),
        memsw_limit: Some(Limit::Bytes(Bytes::from_mib(300))),
        kmem_usage: Some(Bytes::from_mib(8)),
        tcp_usage: Some(Bytes::from_mib(1)),
        stat: v1::MemoryStat::parse(stat.as_bytes()),
    });
    let (rows, unseen) = account(
        &tree(Version::V1, vec![group("", None, "", memory)]),
        &HashMap::new(),
    );
    let row = &rows[0];
    assert_eq!(row.user_bytes, Some(Bytes::from_mib(110)));
    assert_eq!(row.page_cache_bytes, Some(Bytes::from_mib(20)));
    assert_eq!(row.kernel_bytes, Some(Bytes::from_mib(9)));
    assert_eq!(row.dentry_inode_bytes, None);
    assert_eq!(row.swap_limit_bytes, Some(Bytes::from_mib(100)));
    assert_eq!(row.ram_limit_effective_bytes, Some(Bytes::from_mib(64)));
    assert_eq!(row.dying_children, Some(3));
    assert!(unseen[0].why.contains("v1"));
}

#[test]
fn a_group_without_the_controller_has_no_row_but_its_processes_count_above() {
    let groups = vec![
        group("", None, "", busy_v2(Limit::Max)),
        group("a", Some(0), "7\n", Memory::V2(MemoryV2::default())),
    ];
    let (rows, _) = account(&tree(Version::V2, groups), &HashMap::new());
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].processes, Some(1));
}

/// A group that a lab guest had.
fn captured(name: &str) -> (Group, MemoryV2) {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../cgroup/fixtures");
    let root = Root::captured(Path::new(fixtures)).unwrap();
    let hierarchy = tree(Version::V2, Vec::new()).trees.remove(0).hierarchy;
    let (mut tree, errors) = Tree::read(hierarchy, root.open_dir(name).unwrap());
    assert!(errors.is_empty(), "{errors:?}");
    let row = tree_rows(&tree, &HashMap::new()).remove(0);
    let Memory::V2(memory) = tree.groups.remove(0).memory else {
        panic!("{row:?}")
    };
    (row, memory)
}

#[test]
fn kinds_of_real_groups_sum_to_what_is_charged() {
    for name in [
        "6.1-files",
        "6.12-files",
        "6.1-oom",
        "6.12-oom",
        "6.1-hog",
        "6.12-hog",
    ] {
        let (row, memory) = captured(&format!("v2-{name}"));
        let kinds = [
            row.user_bytes,
            row.kernel_bytes,
            row.page_cache_bytes,
            row.dentry_inode_bytes,
        ];
        let sum: Bytes = kinds.iter().map(|kind| kind.unwrap()).sum();
        let rest = row.current_bytes.unwrap().signed_sub(sum);
        // Only a group that swaps has a swap cache.
        let swap_cache = memory.stat.unwrap().swapcached().unwrap();
        assert!(
            (0..=swap_cache.signed_sub(Bytes::ZERO)).contains(&rest),
            "{name}: {rest} {row:?}"
        );
    }
}

#[test]
fn files_that_a_real_group_left_behind_are_nobodys() {
    let (row, _) = captured("v2-6.12-files");
    let unowned = row.unowned.unwrap();
    assert_eq!(unowned.shmem_bytes, Bytes::from_mib(8));
    assert_eq!(
        row.unowned_bytes,
        Some(unowned.shmem_bytes + unowned.page_cache_bytes)
    );
    assert_eq!(row.processes, Some(0));
}
