//! Reports that were made in guests of the lab, on Debian's 6.1 and 6.12 (`lab/scenes/oom.sh`); `crates/cli/tests/oom_guests.rs`
//! makes them anew. The scene knows what it did, so what must come out is known.

use super::{assert_closes, verdict, verdicts};
use plimsoll_explain::oom::{Answer, Class, Verdict};
use plimsoll_units::Bytes;

const KERNELS: [&str; 2] = ["6.1", "6.12"];

fn each(way: &str, check: impl Fn(&Verdict)) {
    for kernel in KERNELS {
        let verdict = verdict(&format!("oom-{kernel}-{way}.txt"));
        println!("{kernel} {way}: {}", verdict.headline);
        assert!(verdict.kernel.as_ref().unwrap().starts_with(kernel));
        assert_eq!(verdict.page_size_bytes, Some(4096));
        assert_eq!(
            (verdict.missing.as_slice(), verdict.quoted.as_slice()),
            (&[][..], &[][..])
        );
        assert_closes(&verdict);
        check(&verdict);
    }
}

#[test]
fn a_program_takes_all_there_is() {
    each("global", |verdict| {
        assert_eq!(verdict.class, Class::Global);
        assert!(
            verdict.headline.contains("MiB anonymous"),
            "{}",
            verdict.headline
        );
        assert!(
            verdict.headline.ends_with("There is no swap."),
            "{}",
            verdict.headline
        );
        let memory = verdict.memory.as_ref().unwrap();
        // the scene keeps 24 MiB in a file of tmpfs, and the initramfs is one too
        assert!(memory.of("shmem") >= Bytes::from_mib(24));
        assert!(memory.of("anon").get() > memory.total_bytes.get() / 2);
        assert!(
            Bytes(memory.unattributed_bytes.unsigned_abs()) < Bytes::from_mib(12),
            "{memory:?}"
        );
        let answers: Vec<_> = verdict.zones.iter().map(|zone| zone.answer).collect();
        assert_eq!(answers, [Answer::Reserved, Answer::BelowMin]);
        let killed = verdict.killed.first().unwrap();
        assert_eq!(killed.name, "tail");
        assert_eq!(verdict.tasks.biggest[0].pid, killed.pid);
        assert!(
            verdict.outcome.as_ref().unwrap().contains("enough for"),
            "{:?}",
            verdict.outcome
        );
    });
}

#[test]
fn a_group_meets_its_limit_and_goes_as_a_whole() {
    each("group", |verdict| {
        assert_eq!(verdict.class, Class::MemcgV2);
        let group = verdict.group.as_ref().unwrap();
        assert_eq!(group.path.as_deref(), Some("/pair"));
        assert_eq!(group.limit_bytes, Some(Bytes::from_mib(48)));
        assert!(group.kills_all);
        assert_eq!(group.parts[0].name, "anonymous");
        let mut killed: Vec<_> = verdict
            .killed
            .iter()
            .map(|killed| killed.name.as_str())
            .collect();
        killed.sort_unstable();
        assert_eq!(killed, ["sleep", "tail"]);
        assert!(verdict.zones.is_empty());
    });
}

#[test]
fn since_6_8_the_table_tells_the_kinds_of_memory_apart() {
    let old = verdict("oom-6.1-group.txt");
    let new = verdict("oom-6.12-group.txt");
    assert_eq!(old.tasks.biggest[0].anon_bytes, None);
    let tail = &new.tasks.biggest[0];
    let [rss, anon, file, shmem] = [
        tail.rss_bytes,
        tail.anon_bytes,
        tail.file_bytes,
        tail.shmem_bytes,
    ]
    .map(Option::unwrap);
    assert_eq!(anon + file + shmem, rss);
    // the line of its end says the same in kB
    assert_eq!(
        anon,
        new.killed
            .iter()
            .find(|killed| killed.pid == tail.pid)
            .unwrap()
            .anon_bytes
    );
    assert_eq!((tail.oom_score_adj, tail.name.as_str()), (Some(0), "tail"));
}

#[test]
fn a_cpuset_runs_out_beside_free_memory() {
    each("cpuset", |verdict| {
        assert_eq!(verdict.class, Class::Cpuset);
        assert!(
            verdict.headline.contains("free on others"),
            "{}",
            verdict.headline
        );
        assert!(
            verdict.zones.iter().all(|zone| zone.node == 1),
            "the kernel prints no others"
        );
        assert!(
            verdict
                .remedies
                .iter()
                .any(|remedy| remedy.contains("cpuset.mems")),
            "{:?}",
            verdict.remedies
        );
        assert_eq!(verdict.killed[0].name, "tail");
    });
}

