//! Children that a tree forks while it gets its memory back: spaces of which it is not known yet whose they are.
//!
//! Which process a descriptor serves can't be asked; it is tried out ([`Space::probe`]): a page is filled, and the
//! process in which it appears is the one. That is only proof if nobody else fills unknown memory meanwhile, so fills
//! there are made under a lock that the trial takes alone.

use super::space::Space;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::Duration;

/// Before a child that could not be found is looked for again.
const RETRY: Duration = Duration::from_millis(10);
/// How often who tends is told that time passes.
const TICK: Duration = Duration::from_millis(100);

/// Those that nobody has adopted yet.
#[derive(Debug, Default)]
pub(super) struct Newborns {
    waiting: Mutex<Vec<Arc<Space>>>,
    news: Condvar,
    /// Threads that bring pages back.
    working: AtomicUsize,
    quiet: RwLock<()>,
}

/// A thread is at work as long as this lives.
pub(super) struct AtWork<'n>(&'n Newborns);

impl Newborns {
    pub(super) fn add(&self, born: impl IntoIterator<Item = Arc<Space>>) {
        self.waiting().extend(born);
        self.news.notify_all();
    }

    /// Held over a fill, where it is not known whose memory that is.
    pub(super) fn while_unknown(&self, space: &Space) -> Option<RwLockReadGuard<'_, ()>> {
        let unknown = space.pid().is_none();
        unknown.then(|| self.quiet.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Held over a trial.
    pub(super) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.quiet.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn at_work(&self) -> AtWork<'_> {
        self.working.fetch_add(1, Ordering::SeqCst);
        AtWork(self)
    }

    /// Has each adopted as it comes, and those again that could not be, as long as anybody is at work; and calls `tick`
    /// now and then.
    pub(super) fn tend(&self, mut adopt: impl FnMut(&Arc<Space>) -> bool, mut tick: impl FnMut()) {
        let mut again: Vec<Arc<Space>> = Vec::new();
        loop {
            let mut waiting = self.waiting();
            while waiting.is_empty() && self.working.load(Ordering::SeqCst) > 0 {
                let most = if again.is_empty() { TICK } else { RETRY };
                let waited = self.news.wait_timeout(waiting, most);
                waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
                tick();
                if !again.is_empty() {
                    break;
                }
            }
            again.append(&mut waiting);
            drop(waiting);
            again.retain(|space| !adopt(space));
            if self.working.load(Ordering::SeqCst) == 0 {
                self.waiting().append(&mut again);
                return;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Space>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let _waiting = self.0.waiting(); // or the news could fall between a look and a wait
        self.0.working.fetch_sub(1, Ordering::SeqCst);
        self.0.news.notify_all();
    }
}
