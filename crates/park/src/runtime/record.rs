//! The record of a parked tree: who, by which means, since when, in which state.

use super::RuntimeError;
use super::file::{RecordFile, numbered};
use super::logs::CHILD;
use crate::wake::{Waits, WakeOn};
use plimsoll_surgery::freeze;
use plimsoll_surgery::tree::ProcessName;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Of [`Record`].
pub const VERSION: u32 = 1;

/// The means that a tree was parked by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "via")]
pub enum Means {
    /// The kernel's swap.
    Swap,
    /// A store of ours.
    Store {
        /// Its directory.
        dir: PathBuf,
    },
    /// The images that it was restored from. They are not ours: they stay.
    Images {
        /// Their directory.
        dir: PathBuf,
        /// What tells them from others ([`Images::print`](crate::source::Images::print)).
        print: u32,
    },
}

impl Means {
    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Store { .. } => "store",
            Self::Images { .. } => "images",
        }
    }

    /// The store, where that is the means.
    #[must_use]
    pub fn store(&self) -> Option<&Path> {
        match self {
            Self::Swap | Self::Images { .. } => None,
            Self::Store { dir } => Some(dir),
        }
    }
}

/// How far a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// On its way out; if nobody is at it, it was interrupted and wants to be resumed.
    Parking,
    /// Out.
    Parked,
    /// On its way back; if nobody is at it, its threads may wait for a pager.
    Resuming,
}

/// A process of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub name: ProcessName,
    /// What it calls itself.
    pub comm: String,
    /// The number of the userfaultfd in its descriptor table, once it has one.
    pub uffd: Option<i32>,
    /// Where it had huge pages: from, up to.
    #[serde(default)]
    pub huge: Vec<(u64, u64)>,
}

/// A child that a process of the tree forked while it was being resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// Which.
    pub name: ProcessName,
    /// The number of its own userfaultfd in its descriptor table, once it has it.
    pub uffd: Option<i32>,
}

/// What is known of a parked tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of this layout: 1.
    pub version: u32,
    /// How far it is.
    pub state: State,
    /// Whether only what is touched is brought back, until somebody rings the [bell](super::Entry::bell).
    #[serde(default)]
    pub lazy: bool,
    /// By which means.
    pub means: Means,
    /// When it was parked, in seconds since 1970.
    pub since_s: u64,
    /// What keeps it from running, once anything does.
    pub frozen: Option<freeze::Plan>,
    /// The tree; the first is the one that was asked for.
    pub processes: Vec<Member>,
    /// Children that it forked while it was being resumed, as far as they are known.
    #[serde(skip)]
    pub children: Vec<Child>,
    /// Bytes of memory that left, pages shared by fork counted once.
    pub moved_bytes: u64,
    /// Bytes that a resume takes on top: pages that were shared come back to each process.
    #[serde(default)]
    pub copies_bytes: u64,
    /// Bytes that they take where they are.
    pub stored_bytes: u64,
    /// What wakes it.
    #[serde(default)]
    pub wake: WakeOn,
    /// What its threads waited for when they were stopped.
    #[serde(default)]
    pub waits: Waits,
}

impl Record {
    /// The processes, and the children known.
    pub fn names(&self) -> impl Iterator<Item = ProcessName> + use<'_> {
        let processes = self.processes.iter().map(|member| member.name);
        processes.chain(self.children.iter().map(|child| child.name))
    }
}

/// The record in the directory of a tree.
pub(super) fn read_record(dir: &Path) -> Result<Record, RuntimeError> {
    let path = dir.join("record");
    let mut record: Record = RecordFile::at(path.clone()).read()?;
    record.children = numbered(dir, CHILD)?;
    if record.version == VERSION {
        Ok(record)
    } else {
        let error = io::Error::other(format!("it has version {}", record.version));
        Err(RuntimeError::new("understand", &path)(error))
    }
}
