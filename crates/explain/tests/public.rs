//! Field excerpts of public reports, from Linux 2.6.30 to 6.14. Each file names its source in its first line; where experts
//! read the report there, ours must agree.

use super::{assert_closes, verdict, verdicts};
use plimsoll_explain::oom::{Answer, Class};
use plimsoll_units::Bytes;

/// File, kind, and what the headline must say.
#[rustfmt::skip]
const READINGS: &[(&str, Class, &[&str])] = &[
    ("StreamTrans-6.14-name-with-spaces", Class::Global, &["holds no zones"]),
    ("app-5.4-uek", Class::Global, &["holds no zones"]),
    ("apt-check-2.6.30-global", Class::Global, &["969 MiB anonymous", "Swap (957 MiB) was full"]),
    ("cat-6.1-arm-cma", Class::Global, &["507 MiB were free", "only 5.39 MiB", "CMA"]),
    ("clickhouse-back-3.10-el7-swap", Class::Global, &["holds no zones"]),
    ("codec-6.6-cma-cut-lines", Class::AllocationFailure, &["nobody was killed", "cut where it would tell why"]),
    ("cp-memcg-v1-dirty", Class::MemcgV1, &["/kubepods/pod-a/b", "512 MiB", "495 MiB file cache"]),
    ("dd-5.10-memcg-v2-stat", Class::MemcgV2, &["/kubepods met its limit."]),
    ("dd-6.8-memcg-v1-dirty", Class::MemcgV1, &["/mglru", "1.00 GiB", "1023 MiB file cache"]),
    ("doxygen-6.1-global", Class::Global, &["11.0 GiB anonymous", "3.09 GiB that no line", "Swap (24.0 GiB) was full"]),
    ("earlyoom-5.9-nowait", Class::AllocationFailure, &["nobody was killed"]),
    ("gui-init-5.10-no-compaction", Class::Global, &["holds no zones"]),
    ("ip-4.18-el8", Class::Global, &["holds no zones"]),
    ("ip-5.15-slab", Class::Global, &["3.22 GiB", "btrfs_extent_map"]),
    ("iscsid-xen-files", Class::Global, &["does not tell how large its pages are"]),
    ("kworker-4.14-arm-lowmem", Class::Global, &["at its watermark"]),
    ("kworker-5.13-sysrq", Class::Sysrq, &["no shortage"]),
    ("memcg_test-3.10-el7", Class::MemcgV1, &["/13", "4.00 KiB file cache"]),
    ("modeset-order-3", Class::Global, &["193 MiB in DMA32, Normal", "nowhere in one piece of 32.0 KiB"]),
    ("node-4.4-tasks", Class::Global, &["holds no zones"]),
    ("node-cache-5.4-memcg-slab", Class::Memcg, &["met its limit"]),
    ("node_exporter-2.6.32-order-5", Class::AllocationFailure, &["nobody was killed"]),
    ("perf-6.9-order-4", Class::AllocationFailure, &["nobody was killed"]),
    ("php-fpm-5.15-memcg-v2", Class::MemcgV2, &["/lxc/39004", "29.8 GiB", "29.0 GiB anonymous", "may not use swap"]),
    ("prod-server-escaped-newlines", Class::AllocationFailure, &["nobody was killed"]),
    ("python-5.4-slub", Class::Global, &["holds no zones"]),
    ("qemu-5.4-s390-order-3", Class::Global, &["holds no zones"]),
    ("quarantine-3.18-order-4", Class::AllocationFailure, &["nobody was killed"]),
    ("sed-3.10-el7-two-nodes", Class::Global, &["30.2 GiB anonymous", "Swap (8.00 GiB) was full"]),
    ("sh-4.4-arm-order-3", Class::Global, &["4.15 MiB in Normal", "nowhere in one piece of 32.0 KiB"]),
    ("squid-6.14-memcg", Class::Memcg, &[]),
    ("sshd-2.6.32-el6", Class::Global, &["holds no zones"]),
    ("stress-5.14-el9-memcg", Class::Memcg, &["/machine.slice/machine-libpod_pod_91699c4e43f2"]),
    ("stress-ng-sparc64-8k", Class::Global, &[]),
    ("sui-no-swap", Class::Global, &["at its watermark"]),
    ("swapper-4.9-lines-in-pieces", Class::AllocationFailure, &["of 62.8 GiB there were 7.11 GiB anonymous", "There is no swap."]),
    ("systemd-5.4-arm64-movable", Class::Global, &["1.29 GiB were free in zones that it may not use (Movable)", "panicked"]),
    ("txg_sync-zfs-atomic", Class::AllocationFailure, &["at its watermark"]),
];

