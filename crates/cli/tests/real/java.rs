//! A JVM with a heap of 1 GiB.

use super::running::Lines;
use super::{directory, fixture, ten_rounds};
use plimsoll_testkit::need;
use plimsoll_units::Bytes;
use std::process::Command;

#[test]
fn a_heap_of_one_gibibyte() {
    need!(
        Root,
        Userfaultfd,
        Program("java"),
        Program("javac"),
        MemoryFree(Bytes::from_mib(3072))
    );
    let classes = directory();
    let mut javac = Command::new("javac");
    javac
        .arg("-d")
        .arg(classes.path())
        .arg(fixture("Heap.java"));
    assert!(javac.status().unwrap().success());
    let mut java = Command::new("java");
    java.args(["-Xms1g", "-Xmx1g", "-cp"]).arg(classes.path());
    let mut java = Lines::start(java.arg("Heap"));
    ten_rounds("java", java.running.pid(), &mut java);
}
