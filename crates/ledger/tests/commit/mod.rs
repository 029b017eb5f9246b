//! The commit account of the host that the tests run on.

mod quiet;
mod table;

use plimsoll_proc::Root;
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_testkit::puppet::mappings::Mappings;
use plimsoll_testkit::puppet::{heaps, play};

/// Plays the puppet that makes mappings.
#[test]
fn mapper() {
    let mut mappings = Mappings::default();
    play(|order| mappings.obey(order));
}

/// Plays the puppet whose threads fill their arenas.
#[test]
fn arenas() {
    play(heaps::obey);
}

fn meminfo(root: &Root) -> Meminfo {
    Meminfo::parse(&root.read("proc/meminfo").unwrap())
}