#[test]
fn each_is_read_for_what_it_is() {
    for (file, class, words) in READINGS {
        let verdict = verdict(&format!("public/{file}.txt"));
        println!("{file}: {}", verdict.headline);
        assert_eq!(verdict.class, *class, "{file}");
        for part in *words {
            assert!(
                verdict.headline.contains(part),
                "{file}: {part}: {}",
                verdict.headline
            );
        }
        assert_closes(&verdict);
    }
}

#[test]
fn every_fixture_is_in_the_table() {
    let dir = format!("{}/fixtures/public", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut table: Vec<_> = READINGS
        .iter()
        .map(|(file, ..)| format!("{file}.txt"))
        .chain(["slub-3.10-no-head.txt".to_owned()])
        .collect();
    table.sort();
    assert_eq!(files, table);
}

/// Hocko: out of blocks of order 3 and above in all zones that the request may use; zone DMA is not one in truth.
#[test]
fn order_3_beside_gigabytes_of_cache() {
    let verdict = verdict("public/modeset-order-3.txt");
    let answers: Vec<_> = verdict
        .zones
        .iter()
        .map(|zone| (zone.name.as_str(), zone.answer))
        .collect();
    assert_eq!(
        answers,
        [
            ("DMA", Answer::Unknown),
            ("DMA32", Answer::Fragmented),
            ("Normal", Answer::Fragmented)
        ]
    );
    // 1 - (1 + 32253 / 8) / 11833, by hand
    assert_eq!(verdict.zones[1].extfrag_index, Some(0.659));
    assert_eq!(verdict.zones[1].unusable_index, Some(1.0));
}

/// Hocko: only the low zone is usable for such a request; it stands just above its min watermark, not out for single
/// pages; there seem to be blocks, but the figures are taken after the last check.
#[test]
fn low_memory_of_a_32_bit_host() {
    let verdict = verdict("public/kworker-4.14-arm-lowmem.txt");
    let request = verdict.request.as_ref().unwrap();
    assert_eq!((request.highest_zone, request.order), ("Normal", Some(1)));
    assert_eq!(request.purpose, Some("to start a process or a thread"));
    let zone = &verdict.zones[0];
    assert_eq!(zone.answer, Answer::BelowHigh);
    assert!(zone.fitting_pieces.unwrap() > 0);
    assert_eq!(zone.reserve_bytes, Some(Bytes::ZERO));
}

/// Hocko: nobody left to kill means that memory is held without a relation to tasks. It was kmemleak's own.
#[test]
fn memory_of_no_task() {
    let verdict = verdict("public/systemd-5.4-arm64-movable.txt");
    assert!(verdict.outcome.as_ref().unwrap().contains("no process"));
    assert_eq!(verdict.slab[0].name, "kmemleak_object");
    let memory = verdict.memory.as_ref().unwrap();
    assert_eq!(
        memory.of("slab.kmemleak_object"),
        Bytes::from_kib(2_449_340)
    );
    assert_eq!(memory.total_bytes, Bytes((2_046_684 - 367_615) * 4096));
    assert!(
        verdict
            .remedies
            .iter()
            .any(|remedy| remedy.contains("kmemleak_object"))
    );
    // lines that the mail broke are whole again
    assert_eq!(verdict.tasks.count, 2);
    let first = verdicts("public/systemd-5.4-arm64-movable.txt").remove(0);
    assert!(first.killed[0].reaped);
    assert_eq!(first.killed[0].oom_score_adj, Some(-900));
}

/// Yu Zhao and Yafang Shao: on v1 all file pages are dirty, and nothing slows the writer down.
#[test]
fn dirty_pages_at_a_limit_of_v1() {
    for file in ["dd-6.8-memcg-v1-dirty", "cp-memcg-v1-dirty"] {
        let verdict = verdict(&format!("public/{file}.txt"));
        assert!(
            verdict
                .remedies
                .iter()
                .any(|remedy| remedy.contains("were dirty")),
            "{file}: {:?}",
            verdict.remedies
        );
    }
}

/// The kernel chose bash and took its child in its place, as kernels before 5.1 did.
#[test]
fn a_child_in_its_parents_place() {
    let verdicts = verdicts("public/cp-memcg-v1-dirty.txt");
    assert_eq!(verdicts.len(), 1);
    let killed: Vec<_> = verdicts[0]
        .killed
        .iter()
        .map(|killed| killed.name.as_str())
        .collect();
    assert_eq!(killed, ["cp"]);
}

#[test]
fn pages_of_8_kib_are_found_out() {
    assert_eq!(
        verdict("public/stress-ng-sparc64-8k.txt").page_size_bytes,
        Some(8192)
    );
}

#[test]
fn memory_that_is_free_for_movable_pages_only() {
    let verdict = verdict("public/cat-6.1-arm-cma.txt");
    assert_eq!(verdict.zones[0].answer, Answer::OtherKinds);
    assert_eq!(verdict.zones[0].cma_bytes, Some(Bytes::from_kib(513_592)));
    assert!(verdict.remedies[0].contains("cma="));
}

#[test]
fn the_oldest_form() {
    let verdict = verdict("public/apt-check-2.6.30-global.txt");
    let request = verdict.request.as_ref().unwrap();
    assert_eq!(
        (request.highest_zone, request.movable, request.pid),
        ("Movable", true, Some(23_105))
    );
    assert_eq!(request.purpose, Some("to read a page of a mapped file"));
    let answers: Vec<_> = verdict.zones.iter().map(|zone| zone.answer).collect();
    assert_eq!(answers, [Answer::Reserved, Answer::BelowMin]);
    assert_eq!(
        verdict.memory.as_ref().unwrap().of("pcp"),
        Bytes(220 * 4096)
    );
}

#[test]
fn who_was_chosen_and_why() {
    let verdict = verdict("public/kworker-5.13-sysrq.txt");
    let why = verdict.killed[0].why.as_ref().unwrap();
    assert!(
        why.contains("snapd (pid 611) was bigger, but has an oom_score_adj of -900"),
        "{why}"
    );
    let mysqld = &super::verdict("public/sed-3.10-el7-two-nodes.txt").killed[0];
    assert_eq!((mysqld.pid, mysqld.name.as_str()), (6576, "mysqld"));
}

#[test]
fn zones_of_two_nodes() {
    let verdict = verdict("public/sed-3.10-el7-two-nodes.txt");
    let zones: Vec<_> = verdict
        .zones
        .iter()
        .map(|zone| (zone.node, zone.name.as_str(), zone.answer))
        .collect();
    assert_eq!(
        zones,
        [
            (0, "DMA", Answer::Reserved),
            (0, "DMA32", Answer::Reserved),
            (0, "Normal", Answer::BelowMin),
            (1, "Normal", Answer::BelowHigh),
        ]
    );
}

/// Heads of reports, cut before anything that tells a group's limit or a zone.
#[test]
fn what_is_left_of_a_report_is_read_for_what_it_says() {
    let request = |file: &str| verdict(&format!("public/{file}.txt")).request.unwrap();
    assert_eq!(request("quarantine-3.18-order-4").order, Some(4));
    assert_eq!(request("ip-4.18-el8").pid, Some(1_104_454));
    assert_eq!(
        request("sshd-2.6.32-el6").purpose,
        Some("to read a file ahead")
    );
    assert_eq!(request("earlyoom-5.9-nowait").gfp, ["GFP_NOWAIT"]);
    let squid = verdict("public/squid-6.14-memcg.txt");
    assert!(
        squid.headline.contains("control group"),
        "{}",
        squid.headline
    );
    let table = verdict("public/app-5.4-uek.txt");
    assert_eq!(table.tasks.count, 4);
    // a page's size is not in the excerpt, so that sizes are not either
    assert_eq!(table.tasks.biggest[0].rss_bytes, None);
}

/// What SLUB adds to a report is none by itself.
#[test]
fn no_report_without_a_head() {
    assert_eq!(verdicts("public/slub-3.10-no-head.txt"), []);
}

#[test]
fn heads_tell_what_asked_for_what() {
    let request = |file: &str| verdict(&format!("public/{file}.txt")).request.unwrap();
    let thread = request("StreamTrans-6.14-name-with-spaces");
    assert_eq!(
        (thread.command.as_str(), thread.pid, thread.movable),
        ("StreamTrans #72", Some(38_055), true)
    );
    // Borntraeger: the pins of KVM's interrupt routing are an allocation of order 3
    let qemu = request("qemu-5.4-s390-order-3");
    assert_eq!(
        (qemu.command.as_str(), qemu.order, qemu.pid),
        ("qemu-system-s39", Some(3), Some(357_274))
    );
    let perf = request("perf-6.9-order-4");
    assert_eq!((perf.order, perf.pid), (Some(4), Some(11_754)));
    let exporter = request("node_exporter-2.6.32-order-5");
    assert_eq!(
        (exporter.command.as_str(), exporter.order, exporter.gfp_mask),
        ("node_exporter", Some(5), Some(0xd0))
    );
    assert_eq!(request("node-cache-5.4-memcg-slab").gfp, ["GFP_NOFS"]);
}

#[test]
fn swap_that_was_full() {
    let verdict = verdict("public/clickhouse-back-3.10-el7-swap.txt");
    assert_eq!(
        (verdict.swap_total_bytes, verdict.swap_free_bytes),
        (Some(Bytes::from_kib(8_388_604)), Some(Bytes::ZERO))
    );
    assert_eq!(verdict.tasks.count, 2);
}

#[test]
fn tables_of_four_kernels() {
    let biggest = |file: &str| verdict(&format!("public/{file}.txt")).tasks.biggest;
    let names =
        |file: &str| -> Vec<String> { biggest(file).into_iter().map(|task| task.name).collect() };
    assert_eq!(
        names("node-4.4-tasks"),
        ["node", "systemd-udevd", "dbus-daemon"]
    );
    assert_eq!(names("iscsid-xen-files"), ["iscsid", "xenstored"]);
    assert_eq!(biggest("node-4.4-tasks")[2].oom_score_adj, Some(-900));
    // el9 has one column for all kinds of memory, and swap beside it: the biggest is the one that swapped most
    let stress = biggest("stress-5.14-el9-memcg").remove(0);
    assert_eq!(
        (stress.pid, stress.page_table_bytes, stress.oom_score_adj),
        (5080, Some(Bytes(1_220_608)), Some(666))
    );
}

/// Linux 4.9 printed each block and each letter as a line: they are one list again, which is cut, and told to be.
#[test]
fn lines_in_pieces_are_whole_again() {
    let verdict = verdict("public/swapper-4.9-lines-in-pieces.txt");
    assert_eq!(verdict.page_size_bytes, Some(4096));
    let memory = verdict.memory.as_ref().unwrap();
    assert_eq!(memory.of("page_cache"), Bytes((14_165_291 - 14_632) * 4096));
    let [dma, dma32] = &verdict.zones[..] else {
        panic!("{:?}", verdict.zones)
    };
    assert_eq!(
        (dma.name.as_str(), dma.free_bytes),
        ("DMA", Bytes::from_kib(15_864))
    );
    assert_eq!(dma32.name, "DMA32");
    assert_eq!(
        dma32.fitting_pieces,
        Some(613 + 715 + 869 + 488 + 366 + 113 + 51 + 30)
    );
    assert_eq!(dma32.largest_bytes, None);
    assert!(
        verdict
            .missing
            .iter()
            .any(|part| part.contains("free blocks")),
        "{:?}",
        verdict.missing
    );
}

/// The list of free blocks ends in the middle: larger ones may have stood there.
#[test]
fn a_list_that_is_cut_tells_of_no_fragmentation() {
    let verdict = verdict("public/codec-6.6-cma-cut-lines.txt");
    let zone = &verdict.zones[0];
    assert_eq!(
        (zone.answer, zone.fitting_pieces, zone.extfrag_index),
        (Answer::Unknown, None, None)
    );
}

/// A group's figures without those of its programs are not the group.
#[test]
fn a_group_whose_figures_are_cut() {
    let verdict = verdict("public/dd-5.10-memcg-v2-stat.txt");
    assert_eq!(verdict.group.as_ref().unwrap().parts, []);
    assert!(
        verdict
            .missing
            .iter()
            .any(|part| part.contains("memory.stat")),
        "{:?}",
        verdict.missing
    );
}
