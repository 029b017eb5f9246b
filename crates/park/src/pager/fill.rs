//! The one way to fill an address space ([`Space`]): what the view says now, from the source, checked, into the absent
//! pages only.

use super::space::{Damage, Space};
use crate::source::{Reader, Run, Source, SourceError};
use crate::store::{Pages, SLICE_BYTES};
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_sys::uffd::{Fill, Halt, Mode, Uffd};
use rustix::io::Errno;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long to wait before asking again for memory that the target's control group doesn't have.
const NO_MEMORY_PAUSE: Duration = Duration::from_millis(10);

/// The most that is filled without looking up.
pub(super) const CLAIM: u64 = SLICE_BYTES as u64;

/// Why a page is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody waits for it.
    Asked,
    /// Somebody may want it.
    Ahead,
}

/// What a fill came to.
pub(super) enum Filled {
    /// All pages up to here are there, so many of them by this fill.
    Upto {
        /// The address after the last.
        end: u64,
        /// Bytes filled.
        bytes: u64,
    },
    /// An event has to be read first.
    EventFirst,
    /// The process ended.
    Gone,
}

/// The frames that are being filled, by the address they were parked at: two threads at one frame would do the work
/// twice, and stumble over each other's pages.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    frames: Mutex<Vec<u64>>,
    landed: Condvar,
}

/// A frame that is one thread's.
struct Claimed<'f> {
    in_flight: &'f InFlight,
    frame: u64,
}

