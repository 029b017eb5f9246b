//! Work whose memory is all wanted, over and over: whatever of it is dropped or paged out comes back at once.
//!
//! ```text
//! victim rounds MIB [DIR]   goes round so much memory, checking each word: its own, or, where a directory is named, that of files
//!                           there, mapped (made once, and then on the disk). Writes how many MiB it has gone over, each second
//! ```

use plimsoll_sys::region::Region;
use rustix::mm::{MapFlags, ProtFlags};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

const PART_MIB: usize = 8;
const PART_BYTES: usize = PART_MIB << 20;
const SEED: u64 = 11;

pub(crate) fn rounds(mib: u64, dir: Option<&Path>) -> Result<(), String> {
    let parts = usize::try_from(mib).unwrap_or(0) / PART_MIB;
    let part = |number| match dir {
        Some(dir) => of_file(&dir.join(format!("part{number}"))),
        None => own(),
    };
    let parts: Vec<Region> = (0..parts)
        .map(part)
        .collect::<Result<_, std::io::Error>>()
        .map_err(|error| error.to_string())?;
    let (mut gone_over_mib, mut said) = (0, Instant::now());
    for part in parts.iter().cycle() {
        if let Some((place, word)) = part.wrong_word(SEED) {
            return Err(format!("word {place} is {word:#x}"));
        }
        gone_over_mib += PART_MIB;
        if said.elapsed() >= Duration::from_secs(1) {
            println!("{gone_over_mib}");
            said = Instant::now();
        }
    }
    Ok(())
}

fn own() -> std::io::Result<Region> {
    let mut part = Region::map(
        PART_BYTES,
        ProtFlags::READ | ProtFlags::WRITE,
        MapFlags::PRIVATE,
        None,
    )?;
    part.write_words(SEED);
    Ok(part)
}

fn of_file(path: &Path) -> std::io::Result<Region> {
    if !path.exists() {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        file.set_len(PART_BYTES as u64)?;
        let both = ProtFlags::READ | ProtFlags::WRITE;
        Region::map(PART_BYTES, both, MapFlags::SHARED, Some(file.as_fd()))?.write_words(SEED);
        file.sync_all()?;
    }
    let file = File::open(path)?;
    Ok(Region::map(
        PART_BYTES,
        ProtFlags::READ,
        MapFlags::SHARED,
        Some(file.as_fd()),
    )?)
}
