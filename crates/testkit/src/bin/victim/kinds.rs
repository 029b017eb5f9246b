//! Memory of every kind that a mapping can be, each written and checked in turn, and threads that write all the time.

use plimsoll_sys::region::Region;
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

const BYTES: usize = 2 << 20;
const THREADS: u64 = 3;

struct Kind {
    name: &'static str,
    region: Region,
    seed: u64,
    read_only: bool,
}

/// One kind each time.
pub(crate) fn kinds() -> Result<impl FnMut() -> Result<(), String>, String> {
    let mut kinds = all().map_err(|error| error.to_string())?;
    for seed in 0..THREADS {
        std::thread::spawn(move || write_for_ever(seed << 32));
    }
    let mut turn = 0;
    Ok(move || {
        turn += 1;
        let of_all = kinds.len();
        let Some(kind) = kinds.get_mut(turn % of_all) else {
            return Ok(());
        };
        if let Some((index, is)) = kind.region.wrong_word(kind.seed) {
            return Err(format!("{}: word {index} is {is:#x}", kind.name));
        }
        if !kind.read_only && turn % 3 == 0 {
            kind.seed = turn as u64;
            kind.region.write_words(kind.seed);
        }
        if turn % 16 == 0 {
            crate::sleeps::nap();
        }
        Ok(())
    })
}

fn write_for_ever(mut seed: u64) {
    let all = ProtFlags::READ | ProtFlags::WRITE;
    let Ok(mut region) = Region::map(BYTES, all, MapFlags::PRIVATE, None) else {
        return;
    };
    loop {
        seed += 1;
        region.write_words(seed);
        if let Some((index, is)) = region.wrong_word(seed) {
            eprintln!("victim: word {index} of a thread is {is:#x}");
            std::process::exit(1);
        }
    }
}

fn all() -> io::Result<Vec<Kind>> {
    let file = || -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR)?;
        sized(file.into())
    };
    let memfd = || sized(rustix::fs::memfd_create("victim", MemfdFlags::CLOEXEC)?.into());
    let (private, shared) = (MapFlags::PRIVATE, MapFlags::SHARED);
    let mut kinds = vec![
        kind("anonymous", private, None)?,
        kind("without reserve", private | MapFlags::NORESERVE, None)?,
        kind("shared", shared, None)?,
        kind("memfd", shared, Some(memfd()?))?,
        kind("private memfd", private, Some(memfd()?))?,
        kind("file", shared, Some(file()?))?,
        kind("private file", private, Some(file()?))?,
        kind("locked", private | MapFlags::LOCKED, None)?,
        filled("SysV", Region::sysv(BYTES, 0)?),
    ];
    // Only where a pool has been set up.
    kinds.extend(kind("hugetlb", private | MapFlags::HUGETLB, None));
    let mut huge = kind("huge", private, None)?;
    huge.region.advise(Advice::LinuxHugepage)?;
    kinds.push(huge);
    let mut read_only = kind("read-only", private, None)?;
    read_only.region.protect(MprotectFlags::READ)?;
    read_only.read_only = true;
    kinds.push(read_only);
    Ok(kinds)
}

fn sized(file: File) -> io::Result<File> {
    file.set_len(BYTES as u64)?;
    Ok(file)
}

fn kind(name: &'static str, flags: MapFlags, file: Option<File>) -> Result<Kind, Errno> {
    let all = ProtFlags::READ | ProtFlags::WRITE;
    let region = Region::map(BYTES, all, flags, file.as_ref().map(AsFd::as_fd))?;
    Ok(filled(name, region))
}

fn filled(name: &'static str, mut region: Region) -> Kind {
    region.write_words(1);
    Kind {
        name,
        region,
        seed: 1,
        read_only: false,
    }
}
