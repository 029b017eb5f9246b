//! Who belongs to a tree.

use plimsoll_proc::Root;
use plimsoll_surgery::tree::{Extent, members};
use std::process::Command;

#[test]
fn descendants_belong_and_we_do_not() {
    let mut shell = Command::new("sh")
        .args(["-c", "sleep 1000 & sleep 1000 & wait"])
        .spawn()
        .unwrap();
    let root = Root::live();
    let tree = loop {
        let tree = members(&root, shell.id(), Extent::Whole).unwrap();
        if tree.len() == 3 {
            break tree;
        }
    };
    assert_eq!(tree.first().unwrap().pid, shell.id());
    assert_eq!(members(&root, shell.id(), Extent::Only).unwrap().len(), 1);
    let ours = members(&root, std::process::id(), Extent::Whole).unwrap();
    assert!(tree.iter().all(|process| ours.contains(process)));
    assert!(ours.iter().all(|process| process.pid != std::process::id()));
    for process in tree.iter().rev() {
        let _ =
            rustix::process::kill_process(process.pid().unwrap(), rustix::process::Signal::KILL);
    }
    shell.wait().unwrap();
    assert_eq!(members(&root, shell.id(), Extent::Whole).unwrap(), []);
}
