//! The verbs: a command started in a hold, something that runs held, a hold released; and holds whose work is done cleared
//! away.

use crate::apply::{self, Previous, Settings};
use crate::host::Host;
use crate::place::{self, Intended, Own};
use crate::plan::{Abilities, HIGH, MAX, Plan, Remark, SWAP_MAX, plan};
use crate::record::{Record, Records};
use crate::systemd::{self, Unit};
use crate::{Asked, HoldError, Numbers};
use plimsoll_cgroup::mount::Version;
use plimsoll_cgroup::write::Group;
use plimsoll_proc::Root;
use plimsoll_surgery::tree::ProcessName;
use plimsoll_units::Bytes;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What is to be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A process and all its descendants.
    Tree(u32),
    /// A group, by its path as `/proc/PID/cgroup` shows it, or by its directory.
    Group(PathBuf),
    /// A unit of systemd's.
    Unit(String),
}

/// A hold that was made, and what is to be said about it.
#[derive(Debug)]
pub struct Held {
    /// The hold.
    pub record: Record,
    /// What the person should know.
    pub remarks: Vec<Remark>,
}

/// Holds something that runs.
///
/// # Errors
/// Why it can't be; nothing was changed then.
pub fn hold(
    root: &Root,
    records: &Records,
    name: &str,
    target: &Target,
    asked: &Asked,
) -> Result<Held, HoldError> {
    if asked.numbers.ram == Bytes::ZERO {
        return Err(HoldError::NoRam);
    }
    let host = Host::read(root)?;
    match target {
        Target::Group(path) => hold_group(records, &host, name, directory(&host, path), asked),
        Target::Unit(unit) => match systemd::group_of(unit)? {
            Some(path) => hold_group(
                records,
                &host,
                name,
                directory(&host, Path::new(&path)),
                asked,
            ),
            None => Err(HoldError::NoTarget {
                what: format!("unit {unit} that runs"),
            }),
        },
        Target::Tree(pid) => match place::alone(root, &host.memory, *pid)? {
            Some(path) => hold_group(records, &host, name, path, asked),
            None if host.systemd && host.memory.version == Version::V2 => Err(HoldError::Shared {
                pid: *pid,
                path: site_of(root, &host, *pid)?,
            }),
            None => hold_moved(root, records, &host, name, *pid, asked),
        },
    }
}

fn site_of(root: &Root, host: &Host, pid: u32) -> Result<PathBuf, HoldError> {
    let memberships = root.read(format!("proc/{pid}/cgroup"))?;
    let path = host.memory.group_of(&memberships, "memory");
    Ok(path.unwrap_or_else(|| host.memory.mount_point.clone()))
}

fn directory(host: &Host, path: &Path) -> PathBuf {
    if path.starts_with(&host.memory.mount_point) {
        return path.to_owned();
    }
    let below = path.strip_prefix(&host.memory.root).unwrap_or(path);
    host.memory
        .mount_point
        .join(below.strip_prefix("/").unwrap_or(below))
}

/// Holds a group that is there.
fn hold_group(
    records: &Records,
    host: &Host,
    name: &str,
    path: PathBuf,
    asked: &Asked,
) -> Result<Held, HoldError> {
    if path == host.memory.mount_point {
        return Err(HoldError::WholeHost);
    }
    if let Some(other) = records.all()?.into_iter().find(|one| one.group == path) {
        return Err(HoldError::Held {
            path,
            name: other.name,
        });
    }
    let group = match Group::open(host.memory.version, &path) {
        Err(error) if error.is_gone() => {
            return Err(HoldError::NoTarget {
                what: format!("control group {}", path.display()),
            });
        }
        group => group?,
    };
    let mut plan = plan(asked, host, &Abilities::of(&group)?);
    let file_name = path.file_name().and_then(|name| name.to_str());
    let unit = file_name.filter(|name| host.systemd && systemd::is_unit(name));
    let mut record = Record {
        name: name.to_owned(),
        numbers: asked.numbers,
        version: number(host.memory.version),
        group: path.clone(),
        unit: unit.map(str::to_owned),
        pressure: None,
        own: None,
        previous: Vec::new(),
        runner: None,
    };
    match unit {
        Some(_) if host.memory.version == Version::V1 => {
            plan.remarks.push(Remark::BesideSystemd);
            record.unit = None;
            carry_out(records, &mut record, &group, &plan)?;
        }
        Some(unit) => {
            let unit = Unit {
                name: unit.to_owned(),
                group,
            };
            carry_out(records, &mut record, &unit, &plan)?;
            // systemd notes a limit also where it was given no memory controller to keep it with.
            if !unit.group.has(MAX) {
                release(records, &record)?;
                return Err(HoldError::NoController);
            }
        }
        None => carry_out(records, &mut record, &group, &plan)?,
    }
    Ok(Held {
        record,
        remarks: plan.remarks,
    })
}

/// Moves a tree into a group of our own, and holds that.
fn hold_moved(
    root: &Root,
    records: &Records,
    host: &Host,
    name: &str,
    pid: u32,
    asked: &Asked,
) -> Result<Held, HoldError> {
    // Until everybody is in it, nobody else may take the empty group for one whose work is done.
    let runner = ProcessName::of(root, std::process::id())?;
    let mut held = hold_new(root, records, host, name, pid, asked, runner)?;
    if let Err(error) = held.own.take_in(root, pid) {
        release(records, &held.held.record)?;
        return Err(error);
    }
    held.held.remarks.push(Remark::ChargesStay);
    Ok(held.held)
}

/// A group of our own, held and empty.
#[derive(Debug)]
pub struct New {
    /// The hold.
    pub held: Held,
    /// Its groups.
    pub own: Own,
}

