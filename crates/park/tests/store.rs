//! The store keeps its promises: what comes back is what went in, or an error; never another page.

use plimsoll_park::store::{
    Codec, FrameReader, Identity, Origin, PageSource, Pages, Parked, Place, Planned, SLICE_BYTES,
    Slice, Slot, Store, StoreError, Writer,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;

/// The memory of a tree: pages by process and address, each made from a seed (0: all zeros).
#[derive(Debug, Clone, Default)]
struct Memory(BTreeMap<(u32, u64), u8>);

impl Memory {
    fn page(seed: u8, address: u64) -> Vec<u8> {
        let mut state = u64::from(seed) << 40 | address;
        (0..PAGE)
            .map(|at| match seed % 4 {
                0 => seed,
                1 => u8::try_from(at % 7).unwrap(),
                _ => {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    state.to_le_bytes()[6]
                }
            })
            .collect()
    }

    /// Contiguous slices in order, as parking would give them.
    fn slices(&self) -> Vec<Slice> {
        let mut slices: Vec<Slice> = Vec::new();
        for (slot, address) in self.0.keys() {
            match slices.last_mut() {
                Some(last)
                    if last.slot.0 == *slot
                        && last.address + last.bytes as u64 == *address
                        && last.bytes < SLICE_BYTES =>
                {
                    last.bytes += 4096;
                }
                _ => slices.push(Slice {
                    slot: Slot(*slot),
                    address: *address,
                    bytes: 4096,
                    origin: Origin::Own,
                }),
            }
        }
        slices
    }
}

impl PageSource for Memory {
    fn read(&self, slice: &Slice, into: &mut [u8]) -> io::Result<()> {
        for (number, page) in into.chunks_mut(4096).enumerate() {
            let address = slice.address + number as u64 * PAGE;
            let seed = self.0.get(&(slice.slot.0, address));
            let seed = seed.ok_or_else(|| io::Error::other("no such page"))?;
            page.copy_from_slice(&Self::page(*seed, address));
        }
        Ok(())
    }
}

fn identity() -> Identity {
    let process = |pid| Parked {
        pid,
        starttime: 7,
        comm: *b"victim\0\0\0\0\0\0\0\0\0\0",
    };
    Identity {
        boot_id: [7; 16],
        page_size: PAGE,
        created_s: 1,
        processes: vec![process(100), process(101), process(102)],
    }
}

fn planned(dir: &Path) -> Planned {
    let place = Place::new(vec![dir.join("root")]).even_in_memory();
    place.choose(0).unwrap().plan(100, 7).unwrap()
}

/// Stores all of `memory`, in groups of `group` slices; finishes it or leaves it as a kill would.
fn store(dir: &Path, memory: &Memory, codec: Codec, group: usize, finish: bool) -> PathBuf {
    let mut writer = Writer::create(&planned(dir), &identity(), codec, 0).unwrap();
    for slices in memory.slices().chunks(group) {
        writer.pack(memory, slices).unwrap();
    }
    let path = writer.dir().to_owned();
    if finish {
        let stored = writer.finish().unwrap();
        assert_eq!(stored.moved_bytes, memory.0.len() as u64 * PAGE);
        let length = std::fs::metadata(path.join("pages")).unwrap().len();
        assert_eq!(stored.stored_bytes, length);
    }
    path
}

/// Every page by address is right, or gives an error; counts the errors. Pages never stored are not found.
fn read_all(store: &Store, memory: &Memory) -> usize {
    let mut reader = FrameReader::new();
    let mut errors = 0;
    for ((slot, address), seed) in &memory.0 {
        let found = store.at_or_after(Slot(*slot), *address);
        let read = match &found {
            Ok(Some(run)) => reader.read(store, run, *address),
            Ok(None) => panic!("a stored page has no entry"),
            Err(_) => {
                errors += 1;
                continue;
            }
        };
        let expected = Memory::page(*seed, *address);
        match read {
            Ok(Pages::Zeros(len)) => assert!(len >= PAGE && expected.iter().all(|byte| *byte == 0)),
            Ok(Pages::Bytes(bytes)) => assert!(bytes[..4096] == expected, "a wrong page"),
            Err(_) => errors += 1,
        }
    }
    errors
}

fn memory() -> impl Strategy<Value = Memory> {
    let run = (
        0u32..3,
        0u64..600,
        prop::collection::vec(prop_oneof![Just(0u8), 1u8..255], 1..150),
    );
    prop::collection::vec(run, 1..6).prop_map(|runs| {
        let mut memory = Memory::default();
        for (slot, start, seeds) in runs {
            for (number, seed) in seeds.into_iter().enumerate() {
                memory
                    .0
                    .insert((slot, (start + number as u64) * PAGE), seed);
            }
        }
        memory
    })
}

/// A few frames of each kind, small enough to break at every byte.
fn small() -> Memory {
    let mut memory = Memory::default();
    for (slot, first, seeds) in [
        (0, 1, &[1u8, 1, 0, 0, 0, 0, 0, 1][..]),
        (1, 1, &[2]),
        (2, 9, &[0, 0, 0, 0]),
    ] {
        for (number, seed) in seeds.iter().enumerate() {
            memory
                .0
                .insert((slot, (first + number as u64) * PAGE), *seed);
        }
    }
    memory
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_set_of_pages_comes_back(memory in memory(), codec in 0usize..3, group in 1usize..9) {
        let codec = [Codec::None, Codec::Lz4, Codec::Zstd][codec];
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&store(dir.path(), &memory, codec, group, true)).unwrap();
        store.verify().unwrap();
        prop_assert_eq!(read_all(&store, &memory), 0);
        for slot in 0..3 {
            for address in (0..800 * PAGE).step_by(4096) {
                let run = store.at_or_after(Slot(slot), address).unwrap();
                let held = run.is_some_and(|run| run.address <= address);
                prop_assert_eq!(held, memory.0.contains_key(&(slot, address)));
                let next = run.map(|run| run.address.max(address));
                let real = memory.0.range((slot, address)..(slot + 1, 0)).next().map(|((_, at), _)| *at);
                prop_assert_eq!(next, real);
            }
        }
    }

    #[test]
    fn a_killed_writer_leaves_a_store_that_can_be_taken_up(memory in memory(), group in 1usize..9) {
        let dir = tempfile::tempdir().unwrap();
        let path = store(dir.path(), &memory, Codec::Lz4, group, false);
        prop_assert!(matches!(Store::open(&path), Err(StoreError::Unfinished { .. })), "unfinished");
        // A group that was being written when its writer died.
        let pages = path.join("pages");
        let mut bytes = std::fs::read(&pages).unwrap();
        bytes.extend_from_slice(&[0x5a; 5000]);
        std::fs::write(&pages, bytes).unwrap();
        let store = Store::recover(&path).unwrap();
        store.verify().unwrap();
        prop_assert_eq!(read_all(&store, &memory), 0);
    }
}

