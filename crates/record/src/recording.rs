//! A recording, read: which moments it has, and the files of each, laid out as a captured tree.
//!
//! A recording may come from a stranger: nothing in it is believed before its checksum is right, a path in it leads
//! nowhere but below the directory it is laid out in, and a slot that is damaged is left out and counted.

use crate::beat::{Moment, Source};
use crate::delta;
use crate::format::{Bytes, Encoding, MAGIC, SLOT_MAGIC};
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// No recording of ours is longer; what is, is not read.
const LONGEST_BYTES: u64 = 1 << 30;

/// Why a recording can't be read, or laid out.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// A file can't be read or written.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else, or of a version that is not known.
    #[error("{} is no recording, or of another version", .0.display())]
    NoRecording(PathBuf),
    /// The checksum of what stands in front is wrong.
    #[error("{} is damaged at its beginning", .0.display())]
    Damaged(PathBuf),
}

/// A recording in memory.
#[derive(Debug)]
pub struct Recording {
    page_size: u32,
    paths: Vec<String>,
    beats: Vec<Held>,
    damaged_slots: usize,
    bytes: Vec<u8>,
}

/// A beat, and where the first beat of its slot is.
#[derive(Debug)]
struct Held {
    moment: Moment,
    left_out: u32,
    texts: std::ops::Range<usize>,
    key: std::ops::Range<usize>,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// When it can't be read, is none, or its beginning is damaged. Damaged slots are left out and counted.
    pub fn read(path: &Path) -> Result<Self, RecordingError> {
        let cannot = |source| RecordingError::File {
            operation: "read",
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(cannot)?;
        file.take(LONGEST_BYTES)
            .read_to_end(&mut bytes)
            .map_err(cannot)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(RecordingError::NoRecording(path.to_owned()));
        }
        Self::parse(bytes).ok_or_else(|| RecordingError::Damaged(path.to_owned()))
    }

    /// Takes the bytes of a recording apart; `None` where their beginning makes no sense.
    #[must_use]
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let mut rest = Bytes(&bytes);
        rest.is(&MAGIC)?;
        let length = usize::try_from(rest.u32()?).ok()?;
        let crc = rest.u32()?;
        let header = rest.take(length)?;
        (crc32fast::hash(header) == crc).then_some(())?;
        let mut header = Bytes(header);
        let page_size = header.u32()?;
        let mut paths = Vec::new();
        for _ in 0..header.u16()? {
            let length = usize::from(header.u16()?);
            paths.push(String::from_utf8(header.take(length)?.to_vec()).ok()?);
        }
        let mut beats = Vec::new();
        let mut damaged_slots = 0;
        while !rest.0.is_empty() {
            let Some((slot, crc)) = slot(&mut rest) else {
                damaged_slots += 1; // where the next one begins is not known
                break;
            };
            if crc32fast::hash(slot) == crc {
                let begin = bytes
                    .len()
                    .saturating_sub(rest.0.len())
                    .saturating_sub(slot.len());
                beats.extend(held(slot, begin));
            } else {
                damaged_slots += 1;
            }
        }
        Some(Self {
            page_size,
            paths,
            beats,
            damaged_slots,
            bytes,
        })
    }

    /// How many slots were left out because their checksum is wrong.
    #[must_use]
    pub const fn damaged_slots(&self) -> usize {
        self.damaged_slots
    }

    /// When its beats were taken, oldest first, and how many files each had no room for.
    pub fn moments(&self) -> impl Iterator<Item = (Moment, u32)> {
        self.beats.iter().map(|held| (held.moment, held.left_out))
    }

    /// The last beat at or before a time (nanoseconds since 1970), or the first of all.
    #[must_use]
    pub fn at(&self, realtime_ns: i64) -> Option<usize> {
        let before = |held: &Held| held.moment.realtime_ns <= realtime_ns;
        let found = self.beats.iter().rposition(before);
        found.or((!self.beats.is_empty()).then_some(0))
    }

    /// The files of a beat: paths as on the host, without the leading slash. What makes no sense is left out.
    #[must_use]
    pub fn files(&self, beat: usize) -> Vec<(String, Vec<u8>)> {
        let Some(held) = self.beats.get(beat) else {
            return Vec::new();
        };
        let bytes = |range: &std::ops::Range<usize>| {
            Bytes(self.bytes.get(range.clone()).unwrap_or_default())
        };
        let keys: Vec<_> = texts(bytes(&held.key)).collect();
        let mut files = Vec::new();
        for (source, encoding, text) in texts(bytes(&held.texts)) {
            let key = keys.iter().find(|(candidate, ..)| *candidate == source);
            let text = match (encoding, key) {
                (Encoding::Whole, _) => Some(text.to_vec()),
                (Encoding::Delta, Some((_, Encoding::Whole, key))) => delta::decode(key, text),
                (Encoding::Delta, _) => None,
            };
            files.extend(self.path(source).zip(text));
        }
        files
    }

    fn path(&self, source: Source) -> Option<String> {
        match source {
            Source::Host(place) => self.paths.get(usize::try_from(place).ok()?).cloned(),
            Source::Stat(pid) => Some(format!("proc/{pid}/stat")),
            Source::Status(pid) => Some(format!("proc/{pid}/status")),
        }
    }

    /// Writes the files of a beat below `directory`, as a tree that [`plimsoll_proc::Root::captured`] reads.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn lay_out(&self, beat: usize, directory: &Path) -> Result<(), RecordingError> {
        let page_size = (
            plimsoll_proc::page_size::CAPTURED.to_owned(),
            self.page_size.to_string().into_bytes(),
        );
        for (path, text) in self.files(beat).into_iter().chain([page_size]) {
            let below = Path::new(&path).components();
            if !below
                .clone()
                .all(|part| matches!(part, Component::Normal(_)))
            {
                continue; // it leads elsewhere: none of ours does
            }
            write(&directory.join(below.collect::<PathBuf>()), &text)?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &[u8]) -> Result<(), RecordingError> {
    let parent = path.parent().unwrap_or(path);
    let written = fs::create_dir_all(parent).and_then(|()| fs::write(path, text));
    written.map_err(|source| RecordingError::File {
        operation: "write",
        path: path.to_owned(),
        source,
    })
}