#[test]
fn a_key_was_pressed() {
    each("sysrq", |verdict| {
        assert_eq!(verdict.class, Class::Sysrq);
        assert_eq!(verdict.request.as_ref().unwrap().order, None);
        assert!(
            verdict.headline.contains("no shortage"),
            "{}",
            verdict.headline
        );
        let killed = &verdict.killed[0];
        assert_eq!(
            (killed.name.as_str(), killed.oom_score_adj),
            ("sleep", Some(500))
        );
    });
}

#[test]
fn a_piece_of_32_kib_with_hundreds_of_mebibytes_free() {
    each("large-piece", |verdict| {
        assert_eq!(verdict.class, Class::Global);
        let request = verdict.request.as_ref().unwrap();
        assert_eq!(request.order, Some(3));
        assert_eq!(request.highest_zone, "Normal");
        let zone = verdict
            .zones
            .iter()
            .find(|zone| zone.name == "DMA32")
            .unwrap();
        assert_eq!(zone.answer, Answer::Fragmented);
        assert!(
            zone.free_bytes > Bytes::from_mib(250),
            "{}",
            zone.free_bytes
        );
        assert!(zone.extfrag_index.unwrap() > 0.5, "{zone:?}");
        assert!(zone.unusable_index.unwrap() > 0.9, "{zone:?}");
        assert!(
            verdict.headline.contains("nowhere in one piece of"),
            "{}",
            verdict.headline
        );
        // what the pipes hold stands in no line
        let memory = verdict.memory.as_ref().unwrap();
        assert!(memory.unattributed_bytes > 100 << 20, "{memory:?}");
        assert_eq!(verdict.killed[0].name, "victim");
    });
}

/// Before that the same victim asked for 4 MiB in one piece, which a request may not have at any price.
#[test]
fn a_page_allocation_failure() {
    for kernel in KERNELS {
        let verdict = verdicts(&format!("oom-{kernel}-large-piece.txt")).remove(0);
        assert_eq!(verdict.class, Class::AllocationFailure);
        let request = verdict.request.as_ref().unwrap();
        assert_eq!(
            (request.command.as_str(), request.order),
            ("victim", Some(10))
        );
        assert_eq!(request.gfp, ["GFP_KERNEL", "__GFP_COMP"]);
        let answers: Vec<_> = verdict.zones.iter().map(|zone| zone.answer).collect();
        assert_eq!(answers, [Answer::Reserved, Answer::Fragmented]);
        assert!(
            verdict
                .headline
                .contains("nowhere in one piece of 4.00 MiB"),
            "{}",
            verdict.headline
        );
        assert_eq!((verdict.killed.len(), verdict.tasks.count), (0, 0));
        assert!(verdict.quoted.is_empty(), "{:?}", verdict.quoted);
        assert_closes(&verdict);
    }
}

#[test]
fn the_kernel_was_told_to_panic() {
    each("panic", |verdict| {
        assert_eq!(verdict.class, Class::Global);
        assert!(verdict.panic.as_ref().unwrap().contains("panic_on_oom"));
        assert!(
            verdict.headline.ends_with("The kernel panicked over it."),
            "{}",
            verdict.headline
        );
        assert_eq!(verdict.killed, []);
        assert!(
            verdict.remedies[0].contains("vm.panic_on_oom=0"),
            "{:?}",
            verdict.remedies
        );
    });
}

/// A tmpfs bound to one of two nodes (`mpol=bind:1`) is filled.
#[test]
fn a_memory_policy_binds_to_a_node_that_is_used_up() {
    each("mempolicy", |verdict| {
        assert_eq!(verdict.class, Class::Mempolicy);
        assert!(
            verdict.headline.contains("free on others"),
            "{}",
            verdict.headline
        );
        let nodes: Vec<_> = verdict
            .zones
            .iter()
            .map(|zone| (zone.node, zone.answer))
            .collect();
        assert!(
            nodes
                .iter()
                .all(|(node, answer)| (*node == 1) != (*answer == Answer::WrongNode)),
            "{nodes:?}"
        );
        assert!(verdict.memory.as_ref().unwrap().of("shmem") > Bytes::from_mib(200));
        assert!(
            verdict.remedies[0].contains("--preferred"),
            "{:?}",
            verdict.remedies
        );
    });
}