/// Every byte near the start of a block, where structures lie, and a sample of the rest.
fn telling(length: usize) -> impl DoubleEndedIterator<Item = usize> {
    (0..length).filter(|at| at % 4096 < 256 || at % 23 == 0)
}

/// A directory in memory: these tests break and open a store over and over.
fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

#[test]
fn a_changed_byte_is_seen_and_never_gives_a_wrong_page() {
    let dir = quick_dir();
    let path = store(dir.path(), &small(), Codec::Lz4, 1, true);
    for name in ["pages", "index"] {
        let file = path.join(name);
        let whole = std::fs::read(&file).unwrap();
        let broken = std::fs::File::options().write(true).open(&file).unwrap();
        for at in telling(whole.len()) {
            broken
                .write_all_at(&[whole[at] ^ (1 << (at % 8))], at as u64)
                .unwrap();
            if let Ok(store) = Store::open(&path) {
                read_all(&store, &small());
                assert!(store.verify().is_err(), "{name}, byte {at}");
            }
            broken.write_all_at(&whole[at..=at], at as u64).unwrap();
        }
    }
    Store::open(&path).unwrap().verify().unwrap();
}

#[test]
fn no_cut_goes_unseen() {
    let dir = quick_dir();
    let path = store(dir.path(), &small(), Codec::Lz4, 1, true);
    for name in ["index", "pages"] {
        let file = path.join(name);
        let whole = std::fs::read(&file).unwrap();
        let cut = std::fs::File::options().write(true).open(&file).unwrap();
        for length in telling(whole.len()).rev() {
            cut.set_len(length as u64).unwrap();
            assert!(Store::open(&path).is_err(), "{name}, cut to {length}");
            if name == "pages" {
                assert!(
                    Store::recover(&path).is_err(),
                    "taken up though cut to {length}"
                );
            }
        }
        std::fs::write(&file, &whole).unwrap();
    }
    Store::open(&path).unwrap().verify().unwrap();
}

