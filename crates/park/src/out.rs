//! Parking: a tree's memory leaves, everything else stays.
//!
//! Every step leaves the tree in a state that the next plimsoll can take up, and a failure undoes what was done
//! before the tree runs again (`docs/design/005-parking.md` lists each step with what a kill there leaves).

use crate::check::{self, Examined, OwnSwap, Report};
use crate::fault_point::fault_point;
use crate::plan::{Plan, Stays};
use crate::runtime::{Entry, Means, Member, Record, Runtime, State, VERSION};
use crate::shed::{Shedding, Tree};
use crate::store::{Codec, Identity, Parked, Place, Planned, Slot, Store, Writer};
use crate::swap::{self, Budget};
use crate::wake::{self, Waits, WakeOn};
use crate::{ParkError, arm, back, known};
use plimsoll_proc::Root;
use plimsoll_surgery::freeze::{self, FrozenBy};
use plimsoll_surgery::operate::Operation;
use plimsoll_surgery::stop::{StoppedTree, in_own_thread};
use plimsoll_surgery::tree::{Extent, ProcessName};
use plimsoll_units::{Bytes, PageSize};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// How long the tree may take to come to a stand.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a tree is stopped to find it asleep, and how long it runs in between.
const ATTEMPTS: u32 = 12;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(23);
/// How long it may take to be frozen once it stands.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which means is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Swap where there is enough, else a store.
    Auto,
    /// Swap or nothing.
    Swap,
    /// A store or nothing.
    Store,
}

/// What is to be parked, and how.
pub struct Order<'o> {
    /// Where `/proc` is.
    pub root: &'o Root,
    /// Where records are kept.
    pub runtime: &'o Runtime,
    /// Where stores may go.
    pub place: &'o Place,
    /// The top of the tree.
    pub pid: u32,
    /// How much of it.
    pub extent: Extent,
    /// By which means.
    pub wanted: Wanted,
    /// How a store packs.
    pub codec: Codec,
    /// What wakes it.
    pub wake: WakeOn,
    /// Whether it is parked only if all of it sleeps, on something that can wake it.
    pub only_asleep: bool,
    /// Where whoever asks has frozen its control group, this thaws that: as soon as the tree stands by our own means.
    pub thaw: Option<&'o mut (dyn FnMut() + Send)>,
    /// Set by somebody who wants this to end: everything then goes back.
    pub interrupted: &'o AtomicBool,
    /// Told the bytes that have gone and all that could go, as it proceeds.
    pub progress: &'o mut (dyn FnMut(u64, u64) + Send),
}

/// A tree was parked.
#[derive(Debug)]
pub struct Done {
    /// What is known of it from now on.
    pub record: Record,
    /// What stays, by reason.
    pub left: BTreeMap<Stays, Bytes>,
    /// The swap file that was made for it.
    pub own_swap: Option<OwnSwap>,
    /// Why this means and not the other; `None` where it was asked for.
    pub because: Option<String>,
}

/// Parks a tree.
///
/// # Errors
/// [`ParkError`]: the tree runs on as it was, unless it says [`ParkError::NotPutBack`].
pub fn park(order: &mut Order<'_>) -> Result<Done, ParkError> {
    let top = ProcessName::of(order.root, order.pid)?.ok_or(ParkError::NoProcess(order.pid))?;
    if known::find(order.runtime, order.root, order.pid)?.is_some() {
        return Err(ParkError::AlreadyParked(order.pid));
    }
    let entry = order.runtime.lock(top)?.ok_or(ParkError::Busy(order.pid))?;
    let done = in_own_thread(|| park_in(order, &entry));
    match &done {
        Ok(_) | Err(ParkError::NotPutBack { .. }) => {}
        Err(_) => {
            entry.remove()?;
            // What can't be removed now is by the next command.
            let _ = swap::own::tidy(order.root, order.runtime);
        }
    }
    done
}