/// The bytes of the next slot and their checksum.
fn slot<'b>(rest: &mut Bytes<'b>) -> Option<(&'b [u8], u32)> {
    rest.is(&SLOT_MAGIC)?;
    rest.u64()?;
    let length = usize::try_from(rest.u32()?).ok()?;
    let crc = rest.u32()?;
    Some((rest.take(length)?, crc))
}

/// The beats of a slot that begins at `begin`.
fn held(slot: &[u8], begin: usize) -> Vec<Held> {
    let mut rest = Bytes(slot);
    let mut beats = Vec::new();
    let mut key = None;
    while let Some((moment, left_out, texts)) = rest.beat() {
        let end = begin + (slot.len() - rest.0.len()); // within the slot
        let texts = end.saturating_sub(texts.0.len())..end;
        let key = key.get_or_insert_with(|| texts.clone()).clone();
        beats.push(Held {
            moment,
            left_out,
            texts,
            key,
        });
    }
    beats
}

fn texts(mut bytes: Bytes<'_>) -> impl Iterator<Item = (Source, Encoding, &[u8])> {
    std::iter::from_fn(move || bytes.text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beat::Beat;
    use crate::ring::Ring;
    use crate::{format, sampler};
    use proptest::prelude::*;

    /// A recording of so many beats, one a second, whose meminfo says which.
    fn recorded(beats: i64) -> Vec<u8> {
        let mut beat = Beat::with_room(4096, 8);
        let mut ring = Ring::new(2048, &beat);
        for second in 0..beats {
            beat.begin(Moment {
                realtime_ns: second * 1_000_000_000,
                boottime_ns: second,
            });
            let meminfo = format!("MemTotal: 9 kB\nMemFree: {second} kB\nBuffers: 1 kB\n");
            beat.add(Source::Host(0), meminfo.as_bytes());
            if second % 3 != 0 {
                beat.add(Source::Status(7), b"Name: x\n");
            }
            assert!(ring.push(&beat));
        }
        let mut bytes = format::file_header(4096, &sampler::HOST_FILES);
        let (mut number, mut slot) = (0, Vec::new());
        while let Some(next) = ring.copy_next(number, &mut slot) {
            number = next;
            bytes.extend(format::slot_header(number, &slot));
            bytes.extend(&slot);
        }
        bytes
    }

    fn meminfo(second: usize) -> Vec<u8> {
        format!("MemTotal: 9 kB\nMemFree: {second} kB\nBuffers: 1 kB\n").into_bytes()
    }

    #[test]
    fn the_last_beats_come_back_as_they_were() {
        let beats = 2000;
        let recording = Recording::parse(recorded(2000)).unwrap();
        let held = recording.moments().count();
        assert!(held > 300 && held < beats, "{held}");
        assert_eq!(recording.damaged_slots(), 0);
        for beat in 0..held {
            let second = beats - held + beat;
            let files = recording.files(beat);
            assert_eq!(files[0], ("proc/meminfo".to_owned(), meminfo(second)));
            assert_eq!(files.len(), if second.is_multiple_of(3) { 1 } else { 2 });
        }
        let at = |second: i64| recording.at(second * 1_000_000_000 + 5);
        assert_eq!(at(1999), Some(held - 1));
        assert_eq!(at(1990), Some(held - 10));
        assert_eq!(at(0), Some(0));
    }

    #[test]
    fn a_damaged_slot_is_left_out_and_counted() {
        let whole = recorded(100);
        let all = Recording::parse(whole.clone()).unwrap().moments().count();
        let mut damaged = whole.clone();
        let last = damaged.len() - 5;
        damaged[last] ^= 1;
        let damaged = Recording::parse(damaged).unwrap();
        assert_eq!(damaged.damaged_slots(), 1);
        assert!(damaged.moments().count() < all);
        let cut = Recording::parse(whole[..whole.len() - 5].to_vec()).unwrap();
        assert_eq!(cut.damaged_slots(), 1);
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_not_laid_out() {
        let mut beat = Beat::with_room(64, 3);
        for place in 0..3 {
            beat.add(Source::Host(place), b"x");
        }
        let mut ring = Ring::new(4096, &beat);
        ring.push(&beat);
        let mut bytes = format::file_header(4096, &["../outside", "/outside", "inside/x"]);
        let mut slot = Vec::new();
        ring.copy_next(0, &mut slot).unwrap();
        bytes.extend(format::slot_header(1, &slot));
        bytes.extend(&slot);
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        let recording = Recording::parse(bytes).unwrap();
        assert_eq!(recording.files(0).len(), 3);
        recording.lay_out(0, &tree).unwrap();
        assert!(tree.join("inside/x").exists());
        assert!(!scratch.path().join("outside").exists() && !Path::new("/outside").exists());
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(place in 0usize..4000, byte: u8, cut in 0usize..4000) {
            let mut bytes = recorded(20);
            let place = place % bytes.len();
            bytes[place] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(recording) = Recording::parse(bytes) {
                for beat in 0..recording.moments().count() {
                    let _ = recording.files(beat);
                }
            }
        }
    }
}