impl InFlight {
    /// Takes a frame, once no other thread has it. `None` for [`Why::Asked`] where one had: who waits for a page of it has
    /// that page now, or asks again. The rest of the frame may still be absent.
    fn claim(&self, frame: u64, why: Why) -> Option<Claimed<'_>> {
        let mut frames = self.lock();
        let mut waited = false;
        while frames.contains(&frame) {
            waited = true;
            frames = self
                .landed
                .wait(frames)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if waited && why == Why::Asked {
            return None;
        }
        frames.push(frame);
        Some(Claimed {
            in_flight: self,
            frame,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.in_flight.lock().retain(|frame| *frame != self.frame);
        self.in_flight.landed.notify_all();
    }
}

/// What is known of an address before anything is read for it.
struct Wanted {
    address: u64,
    /// What the view said.
    seen: Option<(Span, u64)>,
    /// Where the page at `address` was parked.
    parked: Option<u64>,
    why: Why,
    page_size: u64,
}

impl Space {
    /// Whether every stored page of the process is in its memory. Zeros don't count: once disarmed, absent pages are
    /// zeros by themselves.
    ///
    /// # Errors
    /// As reading the index and the page map.
    pub fn is_back(&self, source: &Source, pagemap: &Pagemap) -> Result<bool, super::FillError> {
        let mut at = 0;
        while let Some((first, _)) = self
            .next_stored(source, at)
            .map_err(|damage| damage.source)?
        {
            // What is absent without holes is looked for in the store, not what is stored in the page map: once nearly
            // everything is back there is little of it.
            let Some(span) = self.range_from(first) else {
                break;
            };
            let mut holes = Vec::new();
            pagemap.absent(span, |hole| holes.push(hole))?;
            for hole in holes {
                let stored = self.next_stored(source, hole.start);
                let stored = stored.map_err(|damage| damage.source)?;
                if stored.is_some_and(|(start, _)| start < hole.end) {
                    return Ok(false);
                }
            }
            at = span.end;
        }
        Ok(true)
    }

    /// The part of the view from `address` on that one look into the page map is worth.
    fn range_from(&self, address: u64) -> Option<Span> {
        const LOOK: u64 = 1 << 30;
        let (span, _) = self.read().view.at_or_after(address)?;
        Some(Span {
            end: span.end.min(span.start.saturating_add(LOOK)),
            ..span
        })
    }

    /// The next address from `address` on whose page is in the store and not zero, and where that frame ends.
    pub(super) fn next_stored(
        &self,
        source: &Source,
        address: u64,
    ) -> Result<Option<(u64, u64)>, Damage> {
        let state = self.read();
        let mut at = address;
        while let Some((span, parked)) = state.view.at_or_after(at) {
            let found = source.next_pages(self.slot(), parked);
            let run = found.map_err(|error| damage(span.start, error))?;
            let ahead = run.map(|run| (run.address.saturating_sub(parked), run.end - parked));
            match ahead {
                Some((ahead, end)) if ahead < span.len() => {
                    let first = span.start + ahead;
                    // Long runs (shared) are claimed a piece at a time.
                    let end = end.min(ahead.saturating_add(CLAIM)).min(span.len());
                    return Ok(Some((first, span.start + end)));
                }
                _ => at = span.end,
            }
        }
        Ok(None)
    }

    /// The frame that holds the page at `address`: where it begins now, and where it did when it was parked. None for
    /// zeros.
    pub(super) fn frame_at(&self, source: &Source, address: u64) -> Option<(u64, u64)> {
        let parked = self.read().view.parked_at(address)?;
        let run = source.next_pages(self.slot(), parked).ok()??;
        let before = parked.checked_sub(run.address)?;
        Some((address.checked_sub(before)?, run.address))
    }

    /// The parts of `span` that are absent, where that can be seen from outside: all of it for a child, whose process
    /// is not known.
    pub(super) fn holes(&self, span: Span) -> Vec<Span> {
        let mut holes = Vec::new();
        let looked = match self.pagemap() {
            None => Err(Errno::NOENT),
            Some(pagemap) => pagemap.absent(span, |hole| holes.push(hole)),
        };
        if looked.is_err() { vec![span] } else { holes }
    }

    /// Reads the frames of `span` into the reader's buffer at once, as far as they lie behind each other.
    pub(super) fn read_ahead(
        &self,
        source: &Source,
        reader: &mut Reader<'_>,
        span: Span,
        page_size: u64,
    ) {
        let frame = |address: u64| -> Option<Run> {
            let parked = self.read().view.parked_at(address)?;
            source.at_or_after(self.slot(), parked).ok()?
        };
        let last = span.end.saturating_sub(page_size);
        if let (Some(first), Some(last)) = (frame(span.start), frame(last)) {
            reader.read_ahead(&first, &last);
        }
    }

    /// Fills the absent pages from `address` to the end of its frame.
    pub(super) fn fill(
        &self,
        source: &Source,
        reader: &mut Reader<'_>,
        address: u64,
        why: Why,
        page_size: u64,
    ) -> Result<Filled, Damage> {
        let address = address - address % page_size;
        let seen = self.read().view.at_or_after(address);
        let parked = seen.and_then(|(span, parked)| (span.start == address).then_some(parked));
        let found = parked.map(|parked| source.at_or_after(self.slot(), parked));
        let found = found.transpose().map_err(|error| damage(address, error))?;
        let run = found
            .flatten()
            .filter(|run| parked.is_some_and(|parked| run.address <= parked));
        let mut claimed = None;
        if let Some(run) = run {
            claimed = self.in_flight.claim(run.address, why);
            if claimed.is_none() {
                // Another thread filled it meanwhile, or the page is asked for again.
                let _ = self.uffd().wake(Span::new(address, page_size));
                let parked = parked.unwrap_or(run.address);
                return Ok(upto(address + (run.end - parked), 0));
            }
        }
        let pages = match (run, parked) {
            (Some(run), Some(parked)) => {
                let pages = reader.read(&run, parked);
                Some(pages.map_err(|error| damage(address, error))?)
            }
            _ => None,
        };
        let wanted = Wanted {
            address,
            seen,
            parked,
            why,
            page_size,
        };
        let mut unmapped = Vec::new();
        let filled = self.fill_now(&wanted, pages, &mut unmapped);
        if !unmapped.is_empty() {
            let mut state = self.write();
            for page in unmapped {
                state.view.remove(page);
            }
        }
        drop(claimed);
        filled
    }

    /// Fills with what was read, if the view is still what it was read by. Pages where nothing of this descriptor's
    /// is mapped, with no event in the way, are told: they are not ours to bring back.
    fn fill_now(
        &self,
        wanted: &Wanted,
        pages: Option<Pages<'_>>,
        unmapped: &mut Vec<Span>,
    ) -> Result<Filled, Damage> {
        let (address, page_size) = (wanted.address, wanted.page_size);
        let state = self.read();
        let now = state.view.at_or_after(address);
        let room = match (now, wanted.parked) {
            (Some((span, at)), Some(parked)) if span.start == address && at == parked => span.len(),
            (Some((span, _)), None) if span.start == address && wanted.seen != now => {
                return Ok(Filled::EventFirst);
            }
            (_, None) => page_size,
            (_, Some(_)) => return Ok(Filled::EventFirst), // it changed while we read: look again
        };
        match pages {
            // Nothing was there: zeros, where somebody asks. One page, for what lies beside may be parked.
            None if wanted.why == Why::Asked => {
                self.put(Filling::Zeros(page_size), wanted, unmapped)
            }
            None => Ok(upto(address + page_size, 0)),
            Some(Pages::Zeros(length)) => {
                let length = length.min(room).min(CLAIM);
                self.put(Filling::Zeros(length), wanted, unmapped)
            }
            Some(Pages::Bytes(bytes)) => {
                let length = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
                let bytes = bytes.get(..length).unwrap_or_default();
                self.put(Filling::Bytes(bytes), wanted, unmapped)
            }
        }
    }

    /// Fills absent pages and leaves those that are there. The caller holds the read lock.
    fn put(
        &self,
        filling: Filling<'_>,
        wanted: &Wanted,
        unmapped: &mut Vec<Span>,
    ) -> Result<Filled, Damage> {
        let page_size = wanted.page_size;
        let length = filling.len();
        let (mut done, mut filled) = (0, 0);
        // A frame may lie over several mappings by now; then it is filled page by page.
        let mut most = length;
        while done < length {
            let at = wanted.address.saturating_add(done);
            let Fill { done_bytes, halt } =
                filling.put(self.uffd(), at, done, most.min(length - done));
            done += done_bytes;
            filled += done_bytes;
            match halt {
                None | Some(Halt::Partial) => {}
                Some(Halt::Exists) => {
                    if wanted.why == Why::Asked {
                        let _ = self.uffd().wake(Span::new(at, page_size));
                    }
                    done += page_size;
                    if let Filling::Zeros(_) = filling {
                        break; // zeros that are there are followed by more of them
                    }
                }
                Some(Halt::Unmapped) if most > page_size => most = page_size,
                Some(Halt::Unmapped) => {
                    unmapped.push(Span::new(at, page_size));
                    done += page_size;
                }
                Some(Halt::Changing) => return Ok(Filled::EventFirst),
                Some(Halt::Gone) => {
                    self.set_gone();
                    return Ok(Filled::Gone);
                }
                Some(Halt::Failed(Errno::NOMEM)) => std::thread::sleep(NO_MEMORY_PAUSE),
                Some(Halt::Failed(errno)) => {
                    return Err(Damage {
                        address: at,
                        source: errno.into(),
                    });
                }
            }
        }
        Ok(upto(wanted.address.saturating_add(done), filled))
    }
}

/// What absent pages are filled with.
#[derive(Clone, Copy)]
enum Filling<'b> {
    Zeros(u64),
    Bytes(&'b [u8]),
}

impl Filling<'_> {
    fn len(self) -> u64 {
        match self {
            Self::Zeros(length) => length,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Puts `length` bytes from `from` on at `address`.
    fn put(self, uffd: &Uffd, address: u64, from: u64, length: u64) -> Fill {
        match self {
            Self::Zeros(_) => uffd.zeropage(Span::new(address, length), Mode::empty()),
            Self::Bytes(bytes) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
                uffd.copy(
                    address,
                    bytes.get(from..to).unwrap_or_default(),
                    Mode::empty(),
                )
            }
        }
    }
}

fn upto(end: u64, bytes: u64) -> Filled {
    Filled::Upto { end, bytes }
}

fn damage(address: u64, error: SourceError) -> Damage {
    Damage {
        address,
        source: error.into(),
    }
}