fn park_in(order: &mut Order<'_>, entry: &Entry) -> Result<Done, ParkError> {
    // What can be known beforehand is, before anything is stopped.
    let mut examined = Examined::look(order.root, order.pid, order.extent)?;
    if order.thaw.is_some() {
        examined.will_be_thawed();
    }
    let report = Report::of(&examined, order.wanted, order.place);
    drop(examined);
    if !report.hindrances.is_empty() {
        return Err(ParkError::Hindered(report.hindrances));
    }
    let page_size = page_size(order.root)?;
    let _swap_file = match &report.own_swap {
        None => None,
        Some(own) => {
            let made = swap::own::make(order.runtime, order.place, own.size, page_size);
            Some(made?)
        }
    };
    let (mut tree, waits) = stop(order)?;
    if let Some(thaw) = &mut order.thaw {
        thaw();
    }
    fault_point("stopped");
    let mut plans = look(order.root, &tree, page_size)?;
    let (way, because) = choose(order, report.means, &tree, &plans)?;
    let mut record = record(order.root, &tree, way.means())?;
    record.wake = order.wake;
    record.waits = waits;
    entry.write(&record)?;
    fault_point("recorded");

    let moved = match &way {
        Way::Swap => by_swap(order, &mut tree, &mut record, &mut plans, page_size),
        Way::Store(store, worst_bytes) => {
            let store = (store, *worst_bytes);
            by_store(
                order,
                &mut tree,
                entry,
                &mut record,
                &mut plans,
                store,
                page_size,
            )
        }
    };
    let moved = moved.and_then(|()| match order.interrupted.load(Ordering::Relaxed) {
        true => Err(ParkError::Interrupted),
        false => Ok(()),
    });
    let frozen = moved.and_then(|()| hold(order.root, &tree, entry, &mut record));
    if let Err(why) = frozen {
        return Err(put_back(order.root, tree, entry, &record, why));
    }
    fault_point("held");
    drop(tree);
    if let Some(plan) = &record.frozen {
        plan.confirm(order.root, FREEZE_TIMEOUT)?;
    }
    fault_point("let-go");
    record.state = State::Parked;
    entry.write(&record)?;
    let mut left = BTreeMap::new();
    for (why, bytes) in plans.into_iter().flat_map(|plan| plan.left) {
        *left.entry(why).or_default() += bytes;
    }
    left.retain(|_, bytes| *bytes > Bytes::ZERO);
    Ok(Done {
        record,
        left,
        own_swap: report.own_swap,
        because,
    })
}

fn page_size(root: &Root) -> Result<PageSize, ParkError> {
    Ok(plimsoll_proc::page_size::read(root)?)
}

/// Stops the tree, and sees what it waits for. One that is to wake for input is best parked asleep: where a thread
/// is found at work, on a tick perhaps, all are let go and stopped again a little later.
fn stop(order: &Order<'_>) -> Result<(StoppedTree, Waits), ParkError> {
    let mut attempts = match order.wake {
        WakeOn::Input if order.thaw.is_none() => ATTEMPTS,
        _ => 1,
    };
    loop {
        let before = wake::Before::look(order.root, order.pid, order.extent)?;
        let tree = StoppedTree::stop(order.root, order.pid, order.extent, STOP_TIMEOUT)?;
        let waits = wake::waits(order.root, &tree, &before);
        attempts -= 1;
        if waits.unwatched_threads == 0 || (attempts == 0 && !order.only_asleep) {
            return Ok((tree, waits));
        }
        if attempts == 0 {
            return Err(ParkError::AtWork(order.pid));
        }
        drop(tree);
        std::thread::sleep(BETWEEN_ATTEMPTS);
    }
}

/// What each process has, and the pages its threads stand on.
fn look(root: &Root, tree: &StoppedTree, page_size: PageSize) -> Result<Vec<Plan>, ParkError> {
    let mut plans = Vec::with_capacity(tree.processes.len());
    for process in &tree.processes {
        let pid = process.name.pid;
        let mut plan = Plan::read(root, pid)?;
        if !plan.armed.is_empty() || !arm::held(root, pid)?.is_empty() {
            return Err(ParkError::UsesUserfaultfd { pid });
        }
        let mut stands_on = Vec::with_capacity(process.threads.len() * 2);
        for thread in &process.threads {
            let registers = thread
                .registers()
                .map_err(plimsoll_surgery::stop::StopError::from)?;
            stands_on.extend([registers.rsp, registers.fs_base]);
        }
        plan.keep(stands_on, page_size.get());
        plans.push(plan);
    }
    Ok(plans)
}

