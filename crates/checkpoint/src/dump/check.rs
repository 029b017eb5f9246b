//! What stands in the way of a checkpoint, known by looking alone: nothing is stopped.

use crate::error::Error;
use crate::obstacle::Obstacle;
use plimsoll_proc::Root;
use plimsoll_proc::process::map_name::MapName;
use plimsoll_proc::process::smaps::{self, Smap};
use plimsoll_proc::process::stat::Stat;
use plimsoll_proc::process::status::{Status, field};
use plimsoll_proc::process::vm_flags::VmFlag;
use plimsoll_surgery::tree::{Extent, members};
use std::os::unix::ffi::OsStrExt;

/// Beginnings of what `/proc/PID/fd/N` leads to that can't be checkpointed, each with a word for it.
const NOT_YET: &[(&[u8], &str)] = &[
    (b"anon_inode:[io_uring]", "an io_uring"),
    (b"anon_inode:[userfaultfd]", "a userfaultfd"),
    (b"anon_inode:[perf_event]", "a perf event"),
    (b"anon_inode:bpf", "a BPF object"),
    (b"anon_inode:kvm", "a virtual machine"),
    (b"/secretmem", "secret memory"),
    (b"/dev/nvidia", "a GPU"),
    (b"/dev/dri/", "a GPU"),
    (b"/dev/kfd", "a GPU"),
    (b"/dev/infiniband/", "an RDMA device"),
    (b"/dev/net/tun", "a TUN device"),
];

/// Namespaces that a tree must share with us.
const NAMESPACES: [&str; 9] = [
    "pid",
    "net",
    "ipc",
    "uts",
    "mnt",
    "user",
    "time",
    // Those that its children will be born in.
    "pid_for_children",
    "time_for_children",
];

/// Everything that stands in the way of a checkpoint of a process and its descendants.
///
/// # Errors
/// When `/proc` can't be read.
pub fn obstacles(root: &Root, pid: u32) -> Result<Vec<Obstacle>, Error> {
    let mut found = Vec::new();
    for process in members(root, pid, Extent::Whole)? {
        let mut of_this = Vec::new();
        let looked = of_process(root, process.pid, &mut of_this);
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

fn of_process(root: &Root, pid: u32, found: &mut Vec<Obstacle>) -> Result<(), Error> {
    let text = root.read(format!("proc/{pid}/status"))?;
    let mut add = |what: String, remedy: &str| found.push(Obstacle::new(pid, what, remedy));
    let status = Status::parse(&text).ok();
    if status.as_ref().is_some_and(|status| status.tracer_pid != 0) {
        add("it is traced".into(), "end the debugger or tracer first");
    }
    if field(&text, b"x86_Thread_features").is_some_and(|features| features.starts_with(b"shstk")) {
        add(
            "it has shadow stacks".into(),
            "run it with GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK",
        );
    }
    for name in NAMESPACES {
        let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{name}")).ok();
        if of(&pid.to_string()) != of("self") {
            add(
                format!("it has another {name} namespace than this command"),
                "none yet: checkpoint it with CRIU",
            );
        }
    }
    for entry in root.list(format!("proc/{pid}/fd"))? {
        let fd = entry.to_string_lossy().into_owned();
        let Ok(link) = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")) else {
            continue; // closed meanwhile
        };
        let link = link.as_os_str().as_bytes();
        if let Some((_, what)) = NOT_YET
            .iter()
            .find(|(beginning, _)| link.starts_with(beginning))
        {
            add(
                format!("descriptor {fd} is {what}"),
                "close it first, or checkpoint it with CRIU",
            );
        }
    }
    let directory = root.open_dir(format!("proc/{pid}"))?;
    smaps::stream_file(&directory, &mut Vec::new(), |smap: &Smap<'_>| {
        if let Some(what) = mapping(smap) {
            add(
                format!("it maps {what} at {:#x}", smap.mapping.start),
                "none yet",
            );
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
    if !kernel && flags.intersects(VmFlag::IO | VmFlag::PFNMAP | VmFlag::MIXEDMAP) {
        return Some("memory of a device");
    }
    if flags.intersects(armed) {
        return Some("memory that it answers the page faults of");
    }
    for (flag, what) in [
        (VmFlag::SHADOW_STACK, "a shadow stack"),
        (VmFlag::SEALED, "sealed memory"),
    ] {
        if !kernel && flags.contains(flag) {
            return Some(what);
        }
    }
    match smap.mapping.name() {
        MapName::SysV { .. } if flags.contains(VmFlag::HUGETLB) => {
            Some("a System V segment of huge pages")
        }
        MapName::SecretMem => Some("secret memory"),
        MapName::Descriptor(_) => Some("a ring that it shares with the kernel"),
        MapName::File {
            path: b"/[aio]",
            deleted: true,
        } => Some("a ring of io_setup(2)"),
        _ => None,
    }
}
