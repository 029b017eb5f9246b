//! The images of a checkpoint as a source of pages: raw or packed, in the set itself or in those that it builds on.
//!
//! What is served is what userfaultfd can serve whole ([`plimsoll_image::lazy::served`]); pages of other mappings are in memory
//! before the tree runs. The files are opened once and stay open: a set whose names are removed is read to the end all the same.
//! Images have no notion of who reads them, so a pager that takes over makes sure that they are those of before
//! ([`Images::print`]).

use crate::store::{FRAME_BYTES, Slot};
use plimsoll_image::directory::{OnDisk, PARENT_LINK};
use plimsoll_image::lazy::served;
use plimsoll_image::packed::Part;
use plimsoll_image::pagemap::{PE_PRESENT, PageSpan, Pagemap, X86_64_PAGE_BYTES};
use plimsoll_image::pages::{PagesError, SetPages};
use plimsoll_image::proto::MmEntry;
use plimsoll_image::{ImageError, Kind, read_one};
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Sets that build on each other are followed so far.
const LONGEST_CHAIN: usize = 1024;

/// Images can't be read, or are not those of before.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// A file.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// An image makes no sense.
    #[error("{} is no image to go by", path.display())]
    Image {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ImageError,
    },
    /// A page is not where it should be, or damaged.
    #[error("the images in {} don't give a page", path.display())]
    Page {
        /// The set.
        path: PathBuf,
        /// Why.
        source: PagesError,
    },
    /// They were changed since.
    #[error("the images in {} are not those that the tree was restored from", path.display())]
    Changed {
        /// The set.
        path: PathBuf,
    },
}

/// The pages that a set of images has for the processes of a tree.
#[derive(Debug)]
pub struct Images {
    dir: PathBuf,
    /// By slot.
    processes: Vec<Process>,
    /// For what does not lie in one raw file.
    pages: Mutex<SetPages>,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    /// In order of address.
    runs: Vec<Stored>,
    /// Its pages, where they are raw and all in this set.
    raw: Option<(PathBuf, File)>,
}

/// Pages side by side that are served, and where in a raw file they begin.
#[derive(Debug, Clone, Copy)]
struct Stored {
    start: u64,
    end: u64,
    offset: u64,
}

impl Images {
    /// Opens a set and all that it builds on, for the processes with these pids: slot N is the Nth.
    ///
    /// # Errors
    /// When something of it is missing or broken.
    pub fn open(dir: &Path, pids: impl IntoIterator<Item = u32>) -> Result<Self, ImagesError> {
        let mut pages =
            SetPages::open(Box::new(OnDisk::new(dir))).map_err(|source| page(dir, source))?;
        let is_packed = Part::ALL
            .iter()
            .any(|part| dir.join(part.file_name()).exists());
        let processes = pids
            .into_iter()
            .map(|pid| Process::open(dir, pid, is_packed, &mut pages))
            .collect::<Result<_, ImagesError>>()?;
        Ok(Self {
            dir: dir.to_owned(),
            processes,
            pages: Mutex::new(pages),
        })
    }

    /// Bytes that are served, of all processes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let runs = self.processes.iter().flat_map(|process| &process.runs);
        runs.map(|run| run.end - run.start).sum()
    }

    /// What tells these images from others: a digest of the names, sizes and times of the files that hold pages, here and in
    /// all sets below.
    ///
    /// # Errors
    /// When they can't be listed.
    pub fn print(dir: &Path) -> Result<u32, ImagesError> {
        let mut digest = crc32fast::Hasher::new();
        let mut set = dir.to_owned();
        for _ in 0..LONGEST_CHAIN {
            let failed = |source| io_error("list", &set, source);
            let mut files = Vec::new();
            for entry in std::fs::read_dir(&set).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with("page") {
                    let about = entry.metadata().map_err(failed)?;
                    let (seconds, nanos) = (about.mtime(), about.mtime_nsec());
                    files.push(format!("{name} {} {seconds}.{nanos}\n", about.len()));
                }
            }
            files.sort_unstable();
            files.iter().for_each(|file| digest.update(file.as_bytes()));
            let parent = set.join(PARENT_LINK);
            if std::fs::symlink_metadata(&parent).is_err() {
                break;
            }
            set = parent;
        }
        Ok(digest.finalize())
    }

    /// The stored run that holds `address`, or else the next one of the process, cut into frames.
    pub(super) fn at_or_after(&self, slot: Slot, address: u64) -> Option<(u64, u64)> {
        let runs = &self.process(slot)?.runs;
        let run = runs.get(runs.partition_point(|run| run.end <= address))?;
        let frame = FRAME_BYTES as u64;
        let at = address.max(run.start);
        let first = at - at % frame;
        let end = first.saturating_add(frame).min(run.end);
        Some((first.max(run.start), end))
    }

    /// Reads the pages from an address up to the end of its run.
    pub(super) fn read(
        &self,
        slot: Slot,
        address: u64,
        end: u64,
        into: &mut Vec<u8>,
    ) -> Result<(), ImagesError> {
        into.clear();
        into.resize(usize::try_from(end.saturating_sub(address)).unwrap_or(0), 0);
        let lost = |pid: u32| {
            let what = format!("the page at {address:#x} of process {pid} is not in them");
            io_error("read", &self.dir, io::Error::other(what))
        };
        let process = self.process(slot).ok_or_else(|| lost(0))?;
        let pid = process.pid;
        if let Some((path, raw)) = &process.raw {
            let offset = process.offset(address).ok_or_else(|| lost(pid))?;
            let read = raw.read_exact_at(into, offset);
            return read.map_err(|source| io_error("read", path, source));
        }
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let page_bytes = usize::try_from(X86_64_PAGE_BYTES).unwrap_or(usize::MAX);
        for (number, into) in (0..).zip(into.chunks_mut(page_bytes)) {
            let at = address + number * X86_64_PAGE_BYTES;
            let found = pages.read_address(Kind::Pagemap, pid.into(), at, into);
            if !found.map_err(|source| page(&self.dir, source))? {
                return Err(lost(pid));
            }
        }
        Ok(())
    }

    /// Has the kernel read pages ahead.
    pub(super) fn read_ahead(&self, slot: Slot, start: u64, end: u64) {
        let Some(process) = self.process(slot) else {
            return;
        };
        if let (Some((_, raw)), Some(offset)) = (&process.raw, process.offset(start)) {
            let length = std::num::NonZeroU64::new(end.saturating_sub(start));
            let _ = rustix::fs::fadvise(raw, offset, length, rustix::fs::Advice::WillNeed); // a wish
        }
    }

    fn process(&self, slot: Slot) -> Option<&Process> {
        self.processes.get(usize::try_from(slot.0).ok()?)
    }
}

