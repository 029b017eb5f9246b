//! A recorder that runs: what it allocates, what it writes, and that a captured tree's readers read it.

use crate::ALLOCATOR;
use plimsoll_proc::Root;
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_record::{Beat, Note, Recorder, Recording, Ring, Sampler, Settings};
use stats_alloc::Region;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Every test of this binary runs in a process of its own, so that what is counted is its own.
#[test]
fn a_beat_allocates_nothing() {
    let mut sampler = Sampler::open().unwrap();
    let mut ring = Ring::new(1 << 20, sampler.beat());
    let region = Region::new(ALLOCATOR);
    for _ in 0..200 {
        assert!(ring.push(sampler.beat()));
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    drop(Beat::with_room(1, 1));
    assert_eq!(region.change().allocations, 2, "the count counts");
}

#[test]
fn it_is_written_when_told_and_at_the_end_and_the_oldest_give_way() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("recordings");
    std::fs::create_dir(&directory).unwrap();
    for old in 0..10 {
        let name = format!("plimsoll-000000000{old}-told.rec");
        std::fs::write(directory.join(name), "").unwrap();
    }
    std::fs::write(directory.join("not ours.rec"), "").unwrap();
    let settings = Settings {
        every: Duration::from_millis(20),
        directory: directory.clone(),
    };
    let (mut teller, told) = UnixStream::pair().unwrap();
    let (ender, end) = UnixStream::pair().unwrap();
    let mut written = Vec::new();
    let mut note = |note| match note {
        Note::Written(_, name) => {
            written.push(name);
            ender.shutdown(std::net::Shutdown::Both).unwrap();
        }
        Note::NotWritten(error) => panic!("{error}"),
        Note::Weaker(..) => {}
    };
    let recorder = Recorder::prepare(&settings, &mut note).unwrap();
    let asking = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        teller.write_all(b"x").unwrap();
        teller
    });
    let ended = recorder.run(end.as_fd(), told.as_fd(), &mut note).unwrap();
    drop(asking.join().unwrap());
    assert!(ended.beats >= 2, "{ended:?}");
    let [told, end] = written.as_slice() else {
        panic!("{written:?}")
    };
    assert!(told.ends_with("-told.rec") && end.ends_with("-end.rec"));
    let mut names: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    // The recordings, the pipe that others ask by, and what is not ours.
    assert_eq!(names.len(), plimsoll_record::FILES_KEPT + 2, "{names:?}");
    assert!(directory.join("tell").exists());
    assert!(directory.join("not ours.rec").exists());
    assert!(directory.join("plimsoll-0000000009-told.rec").exists());

    let recording = Recording::read(&directory.join(end)).unwrap();
    assert_eq!(recording.damaged_slots(), 0);
    assert_eq!(recording.moments().count() as u64, ended.beats);
    let last = recording.at(i64::MAX).unwrap();
    let tree = scratch.path().join("tree");
    recording.lay_out(last, &tree).unwrap();
    let root = Root::captured(&tree).unwrap();
    let there = Meminfo::parse(&root.read("proc/meminfo").unwrap());
    let here = Meminfo::parse(&Root::live().read("proc/meminfo").unwrap());
    assert!(there.mem_total.is_some());
    assert_eq!(there.mem_total, here.mem_total);
    let largest = std::fs::read_dir(tree.join("proc")).unwrap().flatten();
    let processes = largest
        .filter(|entry| entry.path().join("status").exists())
        .count();
    assert!(processes > 0);
}