#[test]
fn a_frame_of_another_place_or_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (tempfile::tempdir().unwrap(), &dir);
    let first = store(one.path(), &small(), Codec::None, 9, true);
    let second = store(two.path(), &small(), Codec::None, 9, true);
    let other = std::fs::read(first.join("pages")).unwrap();
    let pages = second.join("pages");
    let mut mixed = std::fs::read(&pages).unwrap();
    mixed[4096..].copy_from_slice(&other[4096..]);
    std::fs::write(&pages, &mixed).unwrap();
    let store = Store::open(&second).unwrap();
    let stored_plainly = small().0.values().filter(|seed| **seed != 0).count();
    assert_eq!(read_all(&store, &small()), stored_plainly);
}

#[test]
fn pages_shared_by_fork_are_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut memory = Memory::default();
    for page in 0..200u64 {
        memory
            .0
            .insert((0, page * PAGE), 2 + u8::try_from(page % 100).unwrap() * 2);
    }
    let mut writer = Writer::create(&planned(dir.path()), &identity(), Codec::None, 0).unwrap();
    writer.pack(&memory, &memory.slices()).unwrap();
    let shared = Slice {
        slot: Slot(1),
        address: 50 * PAGE,
        bytes: 100 * 4096,
        origin: Origin::Stored(Slot(0), 50 * PAGE),
    };
    writer.pack(&memory, &[shared]).unwrap();
    let path = writer.dir().to_owned();
    let stored = writer.finish().unwrap();
    assert_eq!(stored.moved_bytes, 200 * PAGE);
    assert_eq!(stored.copies_bytes, 100 * PAGE);
    assert!(stored.stored_bytes < 210 * PAGE);
    for page in 50..150 {
        let seed = memory.0[&(0, page * PAGE)];
        memory.0.insert((1, page * PAGE), seed);
    }
    let store = Store::open(&path).unwrap();
    store.verify().unwrap();
    assert_eq!(read_all(&store, &memory), 0);
}

#[test]
fn a_tree_that_cannot_be_read_is_not_parked() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(&planned(dir.path()), &identity(), Codec::Lz4, 0).unwrap();
    writer.pack(&small(), &small().slices()).unwrap();
    let absent = Slice {
        slot: Slot(2),
        address: 1 << 30,
        bytes: 4096,
        origin: Origin::Own,
    };
    let refused = writer.pack(&small(), &[absent]);
    assert!(matches!(refused, Err(StoreError::Source { slot: 2, .. })));
    let path = writer.dir().to_owned();
    drop(writer);
    // What went before can still be had.
    assert_eq!(read_all(&Store::recover(&path).unwrap(), &small()), 0);
}

#[test]
fn what_a_host_left_behind_when_it_went_down_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = plimsoll_park::runtime::Runtime::at(dir.path().join("run")).unwrap();
    let root = plimsoll_proc::Root::live();
    let left = store(dir.path(), &small(), Codec::Lz4, 1, true);
    let place = Place::new(vec![dir.path().join("root")]).even_in_memory();
    // One that can't be read stays for a person to look at.
    let unreadable = store(dir.path(), &small(), Codec::Lz4, 1, true);
    std::fs::write(unreadable.join("pages"), [0x5a; 8192]).unwrap();
    plimsoll_park::known::sweep(&root, &runtime, &place).unwrap();
    assert!(!left.exists() && unreadable.exists());
}
