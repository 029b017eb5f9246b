//! Sets that build on others, and packed ones: smaller, and restored to the same.

use crate::tree::{PATIENCE, Tree, restore};
use plimsoll_checkpoint::{After, Dump, Options, Place};
use plimsoll_proc::Root;
use plimsoll_testkit::{apart, need};
use std::collections::BTreeMap;
use std::path::Path;

/// Holds 8 MiB that stay, and changes a little each turn; shared memory, too.
const CHANGES: &str = r#"
import hashlib, mmap, os, time
data = bytearray(os.urandom(8 << 20)); digest = hashlib.sha256(data).digest()
shared = mmap.mmap(-1, 1 << 20); shared.write(os.urandom(1 << 20)); shared[:8] = bytes(8)
turn = 0
while True:
    turn += 1
    shared[:8] = turn.to_bytes(8, "big")
    assert hashlib.sha256(data).digest() == digest, "memory"
    assert int.from_bytes(shared[:8], "big") == turn, "shared memory"
    print("turn", turn); time.sleep(0.02)
"#;

fn dump(tree: &mut Tree, images: &Path, after: After, parent: Option<&Path>, pack: bool) -> u64 {
    let root = Root::live();
    let dump = Dump {
        root: &root,
        pid: tree.pid,
        directory: images,
        place: Place::Fresh,
        parent,
        pack,
        after,
        timeout: PATIENCE,
        options: Options::default(),
        group_roots: &BTreeMap::new(),
    };
    let dumped = dump.run().unwrap();
    if after == After::End {
        tree.reap();
    }
    dumped.pages
}

fn bytes(images: &Path) -> u64 {
    let files = std::fs::read_dir(images).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

fn goes_on(tree: &Tree, images: &Path) {
    let said = tree.says().len();
    restore(images).unwrap();
    let says = tree.hear(said + 5);
    for (i, line) in says.iter().enumerate() {
        assert_eq!(*line, format!("turn {}", i + 1), "{says:?}");
    }
}

#[test]
fn a_set_holds_what_has_changed_since_its_parent() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(CHANGES);
    let dir = tree.dir.path().to_owned();
    let [first, second, third] = ["first", "second", "third"].map(|name| dir.join(name));
    let all = dump(&mut tree, &first, After::Run, None, false);
    let said = tree.says().len();
    tree.hear(said + 3);
    let changed = dump(&mut tree, &second, After::Run, Some(&first), true);
    assert!(changed * 4 < all, "{changed} of {all} pages");
    // The parent's parent is asked, too.
    let again = dump(&mut tree, &third, After::End, Some(&second), false);
    assert!(again * 4 < all, "{again} of {all} pages");
    goes_on(&tree, &third);
}

#[test]
fn packed_pages_are_restored_and_fewer() {
    need!(Root, Program("python3"));
    apart!();
    let mut tree = Tree::start(CHANGES);
    let dir = tree.dir.path().to_owned();
    let [raw, packed] = ["raw", "packed"].map(|name| dir.join(name));
    dump(&mut tree, &raw, After::Run, None, false);
    dump(&mut tree, &packed, After::End, None, true);
    assert!(bytes(&packed) < bytes(&raw));
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 3); // and what the tree says
    goes_on(&tree, &packed);
}