/// The means, with what is known before anything is done.
enum Way {
    Swap,
    /// A store that is to be made, and what it takes at worst.
    Store(Planned, u64),
}

impl Way {
    fn means(&self) -> Means {
        match self {
            Self::Swap => Means::Swap,
            Self::Store(planned, _) => Means::Store {
                dir: planned.dir.clone(),
            },
        }
    }
}

/// Chooses the means; nothing is made yet.
fn choose(
    order: &Order<'_>,
    foreseen: check::Means,
    tree: &StoppedTree,
    plans: &[Plan],
) -> Result<(Way, Option<String>), ParkError> {
    let pids = || tree.processes.iter().map(|process| process.name.pid);
    let needed = swap::needed(order.root, pids())?;
    let budget = Budget::read(order.root, pids())?;
    match order.wanted {
        Wanted::Swap if budget.holds() < needed => Err(ParkError::NoSwap { needed, budget }),
        Wanted::Swap => Ok((Way::Swap, None)),
        Wanted::Auto if budget.saves() >= needed && foreseen == check::Means::Swap => {
            Ok((Way::Swap, Some(budget.to_string())))
        }
        wanted => {
            if plans.iter().all(|plan| plan.movable.is_empty()) {
                return Err(ParkError::Nothing(order.pid));
            }
            let room = order.place.choose(needed.get())?;
            let top = tree
                .processes
                .first()
                .ok_or(ParkError::NoProcess(order.pid))?
                .name;
            let planned = room.plan(top.pid, top.start_ticks)?;
            Ok((
                Way::Store(planned, needed.get()),
                (wanted == Wanted::Auto).then(|| format!("it takes {needed}, and {budget}")),
            ))
        }
    }
}

fn record(root: &Root, tree: &StoppedTree, means: Means) -> Result<Record, ParkError> {
    let mut processes = Vec::with_capacity(tree.processes.len());
    for process in &tree.processes {
        let comm = root.read(format!("proc/{}/comm", process.name.pid))?;
        processes.push(Member {
            name: process.name,
            comm: plimsoll_proc::text::printable(comm.trim_ascii_end()).into_owned(),
            uffd: None,
            huge: Vec::new(),
        });
    }
    Ok(Record {
        version: VERSION,
        state: State::Parking,
        lazy: false,
        means,
        since_s: now_s(),
        frozen: None,
        processes,
        children: Vec::new(),
        moved_bytes: 0,
        copies_bytes: 0,
        stored_bytes: 0,
        wake: WakeOn::default(),
        waits: Waits::default(),
    })
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn by_swap(
    order: &mut Order<'_>,
    tree: &mut StoppedTree,
    record: &mut Record,
    plans: &mut [Plan],
    page_size: PageSize,
) -> Result<(), ParkError> {
    let progress = &mut *order.progress;
    let out = swap::page_out(order.root, tree, page_size, order.interrupted, progress)?;
    record.moved_bytes = out.moved.get();
    record.stored_bytes = out.stored.get();
    for (left, plan) in out.left.into_iter().zip(plans) {
        plan.left = left;
    }
    Ok(())
}

fn by_store(
    order: &mut Order<'_>,
    tree: &mut StoppedTree,
    entry: &Entry,
    record: &mut Record,
    plans: &mut [Plan],
    (planned, worst_bytes): (&Planned, u64),
    page_size: PageSize,
) -> Result<(), ParkError> {
    let identity = identity(order.root, tree, record, page_size)?;
    let mut writer = Writer::create(planned, &identity, order.codec, worst_bytes)?;
    fault_point("store-made");
    let memory = Tree::open(&tree.processes, plans, page_size)?;
    let mut gone_bytes = 0;
    let progress = &mut order.progress;
    let mut progress = |bytes| {
        gone_bytes += bytes;
        progress(gone_bytes, worst_bytes);
    };
    let mut sharing = Vec::new();
    for (slot, (process, plan)) in (0..).zip(tree.processes.iter_mut().zip(&mut *plans)) {
        if plan.movable.is_empty() {
            continue;
        }
        let pid = process.name.pid;
        let mut operation = Operation::begin(order.root, process)?;
        let number = arm::create(&mut operation)?;
        if let Some(member) = record.processes.get_mut(slot as usize) {
            member.uffd = Some(number);
        }
        entry.write(record)?;
        fault_point("equipped");
        let uffd = arm::take(pid, number)?;
        let shares = Shedding {
            slot: Slot(slot),
            operation,
            uffd: &uffd,
            tree: &memory,
            interrupted: order.interrupted,
            progress: &mut progress,
            shares: false,
            pending: None,
        }
        .run(plan, &mut writer, &entry.logs(slot))?;
        if let Some(member) = record.processes.get_mut(slot as usize) {
            member.huge = plan
                .huge
                .iter()
                .map(|span| (span.start, span.end))
                .collect();
        }
        if shares {
            sharing.push((slot, uffd));
        }
    }
    let stored = writer.finish()?;
    fault_point("finished");
    if !sharing.is_empty() {
        let store = Store::open(&planned.dir)?;
        let all = (0..).zip(tree.processes.iter_mut().zip(&*plans));
        for (slot, (process, plan)) in all {
            let Some((_, uffd)) = sharing.iter().find(|(sharing, _)| *sharing == slot) else {
                continue;
            };
            Shedding {
                slot: Slot(slot),
                operation: Operation::begin(order.root, process)?,
                uffd,
                tree: &memory,
                interrupted: order.interrupted,
                progress: &mut progress,
                shares: true,
                pending: None,
            }
            .drop_shared(plan, &store, &entry.logs(slot))?;
        }
        fault_point("shared-dropped");
    }
    for slot in (0..).take(tree.processes.len()) {
        let removed = entry.logs(slot).remove();
        removed.map_err(failed("forget the drops of", order.pid))?;
    }
    record.moved_bytes = stored.moved_bytes;
    record.copies_bytes = stored.copies_bytes;
    record.stored_bytes = stored.stored_bytes;
    Ok(())
}

fn failed(operation: &'static str, pid: u32) -> impl FnOnce(io::Error) -> ParkError {
    move |error| ParkError::Process {
        operation,
        pid,
        source: rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO),
    }
}

