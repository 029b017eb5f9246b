//! Two sets compared.

use crate::sets::fixture;
use plimsoll_image::diff::diff;
use plimsoll_image::proto::CoreEntry;
use plimsoll_image::{Kind, read_one, write_all};
use std::ffi::OsString;

#[test]
fn a_set_is_like_itself() {
    for name in ["sleep", "pipeline", "many"] {
        let set = fixture(name);
        assert!(diff(&set, &set).unwrap().is_none(), "{name}");
    }
}

#[test]
fn what_differs_is_named() {
    let a = fixture("sleep");
    let mut b = a.clone();
    let core = OsString::from("core-18666.img");
    let mut entry = read_one::<CoreEntry>(Kind::Core, a.files[&core].as_slice()).unwrap();
    entry.tc.as_mut().unwrap().comm = b"awake".to_vec();
    b.files
        .insert(core, write_all(Kind::Core, [&entry]).unwrap());
    b.files.get_mut(&OsString::from("pages-1.img")).unwrap()[5000] ^= 1;
    b.files.remove(&OsString::from("seccomp.img"));
    let difference = diff(&a, &b).unwrap();
    assert_eq!(difference.only_in_a, ["seccomp.img"]);
    assert!(difference.only_in_b.is_empty());
    let [image] = difference.images.as_slice() else {
        panic!("{difference:?}")
    };
    assert_eq!((image.file.as_str(), image.count), ("core-18666.img", 1));
    assert_eq!(image.fields[0].path, "0.tc.comm");
    assert_eq!(image.fields[0].a.as_deref(), Some("sleep"));
    assert_eq!(image.fields[0].b.as_deref(), Some("awake"));
    let [memory] = difference.memory.as_slice() else {
        panic!("{difference:?}")
    };
    assert_eq!((memory.changed_pages, memory.addresses.len()), (1, 1));
}
