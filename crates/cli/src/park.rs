//! `plimsoll park`: trees out of memory, one after the other.

use crate::args;
use crate::failure::{Failure, Kind};
use crate::progress::Progress;
use crate::terminal;
use crate::wake;
use plimsoll_park::known;
use plimsoll_park::out::{self, Done, Order, Wanted};
use plimsoll_park::plan::Stays;
use plimsoll_park::runtime::{Member, Runtime};
use plimsoll_park::store::{Codec, Place};
use plimsoll_park::{self as park, ParkError, own_memory};
use plimsoll_proc::Root;
use plimsoll_surgery::freeze::FrozenBy;
use plimsoll_surgery::tree::Extent;
use plimsoll_units::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Parks as asked.
pub(crate) fn run(args: &args::Park) -> Result<(), Failure> {
    let root = Root::live();
    let runtime = Runtime::of_this_user().map_err(ParkError::from)?;
    let place = place(&args.store);
    let interrupted = catch_signals()?;
    own_memory::spare();
    known::sweep(&root, &runtime, &place)?;
    wake::ensure(&runtime);
    for pid in &args.pids {
        let begun = Instant::now();
        let mut progress = Progress::new("park", *pid, args.progress);
        let mut order = Order {
            only_asleep: false,
            thaw: None,
            root: &root,
            runtime: &runtime,
            place: &place,
            pid: *pid,
            extent: extent(args.only),
            wanted: wanted(args.via),
            codec: codec(args.codec),
            wake: args.wake.into(),
            interrupted: &interrupted,
            progress: &mut |gone, all| progress.tell(gone, all),
        };
        let done = out::park(&mut order);
        progress.end();
        let done = done?;
        let took = begun.elapsed();
        wake::ensure(&runtime);
        let wakes = wake::Told::of(&runtime, &done.record)?;
        terminal::print(&told(args, *pid, &done, wakes, took)?)?;
    }
    Ok(())
}

/// Set by Ctrl-C and its like, which no longer end this program: what was begun is put back or finished.
pub(crate) fn catch_signals() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Where stores may go.
pub(crate) fn place(asked: &[PathBuf]) -> Place {
    Place::new(if asked.is_empty() {
        default_stores()
    } else {
        asked.to_vec()
    })
}

pub(crate) fn extent(only: bool) -> Extent {
    if only { Extent::Only } else { Extent::Whole }
}

/// Where stores go when nobody says: on disks that survive a full `/tmp`.
fn default_stores() -> Vec<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return vec![PathBuf::from("/var/lib/plimsoll/parked")];
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = state.or_else(home);
    state
        .into_iter()
        .map(|state| state.join("plimsoll/parked"))
        .collect()
}

pub(crate) fn wanted(via: args::Via) -> Wanted {
    match via {
        args::Via::Auto => Wanted::Auto,
        args::Via::Swap => Wanted::Swap,
        args::Via::Store => Wanted::Store,
    }
}

fn codec(codec: args::Codec) -> Codec {
    match codec {
        args::Codec::Lz4 => Codec::Lz4,
        args::Codec::Zstd => Codec::Zstd,
        args::Codec::None => Codec::None,
    }
}

impl From<ParkError> for Failure {
    fn from(error: ParkError) -> Self {
        let kind = match error.kind() {
            park::Kind::Failed => Kind::Failed,
            park::Kind::NotPermitted => Kind::NotPermitted,
            park::Kind::Refused => Kind::Refused,
        };
        let hint = error.hint();
        let failure = Self::new(kind, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

#[derive(Serialize)]
struct Told<'a> {
    schema: &'static str,
    pid: u32,
    via: &'static str,
    because: Option<&'a str>,
    store: Option<String>,
    processes: &'a [Member],
    moved_bytes: u64,
    copies_bytes: u64,
    /// The size of the swap file that was made for it.
    swap_file_bytes: Option<u64>,
    stored_bytes: u64,
    left: Vec<Left>,
    frozen_by: Option<FrozenBy>,
    #[serde(flatten)]
    wakes: wake::Told<'a>,
    took_ms: u64,
    /// The most memory that this program took.
    own_peak_bytes: Option<u64>,
}

#[derive(Serialize)]
pub(crate) struct Left {
    why: Stays,
    bytes: u64,
}

impl Left {
    pub(crate) fn all(left: &BTreeMap<Stays, Bytes>) -> Vec<Self> {
        let one = |(why, bytes): (&Stays, &Bytes)| Self {
            why: *why,
            bytes: bytes.get(),
        };
        left.iter().map(one).collect()
    }
}

fn told(
    args: &args::Park,
    pid: u32,
    done: &Done,
    wakes: wake::Told<'_>,
    took: Duration,
) -> Result<String, Failure> {
    let record = &done.record;
    let frozen_by = record.frozen.as_ref().map(|plan| plan.by);
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if args.json {
        return json_line(&Told {
            schema: "plimsoll.park/1",
            pid,
            via: record.means.name(),
            because: done.because.as_deref(),
            store: record.means.store().map(|dir| dir.display().to_string()),
            processes: &record.processes,
            moved_bytes: record.moved_bytes,
            copies_bytes: record.copies_bytes,
            swap_file_bytes: done.own_swap.as_ref().map(|own| own.size.get()),
            stored_bytes: record.stored_bytes,
            left: Left::all(&done.left),
            frozen_by,
            wakes,
            took_ms,
            own_peak_bytes: own_memory::peak(&Root::live()).map(Bytes::get),
        });
    }
    let mut text = format!(
        "Parked {pid}: {} out of memory, {} stored by {}, in {took_ms} ms\n",
        Bytes(record.moved_bytes),
        Bytes(record.stored_bytes),
        record.means.name(),
    );
    if let Some(because) = &done.because {
        text += &format!("  {} was chosen: {because}\n", record.means.name());
    }
    if let Some(own) = &done.own_swap {
        let (size, dir) = (own.size, own.dir.display());
        text += &format!("  {size:>10} of swap were made for the time, as a file in {dir}\n");
    }
    if record.copies_bytes > 0 {
        let copies = Bytes(record.copies_bytes);
        text += &format!("  {copies:>10} more when it comes back: shared pages become copies\n");
    }
    for (why, bytes) in &done.left {
        text += &format!("  {bytes:>10} stay: {}\n", reason(*why));
    }
    if frozen_by == Some(FrozenBy::Sigstop) {
        text += "  No control group could be frozen: it is stopped by SIGSTOP, and its parent sees that\n";
    }
    text += &format!("  It {}\n", wakes.words());
    text += &format!("Bring it back: plimsoll resume {pid}\n");
    Ok(text)
}

pub(crate) fn reason(why: Stays) -> &'static str {
    match why {
        Stays::File => "pages of files",
        Stays::SharedMemory => "memory that other processes may map",
        Stays::SharedByFork => "still shared since a fork",
        Stays::Stack => "the main stack, with arguments and environment",
        Stays::ThreadState => "what threads and the kernel touch at every turn",
        Stays::Locked => "locked by mlock",
        Stays::Hugetlb => "hugetlb pages",
        Stays::Special => "of the kernel or a device",
        Stays::Unreclaimed => "kept by the kernel, which was asked to swap it",
        Stays::Userfaultfd => "handled by the process's own userfaultfd",
        Stays::Unusual => "mapped in a way that can't be brought back safely",
    }
}

/// One document as one line.
pub(crate) fn json_line(document: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(document).map_err(|error| Failure::new(Kind::Fault, error))?;
    Ok(text + "\n")
}