fn identity(
    root: &Root,
    tree: &StoppedTree,
    record: &Record,
    page_size: PageSize,
) -> Result<Identity, ParkError> {
    let processes = tree
        .processes
        .iter()
        .zip(&record.processes)
        .map(|(process, member)| {
            let mut comm = [0; 16];
            for (place, byte) in comm.iter_mut().take(15).zip(member.comm.bytes()) {
                *place = byte;
            }
            Parked {
                pid: process.name.pid,
                starttime: process.name.start_ticks,
                comm,
            }
        });
    Ok(Identity {
        boot_id: boot_id(root)?,
        page_size: page_size.get(),
        created_s: record.since_s,
        processes: processes.collect(),
    })
}

/// `/proc/sys/kernel/random/boot_id` as its sixteen bytes.
pub(crate) fn boot_id(root: &Root) -> Result<[u8; 16], ParkError> {
    let text = root.read("proc/sys/kernel/random/boot_id")?;
    let digits: Vec<u8> = text
        .iter()
        .filter_map(|byte| char::from(*byte).to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    match <[u8; 16]>::try_from(bytes) {
        Ok(id) if rest.is_empty() => Ok(id),
        _ => Err(ParkError::NoBootId),
    }
}

/// Makes sure that the tree stands still without us.
fn hold(
    root: &Root,
    tree: &StoppedTree,
    entry: &Entry,
    record: &mut Record,
) -> Result<(), ParkError> {
    freeze::hold(root, tree, &FrozenBy::ALL, |plan| {
        record.frozen = Some(plan.clone());
        entry.write(record).map_err(io::Error::other)
    })?;
    Ok(())
}

/// Parking failed: brings back what is out while the tree still stands, and lets it run on.
fn put_back(
    root: &Root,
    tree: StoppedTree,
    entry: &Entry,
    record: &Record,
    why: ParkError,
) -> ParkError {
    match back::undo(root, tree, entry, record) {
        Ok(()) => why,
        Err(source) => ParkError::NotPutBack {
            why: Box::new(why),
            source: Box::new(source),
        },
    }
}

/// The store of a record, finished or not.
pub(crate) fn open_store(dir: &std::path::Path) -> Result<Store, crate::store::StoreError> {
    match Store::open(dir) {
        Err(crate::store::StoreError::Unfinished { .. }) => Store::recover(dir),
        store => store,
    }
}
