//! Reports in one another, cut at either end, and logs that are none.

use plimsoll_explain::oom::{Class, compare, explain};
use plimsoll_explain::report::reports;
use plimsoll_units::Bytes;
use proptest::prelude::*;

const GLOBAL: &str = include_str!("../fixtures/oom-6.12-global.txt");
const GROUP: &str = include_str!("../fixtures/oom-6.1-group.txt");

#[test]
fn two_reports_one_after_the_other() {
    let verdicts = explain(&reports(format!("{GLOBAL}{GROUP}").as_bytes()));
    let classes: Vec<_> = verdicts.iter().map(|verdict| verdict.class).collect();
    assert_eq!(classes, [Class::Global, Class::MemcgV2]);
    assert_eq!(verdicts[1].first_line, GLOBAL.lines().count() + 1);
}

/// Other subsystems speak in between, and another CPU prints an allocation failure of its own a little behind.
#[test]
fn lines_of_others_in_between() {
    let failure = "\
[   13.1] kworker/1:0: page allocation failure: order:5, mode:0x40dc0(GFP_KERNEL|__GFP_COMP|__GFP_ZERO), nodemask=(null),cpuset=/,mems_allowed=0
[   13.1] CPU: 1 UID: 0 PID: 7 Comm: kworker/1:0 Not tainted 6.12.95 #1
[   13.1] Mem-Info:
[   13.1] Node 0 DMA free:772kB min:140kB low:172kB high:204kB present:15992kB managed:15360kB free_cma:0kB
[   13.1] lowmem_reserve[]: 0 166 166 166 166
[   13.1] Node 0 DMA: 1*4kB (U) 0*8kB 0*16kB 0*32kB 0*64kB 0*128kB 1*256kB (U) 1*512kB (U) 0*1024kB 0*2048kB 0*4096kB = 772kB";
    let mut log = String::new();
    let mut theirs = failure.lines();
    let body = GLOBAL
        .lines()
        .position(|line| line.contains("Mem-Info:"))
        .unwrap();
    for (number, line) in GLOBAL.lines().enumerate() {
        log.push_str(line);
        log.push('\n');
        if number > body && number % 4 == 0 {
            log.push_str("[   13.1] usb 1-1: new high-speed USB device\n");
            for line in theirs.by_ref().take(1) {
                log.push_str(line);
                log.push('\n');
            }
        }
    }
    let (alone, verdicts) = (
        explain(&reports(GLOBAL.as_bytes())),
        explain(&reports(log.as_bytes())),
    );
    let classes: Vec<_> = verdicts.iter().map(|verdict| verdict.class).collect();
    assert_eq!(classes, [Class::Global, Class::AllocationFailure]);
    assert_eq!(verdicts[0].memory, alone[0].memory);
    assert_eq!(verdicts[0].killed, alone[0].killed);
    assert_eq!(verdicts[0].tasks, alone[0].tasks);
    let quoted: Vec<_> = verdicts
        .iter()
        .flat_map(|verdict| &verdict.quoted)
        .collect();
    assert!(
        quoted.iter().any(|quote| quote.text.contains("usb 1-1")),
        "{quoted:?}"
    );
}

#[test]
fn cut_anywhere_it_never_panics_and_says_what_is_missing() {
    let lines: Vec<&str> = GLOBAL.lines().collect();
    for cut in 0..lines.len() {
        for part in [&lines[..cut], &lines[cut..]] {
            for verdict in explain(&reports(part.join("\n").as_bytes())) {
                assert!(
                    part.len() == lines.len()
                        || !verdict.missing.is_empty()
                        || part.len() + 2 > lines.len()
                );
                assert!(!verdict.headline.is_empty());
            }
        }
    }
}

#[test]
fn a_report_without_its_head() {
    let tail: Vec<&str> = GLOBAL
        .lines()
        .skip_while(|line| !line.contains("Mem-Info:"))
        .collect();
    let verdicts = explain(&reports(tail.join("\n").as_bytes()));
    assert_eq!(verdicts.len(), 1);
    assert!(verdicts[0].missing[0].contains("first line"));
    assert_eq!(verdicts[0].killed[0].name, "tail");
    assert!(verdicts[0].memory.is_some());
}

#[test]
fn one_held_against_another() {
    let now = explain(&reports(GLOBAL.as_bytes())).remove(0);
    let mut then = now.clone();
    let anon = then
        .memory
        .iter_mut()
        .flat_map(|memory| &mut memory.owners)
        .find(|owner| owner.id == "anon");
    anon.unwrap().bytes = Bytes::from_mib(7);
    assert_eq!(compare(&now, &now).words, [""; 0]);
    let comparison = compare(&now, &then);
    assert_eq!(comparison.memory.len(), 1);
    assert!(
        comparison.words[0].starts_with("anonymous: "),
        "{:?}",
        comparison.words
    );
    let group = explain(&reports(GROUP.as_bytes())).remove(0);
    assert!(compare(&now, &group).words[0].contains("another kind"));
}

#[test]
fn what_is_no_report_gives_none() {
    for log in [
        "",
        "\n\n",
        "all is well\n",
        "[1.0] e1000: link up\n",
        "-1",
        "Killed process",
        "Tasks in  are",
    ] {
        assert_eq!(reports(log.as_bytes()).len(), 0, "{log}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(log in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = explain(&reports(&log));
    }

    /// A report with some of its bytes changed.
    #[test]
    fn no_broken_report_panics(changes in proptest::collection::vec((0..GLOBAL.len(), any::<u8>()), 0..60)) {
        let mut log = GLOBAL.as_bytes().to_vec();
        for (at, byte) in changes {
            log[at] = byte;
        }
        let _ = explain(&reports(&log));
    }

    /// Its lines in any order.
    #[test]
    fn no_order_of_lines_panics(order in Just(GLOBAL.lines().chain(GROUP.lines()).collect::<Vec<_>>()).prop_shuffle()) {
        let _ = explain(&reports(order.join("\n").as_bytes()));
    }
}
