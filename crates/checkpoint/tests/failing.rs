//! What fails leaves no trace.

use crate::tree::{Tree, restore};
use plimsoll_checkpoint::{After, Error};
use plimsoll_testkit::{apart, need};

const COUNTS: &str =
    "import time\nturn = 0\nwhile True:\n    turn += 1\n    print(turn)\n    time.sleep(0.01)\n";

#[test]
fn a_pid_that_is_taken_is_refused_and_its_owner_runs_on() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(COUNTS);
    tree.dump(After::Run).unwrap();
    assert!(matches!(tree.restore(), Err(Error::Refused(_))));
    let said = tree.says().len();
    tree.hear(said + 3);
}

#[test]
fn a_directory_that_exists_is_left_alone() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(COUNTS);
    std::fs::create_dir(tree.images()).unwrap();
    assert!(tree.dump(After::End).is_err());
    assert!(tree.is_alive());
    assert_eq!(std::fs::read_dir(tree.images()).unwrap().count(), 0);
    let said = tree.says().len();
    tree.hear(said + 3);
}

#[test]
fn images_that_are_cut_leave_no_process() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(COUNTS);
    tree.dump(After::End).unwrap();
    let pages = std::fs::OpenOptions::new()
        .write(true)
        .open(tree.images().join("pages-1.img"))
        .unwrap();
    let whole = pages.metadata().unwrap().len();
    pages.set_len(whole / 2).unwrap();
    assert!(restore(&tree.images()).is_err());
    assert!(!tree.is_alive());
}
