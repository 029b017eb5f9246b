//! Parking on other kernels: 6.1, which has no `PAGEMAP_SCAN`, and 6.12; by a store where there is no swap, and by swap on
//! a disk. One boot for each kernel (`lab/scenes/parked.sh`).

use crate::scenes::{guest, modules, play};
use plimsoll_lab::Guest;
use plimsoll_testkit::need;
use plimsoll_units::Bytes;

const ROUNDS: usize = 3;
const MEANS: [&str; 2] = ["store", "swap"];
const KINDS: [&str; 3] = ["memory", "threads", "epoll"];

#[test]
fn parked_and_resumed_on_6_1() {
    need!(Lab);
    parked_and_resumed("6.1");
}

#[test]
fn parked_and_resumed_on_6_12() {
    need!(Lab);
    parked_and_resumed("6.12");
}

fn parked_and_resumed(kernel: &str) {
    let guest = Guest {
        memory: Bytes::from_mib(1024),
        swap: Some(Bytes::from_mib(1024)),
        modules: modules(&["zram", "lzo-rle"]),
        ..guest(kernel, 500)
    };
    let left = play(&guest, &["-x", "/scenes/parked.sh", &ROUNDS.to_string()]);
    println!("{}: {}", left.release, left.said);
    let parked = left.text("parked");
    for means in MEANS {
        for kind in KINDS {
            let wanted = format!("{means} {kind} {ROUNDS} ok ");
            assert!(parked.contains(&wanted), "{wanted}: {parked}");
        }
    }
}