impl Process {
    fn open(
        dir: &Path,
        pid: u32,
        is_packed: bool,
        pages: &mut SetPages,
    ) -> Result<Self, ImagesError> {
        let mm: MmEntry = {
            let (path, file) = open(dir, &Kind::Mm.file_name(pid.into()))?;
            let mm = read_one::<MmEntry>(Kind::Mm, file);
            mm.map_err(|source| ImagesError::Image { path, source })?
                .message
        };
        let (path, file) = match open(dir, &Kind::Pagemap.file_name(pid.into())) {
            Err(ImagesError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    pid,
                    runs: Vec::new(),
                    raw: None,
                });
            }
            opened => opened?,
        };
        let map = Pagemap::read(file).map_err(|source| ImagesError::Image { path, source })?;
        let spans = map.entries.iter();
        let spans: Vec<PageSpan> = spans
            .filter_map(|entry| PageSpan::of(entry, X86_64_PAGE_BYTES))
            .collect();
        let here = |span: &PageSpan| span.flags & PE_PRESENT != 0;
        let raw = if !is_packed && !spans.is_empty() && spans.iter().all(here) {
            let name = Kind::Pages.file_name(map.head.pages_id.into());
            let path = dir.join(name);
            let file = File::open(&path).map_err(|source| io_error("open", &path, source))?;
            Some((path, file))
        } else {
            pages
                .hold(Kind::Pagemap, pid.into())
                .map_err(|source| page(dir, source))?;
            None
        };
        Ok(Self {
            pid,
            runs: within(&spans, &served(&mm)),
            raw,
        })
    }

    /// Where in the raw file the page at an address lies.
    fn offset(&self, address: u64) -> Option<u64> {
        let after = self.runs.partition_point(|run| run.end <= address);
        let run = self.runs.get(after)?;
        Some(run.offset + address.checked_sub(run.start)?)
    }
}

/// The parts of stored runs that lie in these ranges; both are in order.
fn within(spans: &[PageSpan], ranges: &[(u64, u64)]) -> Vec<Stored> {
    let mut runs = Vec::new();
    let mut offset = 0u64;
    for span in spans {
        let first = ranges.partition_point(|(_, end)| *end <= span.start);
        let ranges = ranges.iter().skip(first);
        for (from, to) in ranges.take_while(|(from, _)| *from < span.end) {
            let (start, end) = (span.start.max(*from), span.end.min(*to));
            runs.push(Stored {
                start,
                end,
                offset: offset.saturating_add(start - span.start),
            });
        }
        offset = offset.saturating_add(span.end - span.start);
    }
    runs
}

fn open(dir: &Path, name: &str) -> Result<(PathBuf, BufReader<File>), ImagesError> {
    let path = dir.join(name);
    match File::open(&path) {
        Ok(file) => Ok((path, BufReader::new(file))),
        Err(source) => Err(io_error("open", &path, source)),
    }
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> ImagesError {
    ImagesError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

fn page(dir: &Path, source: PagesError) -> ImagesError {
    ImagesError::Page {
        path: dir.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_cut_out_of_what_is_stored() {
        let span = |start, end| PageSpan {
            start,
            end,
            flags: PE_PRESENT,
        };
        let stored = [span(0x1000, 0x5000), span(0x8000, 0xa000)];
        let runs = within(&stored, &[(0x2000, 0x3000), (0x4000, 0x9000)]);
        let told: Vec<_> = runs
            .iter()
            .map(|run| (run.start, run.end, run.offset))
            .collect();
        assert_eq!(
            told,
            [
                (0x2000, 0x3000, 0x1000),
                (0x4000, 0x5000, 0x3000),
                (0x8000, 0x9000, 0x4000)
            ]
        );
    }
}
