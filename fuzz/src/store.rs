//! The store of parked pages, and the record of a parked tree: files that somebody else may have changed.

use plimsoll_park::runtime::Runtime;
use plimsoll_park::store::{
    Codec, FrameReader, Identity, Origin, PageSource, Pages, Parked, Place, Slice, Slot, Store,
    Writer,
};
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const PAGE: usize = 4096;
const PAGES: u64 = 12;
const FILES: [&str; 3] = ["pages", "index", "journal"];

/// Pages that pack well, pages that don't, and zeros.
struct Source;

impl PageSource for Source {
    fn read(&self, slice: &Slice, into: &mut [u8]) -> io::Result<()> {
        for (number, page) in into.chunks_mut(PAGE).enumerate() {
            page.copy_from_slice(&content(slice.address + (number * PAGE) as u64));
        }
        Ok(())
    }
}

fn content(address: u64) -> Vec<u8> {
    let seed = address / PAGE as u64;
    let byte = |at: u64| match seed % 3 {
        0 => 0,
        1 => (at % 7) as u8,
        _ => ((at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as u8,
    };
    (0..PAGE as u64).map(byte).collect()
}

/// A store with both codecs' frames, made once; its files.
fn whole() -> &'static (PathBuf, [Vec<u8>; 3]) {
    static STORE: OnceLock<(PathBuf, [Vec<u8>; 3])> = OnceLock::new();
    STORE.get_or_init(|| {
        let dir = PathBuf::from(format!("/dev/shm/plimsoll-fuzz-{}", std::process::id()));
        let place = Place::new(vec![dir.join("stores")]).even_in_memory();
        let planned = place.choose(0).and_then(|room| room.plan(1, 1)).unwrap();
        let identity = Identity {
            boot_id: [1; 16],
            page_size: PAGE as u64,
            created_s: 1,
            processes: vec![Parked {
                pid: 1,
                starttime: 1,
                comm: [0; 16],
            }],
        };
        let mut writer = Writer::create(&planned, &identity, Codec::Lz4, 0).unwrap();
        for page in 1..=PAGES {
            let slice = Slice {
                slot: Slot(0),
                address: page * PAGE as u64,
                bytes: PAGE,
                origin: Origin::Own,
            };
            writer.pack(&Source, &[slice]).unwrap();
        }
        let path = writer.dir().to_owned();
        writer.finish().unwrap();
        let files = FILES.map(|name| fs::read(path.join(name)).unwrap());
        (path, files)
    })
}

/// Changes to a store: each four bytes say in which file, where, and what is put there. What is read back is what was
/// written, or an error; with checksums that are made right again, anything but a panic.
pub fn store(bytes: &[u8]) {
    let (path, whole) = whole();
    let mut files = whole.clone();
    let [flags, changes @ ..] = bytes else {
        return;
    };
    let sealed = flags & 1 != 0;
    for change in changes.chunks_exact(4) {
        let file = &mut files[usize::from(change[0] % 3)];
        // Structures lie at the beginnings of blocks.
        let at = usize::from(u16::from_le_bytes([change[1], change[2]]));
        let at = (at >> 8) * PAGE + (at & 0xff);
        if let Some(place) = file.get_mut(at) {
            *place = change[3];
        }
    }
    if flags & 2 != 0 {
        let file = &mut files[usize::from(flags >> 2) % 3];
        file.truncate(file.len().saturating_sub(usize::from(flags >> 4) * 128));
    }
    if sealed {
        seal(&mut files);
    }
    for (name, file) in FILES.iter().zip(&files) {
        fs::write(path.join(name), file).unwrap();
    }
    if flags & 4 != 0 {
        fs::remove_file(path.join("index")).unwrap();
        black_box(Store::recover(path).err());
    }
    if let Ok(store) = Store::open(path) {
        black_box(store.verify().err());
        read_all(&store, sealed);
    }
}

fn read_all(store: &Store, sealed: bool) {
    let mut reader = FrameReader::new();
    for page in 0..PAGES + 2 {
        let address = page * PAGE as u64;
        let Ok(Some(run)) = store.at_or_after(Slot(0), address) else {
            continue;
        };
        if run.address > address {
            continue;
        }
        match reader.read(store, &run, address) {
            Ok(Pages::Bytes(bytes)) if !sealed => assert_eq!(bytes[..PAGE], content(address)),
            Ok(Pages::Zeros(_)) if !sealed => {
                assert!(content(address).iter().all(|byte| *byte == 0))
            }
            other => drop(black_box(other.map(|_| ()))),
        }
    }
}

/// Makes checksums right: of the header of `pages`, of frames that follow it, of blocks, of records.
fn seal(files: &mut [Vec<u8>; 3]) {
    let [pages, index, journal] = files;
    let put = |bytes: &mut [u8], at: usize, with: &[&[u8]]| {
        let mut crc = crc32fast::Hasher::new();
        with.iter().for_each(|part| crc.update(part));
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&crc.finalize().to_le_bytes());
        }
    };
    let header = PAGE.min(pages.len());
    if header >= 60 {
        pages[56..60].fill(0);
        let copy = pages[..header].to_vec();
        put(&mut pages[..header], 56, &[&copy]);
    }
    let mut at = header;
    while let Some(frame) = pages.get(at..at + 48) {
        let payload = u32::from_le_bytes([frame[44], frame[45], frame[46], frame[47]]) as usize;
        let end = at
            .saturating_add(48)
            .saturating_add(payload)
            .min(pages.len());
        let copy = pages[at..end].to_vec();
        put(&mut pages[at..end], 4, &[&copy[..4], &copy[8..]]);
        at = end.max(at + 48);
    }
    for (file, length) in [(index, PAGE), (journal, 48)] {
        for block in file.chunks_mut(length).filter(|block| block.len() >= 8) {
            let copy = block.to_vec();
            put(block, 4, &[&copy[..4], &copy[8..]]);
        }
    }
}

/// The record of a parked tree, with what lies beside it.
pub fn record(bytes: &[u8]) {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let base = DIR.get_or_init(|| {
        PathBuf::from(format!("/dev/shm/plimsoll-fuzz-run-{}", std::process::id()))
    });
    let runtime = Runtime::at(base.clone()).unwrap();
    let tree: &Path = &base.join("parked/1-1");
    fs::create_dir_all(tree).unwrap();
    let mut parts = bytes.split(|byte| *byte == 0);
    for name in ["record", "child.0.1", "guardian.0"] {
        fs::write(tree.join(name), parts.next().unwrap_or_default()).unwrap();
    }
    for record in runtime.records().unwrap().into_iter().flatten() {
        black_box((record.names().count(), record.means.name()));
    }
}
