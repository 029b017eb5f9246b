//! What looking finds of things that this test, or a victim of it, has made.

use plimsoll_proc::found::{Found, MemoryFileKind, look};
use plimsoll_proc::{Root, page_size};
use plimsoll_sys::{secretmem::Area, sysv_shm::Segment};
use plimsoll_testkit::{Victim, need};
use plimsoll_units::Bytes;
use std::io::Write;

fn find() -> Found {
    let root = Root::live();
    look(&root, page_size::read(&root).unwrap()).unwrap()
}

#[test]
fn a_deleted_tmpfs_file_has_a_holder_and_its_old_name() {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    file.write_all(&[1; 100_000]).unwrap();
    let (file, path) = file.into_parts();
    let name = path.to_str().unwrap().to_owned();
    path.close().unwrap();

    let found = find();
    let held = found
        .memory_files
        .iter()
        .find(|held| held.name == name)
        .unwrap();
    assert_eq!(
        (held.pid, held.kind),
        (std::process::id(), MemoryFileKind::Deleted)
    );
    assert!(held.bytes >= Bytes(100_000));
    let mount = found
        .tmpfs
        .iter()
        .find(|tmpfs| tmpfs.device == held.device)
        .unwrap();
    assert!(mount.used_bytes >= held.bytes);
    drop(file);
}

#[test]
fn a_segment_that_nobody_is_attached_to() {
    let segment = Segment::create(3 << 20).unwrap();
    let filled = segment.fill(1);
    let found = find();
    segment.remove().unwrap();
    filled.unwrap();
    let orphan = (found.segments.iter())
        .find(|orphan| i32::try_from(orphan.shmid) == Ok(segment.shmid()))
        .unwrap();
    assert_eq!((orphan.nattch, orphan.rss_bytes), (0, Some(Bytes(3 << 20))));
}

#[test]
fn secret_memory_is_what_is_resident_of_it() {
    need!(MemfdSecret);
    let mut area = Area::new(4 << 20).unwrap();
    let (written, _) = area.bytes_mut().split_at_mut(1 << 20);
    written.fill(1);
    let found = find();
    let mine = (found.secretmem.iter())
        .find(|area| area.pid == std::process::id())
        .unwrap();
    assert_eq!(mine.bytes, Bytes(1 << 20));
}

#[test]
fn a_ring_in_another_network_namespace() {
    need!(Root, Program("unshare"), MemoryFree(Bytes::from_mib(512)));
    let victim = Victim::start_in_own_network("packet-ring").unwrap();
    let found = find();
    let rings: Bytes = found.packet_rings.iter().map(|ring| ring.bytes()).sum();
    assert!(rings.0 >= victim.held_bytes().unwrap());
    victim.end().unwrap();
}
