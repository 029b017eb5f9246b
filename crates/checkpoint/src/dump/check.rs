//! What stands in the way of a checkpoint, known by looking alone: nothing is stopped.

use super::files::look;
use crate::coverage::{IPC_NAMESPACES, MAPPING, NAMESPACE, SHADOW_STACKS, TRACED, mapped};
use crate::error::Error;
use crate::obstacle::Obstacle;
use plimsoll_proc::Root;
use plimsoll_proc::process::map_name::MapName;
use plimsoll_proc::process::smaps::{self, Smap};
use plimsoll_proc::process::stat::Stat;
use plimsoll_proc::process::status::{Status, field};
use plimsoll_proc::process::vm_flags::VmFlag;
use plimsoll_surgery::tree::{Extent, members};

/// Namespaces that a tree must share with us.
const NAMESPACES: [&str; 8] = [
    "pid",
    "net",
    "uts",
    "mnt",
    "user",
    "time",
    // Those that its children will be born in.
    "pid_for_children",
    "time_for_children",
];

/// Everything that stands in the way of a checkpoint of a process and its descendants, as far as can be seen while they run.
///
/// # Errors
/// When `/proc` can't be read.
pub fn obstacles(root: &Root, pid: u32) -> Result<Vec<Obstacle>, Error> {
    let mut found = lasting(root, pid)?;
    let members = members(root, pid, Extent::Whole)?;
    let pids: Vec<u32> = members.iter().map(|process| process.pid).collect();
    found.extend(look::obstacles(root, &pids));
    Ok(found)
}

/// What does not change from one moment to the next, as connections do: looked for before anything is stopped.
pub(super) fn lasting(root: &Root, pid: u32) -> Result<Vec<Obstacle>, Error> {
    let mut found = Vec::new();
    for process in members(root, pid, Extent::Whole)? {
        let mut of_this = Vec::new();
        let looked = of_process(root, process.pid, pid, &mut of_this);
        if has_ended(root, process.pid) {
            continue; // it stands in nobody's way
        }
        looked?;
        found.extend(of_this);
    }
    Ok(found)
}

/// Whether a process that was there a moment ago has ended since.
fn has_ended(root: &Root, pid: u32) -> bool {
    match root.read(format!("proc/{pid}/stat")) {
        Ok(line) => Stat::parse(&line).is_ok_and(|stat| matches!(stat.state, b'Z' | b'X')),
        Err(error) => error.is_gone(),
    }
}

fn of_process(root: &Root, pid: u32, top: u32, found: &mut Vec<Obstacle>) -> Result<(), Error> {
    let text = root.read(format!("proc/{pid}/status"))?;
    let status = Status::parse(&text).ok();
    if status.as_ref().is_some_and(|status| status.tracer_pid != 0) {
        found.push(TRACED.of(pid, &[]));
    }
    if field(&text, b"x86_Thread_features").is_some_and(|features| features.starts_with(b"shstk")) {
        found.push(SHADOW_STACKS.of(pid, &[]));
    }
    for name in NAMESPACES {
        let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{name}")).ok();
        if of(&pid.to_string()) != of("self") {
            found.push(NAMESPACE.of(pid, &[&name]));
        }
    }
    let ipc = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/ipc")).ok();
    if ipc(pid) != ipc(top) {
        found.push(IPC_NAMESPACES.of(pid, &[]));
    }
    let directory = root.open_dir(format!("proc/{pid}"))?;
    smaps::stream_file(&directory, &mut Vec::new(), |smap: &Smap<'_>| {
        if let Some(what) = mapping(smap) {
            let at = format!("{:#x}", smap.mapping.start);
            found.push(MAPPING.of(pid, &[&what, &at]));
        }
    })
    .map_err(|source| plimsoll_surgery::holds::LookError::Mappings { pid, source })?;
    Ok(())
}

/// What a mapping is, where that can't be checkpointed.
pub(super) fn mapping(smap: &Smap<'_>) -> Option<&'static str> {
    let flags = smap.flags.unwrap_or_default().known;
    let armed = VmFlag::UFFD_MISSING | VmFlag::UFFD_WP | VmFlag::UFFD_MINOR;
    let kernel = matches!(
        smap.mapping.name(),
        MapName::Vdso | MapName::Vvar | MapName::Vsyscall | MapName::Special(_)
    );
    if let MapName::Descriptor(link) = smap.mapping.name() {
        // Rings of packet sockets come along; whose a socket is, its descriptor tells.
        return (!link.starts_with(b"socket:[")).then_some(mapped::RING);
    }
    if !kernel && flags.intersects(VmFlag::IO | VmFlag::PFNMAP | VmFlag::MIXEDMAP) {
        return Some(mapped::DEVICE);
    }
    if flags.intersects(armed) {
        return Some(mapped::ARMED);
    }
    for (flag, what) in [
        (VmFlag::SHADOW_STACK, mapped::SHADOW_STACK),
        (VmFlag::SEALED, mapped::SEALED),
    ] {
        if !kernel && flags.contains(flag) {
            return Some(what);
        }
    }
    match smap.mapping.name() {
        MapName::SysV { .. } if flags.contains(VmFlag::HUGETLB) => Some(mapped::HUGE_SEGMENT),
        MapName::SecretMem => Some(mapped::SECRET),
        _ => None,
    }
}
