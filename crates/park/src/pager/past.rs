//! What the log of one address space tells a pager that takes over: the view as it is now, and the forks, each with the
//! view as it was then.
//!
//! A fork's event holds the number of the child's descriptor in the table of the pager that read it. Each pager begins
//! with a note that says which session of the tree it is, so that the descriptor can be looked for in the right
//! guardian ([`crate::session`]).

use super::dropping;
use crate::view::View;
use plimsoll_sys::Span;
use plimsoll_sys::uffd::{EventLog, Logged, PastEvent};

/// First word of the note.
const SESSION: u64 = 3;

/// What a pager notes first.
pub(super) fn session(number: u64) -> [u64; 3] {
    [SESSION, number, 0]
}

/// The past of an address space.
#[derive(Debug)]
pub(crate) struct Past {
    /// Where its absent pages come from now.
    pub(crate) view: View,
    /// What a plimsoll that was killed while parking was about to drop; its report may still come.
    pub(super) own: Option<Span>,
    /// Its children, oldest first.
    pub(crate) forks: Vec<PastFork>,
}

/// A fork that some pager has read of.
#[derive(Debug)]
pub(crate) struct PastFork {
    /// In which session; `None` before the first.
    pub(crate) session: Option<u64>,
    /// The number of the child's descriptor there.
    pub(crate) number: i32,
    /// Where the child's absent pages came from at its birth.
    pub(crate) view: View,
}

impl Past {
    /// Replays a log over what was parked.
    pub(crate) fn of(log: &EventLog, parked: View) -> Self {
        let mut past = Self {
            view: parked,
            own: None,
            forks: Vec::new(),
        };
        let mut session = None;
        for logged in log.past() {
            match logged {
                Logged::Note([SESSION, number, _]) => session = Some(number),
                Logged::Note(note) => past.own = dropping::noted(note),
                Logged::Event(event) => past.follow(event, session),
            }
        }
        past
    }

    fn follow(&mut self, event: PastEvent, session: Option<u64>) {
        match event {
            PastEvent::Remap { from, to, length } => self.view.remap(from, to, length),
            PastEvent::Remove(start, end) if self.own == Some(Span { start, end }) => {
                self.own = None;
            }
            PastEvent::Remove(start, end) | PastEvent::Unmap(start, end) => {
                self.view.remove(Span { start, end });
            }
            PastEvent::Fork(number) => self.forks.push(PastFork {
                session,
                number,
                view: self.view.clone(),
            }),
            PastEvent::Pagefault | PastEvent::Unknown(_) => {}
        }
    }
}
