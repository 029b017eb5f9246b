//! What nobody has asked for yet comes back behind the faults: first what was touched first when this process was
//! resumed before, then everything in order of address.

use super::Pager;
use super::fill::{CLAIM, Why};
use super::space::Space;
use crate::source::Reader;
use plimsoll_sys::Span;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Threads: more than cores where those are few, for they wait for the disk as well.
const WORKERS: std::ops::RangeInclusive<usize> = 4..=8;
/// Their niceness (`setpriority(2)`): who answers a fault goes first.
const NICE: i32 = 3;
/// How long the background stands back at a time.
const COURTESY: Duration = Duration::from_micros(100);
/// How long at most, before it goes on all the same: at the beginning, when somebody waits for the first answer, and
/// later, when the sooner all is back the better.
const MOST_COURTESY: [Duration; 2] = [Duration::from_millis(8), Duration::from_micros(300)];
const BEGINNING: Duration = Duration::from_millis(100);

/// Where the background has got to in some spaces.
struct Progress<'p> {
    spaces: &'p [Arc<Space>],
    /// Frames to come first.
    leading: Mutex<VecDeque<(Arc<Space>, u64)>>,
    cursor: Mutex<Cursor>,
}

struct Cursor {
    /// Spaces that are done.
    done: usize,
    /// The next address of the one after.
    address: u64,
}

/// What is worth doing next.
enum Job {
    /// The frame at an address.
    Frame(Arc<Space>, u64),
    /// Whatever is absent of a span.
    Span(Arc<Space>, Span),
}

impl Pager<'_> {
    /// Brings everything back in the first so many spaces.
    pub(super) fn bring_known_back(&self, known: usize) {
        be_nice();
        self.source.read_index_ahead();
        let spaces: Vec<Arc<Space>> = self.spaces().iter().take(known).cloned().collect();
        let mut leading = Vec::new();
        for space in &spaces {
            let addresses = space.first_touches().known();
            leading.extend(addresses.into_iter().map(|at| (Arc::clone(space), at)));
        }
        self.bring_back(&spaces, leading);
    }

    /// Brings everything back in these spaces, on all cores.
    pub(super) fn bring_back(&self, spaces: &[Arc<Space>], leading: Vec<(Arc<Space>, u64)>) {
        let progress = Progress {
            spaces,
            leading: Mutex::new(leading.into()),
            cursor: Mutex::new(Cursor {
                done: 0,
                address: 0,
            }),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..cores.clamp(*WORKERS.start(), *WORKERS.end()) {
                scope.spawn(|| self.work(&progress));
            }
        });
    }

    fn work(&self, progress: &Progress<'_>) {
        let mut reader = self.source.reader();
        while !self.finished.load(Ordering::SeqCst) {
            match self.next_job(progress) {
                None => return,
                Some(Job::Frame(space, address)) => {
                    self.fill(&space, &mut reader, address, Why::Ahead);
                }
                Some(Job::Span(space, span)) => {
                    self.wait_for_room(&space);
                    self.stand_back();
                    for hole in space.holes(span) {
                        self.fill_all(&space, &mut reader, hole, Some(&self.disk));
                    }
                }
            }
        }
    }

    fn wait_for_room(&self, space: &Space) {
        let has_ended = || {
            let pid = space.pid().and_then(|pid| i32::try_from(pid).ok());
            let pid = pid.and_then(Pid::from_raw);
            pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
        };
        if let Some(room) = &self.room {
            room.wait(|| self.finished.load(Ordering::SeqCst) || has_ended());
        }
    }

    /// Lets faults go first, within reason.
    fn stand_back(&self) {
        let begun = Instant::now();
        let [at_first, later] = MOST_COURTESY;
        let most = if self.faults.age() < BEGINNING {
            at_first
        } else {
            later
        };
        while self.faults.are_urgent() && begun.elapsed() < most {
            std::thread::sleep(COURTESY);
        }
    }

    /// Fills all frames that lie in a span. Those who share a `turn` read one at a time: a fault never waits for more than
    /// one of them at the disk.
    pub(super) fn fill_all(
        &self,
        space: &Space,
        reader: &mut Reader<'_>,
        span: Span,
        turn: Option<&Mutex<()>>,
    ) {
        let page_size = self.page_size.get();
        let mut at = span.start;
        let mut ahead = at;
        loop {
            match space.next_stored(self.source, at) {
                Ok(Some((start, end))) if start < span.end => {
                    if start >= ahead {
                        ahead = span.end.min(start.saturating_add(CLAIM));
                        let wanted = Span { start, end: ahead };
                        let _turn = turn.map(|turn| turn.lock());
                        space.read_ahead(self.source, reader, wanted, page_size);
                    }
                    self.fill(space, reader, start, Why::Ahead);
                    at = end;
                }
                Ok(_) => return,
                Err(damage) => return self.damaged(damage),
            }
        }
    }

    /// Claims what comes next.
    fn next_job(&self, progress: &Progress<'_>) -> Option<Job> {
        let lead = |leading: &Mutex<VecDeque<_>>| {
            let mut leading = leading.lock().unwrap_or_else(PoisonError::into_inner);
            leading.pop_front()
        };
        if let Some((space, address)) = lead(&progress.leading) {
            return Some(Job::Frame(space, address));
        }
        let mut cursor = progress
            .cursor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            let space = Arc::clone(progress.spaces.get(cursor.done)?);
            match space.next_stored(self.source, cursor.address) {
                Ok(Some((start, end))) if !space.is_gone() => {
                    let end = end.max(start.saturating_add(CLAIM));
                    cursor.address = end;
                    return Some(Job::Span(space, Span { start, end }));
                }
                // What moved behind the cursor is looked at again, from the start.
                Ok(None) if space.take_moved() => cursor.address = 0,
                Ok(_) => {
                    *cursor = Cursor {
                        done: cursor.done + 1,
                        address: 0,
                    };
                }
                Err(damage) => {
                    self.damaged(damage);
                    return None;
                }
            }
        }
    }
}

/// Makes this thread, and those that it starts, less urgent than those that answer faults.
fn be_nice() {
    let me = rustix::thread::gettid();
    let _ = rustix::process::setpriority_process(Some(me), NICE); // else it is as urgent as they are
}