/// Makes a held group for a command that the caller starts.
///
/// # Errors
/// Why it can't be; nothing was changed then.
pub fn start(
    root: &Root,
    records: &Records,
    host: &Host,
    name: &str,
    numbers: Numbers,
) -> Result<New, HoldError> {
    if numbers.ram == Bytes::ZERO {
        return Err(HoldError::NoRam);
    }
    let us = std::process::id();
    let runner = ProcessName::of(root, us)?;
    hold_new(root, records, host, name, us, &numbers.into(), runner)
}

/// Writes down that a command is held in a scope of systemd's, and gives the command that starts it there.
///
/// # Errors
/// [`HoldError::Exists`] where the name is taken; when `/proc` can't be read.
pub fn start_scope(
    root: &Root,
    records: &Records,
    host: &Host,
    name: &str,
    numbers: Numbers,
    user: bool,
    command: &[OsString],
) -> Result<(Held, Vec<OsString>), HoldError> {
    if numbers.ram == Bytes::ZERO {
        return Err(HoldError::NoRam);
    }
    let ours = site_of(root, host, std::process::id())?;
    // Of a unit's group we know only that our own has what its unit will have.
    let plan = plan(
        &numbers.into(),
        host,
        &Abilities::of(&Group::open(Version::V2, &ours)?)?,
    );
    let scope = place::scope(name);
    let unlimited = |file: &str| Previous {
        file: file.to_owned(),
        text: "max".to_owned(),
    };
    let record = Record {
        name: name.to_owned(),
        numbers,
        version: number(Version::V2),
        group: systemd::scope_group(&host.memory.mount_point, &ours, user).join(&scope),
        unit: Some(scope.clone()),
        pressure: None,
        own: None,
        previous: [MAX, HIGH, SWAP_MAX].map(unlimited).into(),
        runner: ProcessName::of(root, std::process::id())?,
    };
    records.add(&record)?;
    let words = systemd::run(&scope, &plan, systemd::Manager::ask(user), command);
    let remarks = plan.remarks;
    Ok((Held { record, remarks }, words))
}

fn hold_new(
    root: &Root,
    records: &Records,
    host: &Host,
    name: &str,
    pid: u32,
    asked: &Asked,
    runner: Option<ProcessName>,
) -> Result<New, HoldError> {
    if records.find(name)?.is_some() {
        return Err(HoldError::Exists {
            name: name.to_owned(),
        });
    }
    let intended = Intended::find(root, host, pid, name)?;
    let record = Record {
        name: name.to_owned(),
        numbers: asked.numbers,
        version: number(host.memory.version),
        group: intended.memory(),
        unit: None,
        pressure: intended.pressure(),
        own: Some(intended.homes.clone()),
        previous: Vec::new(), // the groups go as a whole
        runner,
    };
    // Before there are any: whatever kills us, what is left can be found.
    records.add(&record)?;
    match make_held(intended, host, asked) {
        Ok((own, remarks)) => Ok(New {
            held: Held { record, remarks },
            own,
        }),
        Err(error) => {
            records.remove(name)?;
            Err(error)
        }
    }
}

/// Makes groups of our own, held and empty.
fn make_held(
    intended: Intended,
    host: &Host,
    asked: &Asked,
) -> Result<(Own, Vec<Remark>), HoldError> {
    let own = intended.make()?;
    let held = Abilities::of(&own.memory)
        .map_err(HoldError::from)
        .and_then(|can| {
            let plan = plan(asked, host, &can);
            apply::apply(&own.memory, &plan, &[])?;
            Ok(plan.remarks)
        });
    match held {
        Ok(remarks) => Ok((own, remarks)),
        Err(error) => {
            own.remove();
            Err(error)
        }
    }
}

/// The record is there before the group is changed, and says what undoes it.
fn carry_out(
    records: &Records,
    record: &mut Record,
    settings: &impl Settings,
    plan: &Plan,
) -> Result<(), HoldError> {
    record.previous = apply::before(settings.group(), plan)?;
    records.add(record)?;
    let outcome = apply::apply(settings, plan, &record.previous);
    if outcome.is_err() {
        records.remove(&record.name)?;
    }
    outcome
}

/// Ends a hold: a group of our own is emptied and removed, its processes run on where they came from; another is given the
/// settings back that it had.
///
/// # Errors
/// What could not be undone; the hold is still known then.
pub fn release(records: &Records, record: &Record) -> Result<(), HoldError> {
    match (&record.own, Group::open(record.interface(), &record.group)) {
        (Some(homes), _) => place::give_back(record, homes)?,
        (None, Err(error)) if error.is_gone() => {}
        (None, group) => match &record.unit {
            Some(unit) => {
                let unit = Unit {
                    name: unit.clone(),
                    group: group?,
                };
                apply::undo(&unit, &record.previous)?;
            }
            None => apply::undo(&group?, &record.previous)?,
        },
    }
    records.remove(&record.name)
}

/// All holds whose work goes on. Those whose work is done are cleared away: their group is gone, or is our own, empty, and
/// nobody starts anything in it.
///
/// # Errors
/// When records or groups can't be read.
pub fn living(root: &Root, records: &Records) -> Result<Vec<Record>, HoldError> {
    records.sweep(root)?;
    let mut living = Vec::new();
    for record in records.all()? {
        let is_awaited = match record.runner {
            Some(runner) => runner.lives(root)?,
            None => false,
        };
        let is_there = record.group.exists();
        let is_done = !is_there || (record.own.is_some() && !place::is_inhabited(&record)?);
        if is_done && !is_awaited {
            release(records, &record)?;
        } else {
            living.push(record);
        }
    }
    Ok(living)
}

fn number(version: Version) -> u8 {
    match version {
        Version::V1 => 1,
        Version::V2 => 2,
    }
}
