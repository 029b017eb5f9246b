//! The commit account of the host that the tests run on.

mod quiet;

use plimsoll_proc::Root;
use plimsoll_proc::meminfo::Meminfo;

fn meminfo(root: &Root) -> Meminfo {
    Meminfo::parse(&root.read("proc/meminfo").unwrap())
}
