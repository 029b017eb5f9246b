//! What one image says of another: ids that must lead somewhere.

use super::files::Set;
use super::report::{Report, Weight};
use crate::kind::Kind;
use crate::proto::{FdTypes, FileEntry, RemapType, SeccompMode};
use std::collections::{BTreeMap, BTreeSet};

/// The `state` of a TCP socket that has no connection.
const WITHOUT_STREAM: [u32; 2] = [7, 10]; // CLOSE, LISTEN
const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;

pub(super) fn check(set: &Set, report: &mut Report) {
    let files = check_files(set, report);
    check_descriptors(set, &files, report);
    check_places(set, &files, report);
    check_remaps(set, &files, report);
    check_objects(set, report);
    check_queues(set, &files, report);
    check_filters(set, report);
    check_groups(set, report);
}

type Files<'a> = BTreeMap<u32, &'a FileEntry>;

fn check_files<'a>(set: &'a Set, report: &mut Report) -> Files<'a> {
    let name = Kind::Files.file_name(0);
    let mut files = Files::new();
    for file in &set.files {
        if files.insert(file.id, file).is_some() {
            let text = format!("two files have the id {:#x}", file.id);
            report.add(Weight::Contradiction, &name, text);
        }
        match inner_id(file) {
            Some(id) if id == file.id => {}
            Some(id) => {
                let text = format!("file {:#x} calls itself {id:#x} inside", file.id);
                report.add(Weight::Contradiction, &name, text);
            }
            None => {
                let text = format!("file {:#x} does not hold what its type says", file.id);
                report.add(Weight::Missing, &name, text);
            }
        }
    }
    files
}

/// The id in the message that the file's type calls for; `None` if that is not there.
fn inner_id(file: &FileEntry) -> Option<u32> {
    match file.r#type() {
        FdTypes::Reg => file.reg.as_ref().map(|inner| inner.id),
        FdTypes::Pipe => file.pipe.as_ref().map(|inner| inner.id),
        FdTypes::Fifo => file.fifo.as_ref().map(|inner| inner.id),
        FdTypes::Inetsk => file.isk.as_ref().map(|inner| inner.id),
        FdTypes::Unixsk => file.usk.as_ref().map(|inner| inner.id),
        FdTypes::Eventfd => file.efd.as_ref().map(|inner| inner.id),
        FdTypes::Eventpoll => file.epfd.as_ref().map(|inner| inner.id),
        FdTypes::Inotify => file.ify.as_ref().map(|inner| inner.id),
        FdTypes::Signalfd => file.sgfd.as_ref().map(|inner| inner.id),
        FdTypes::Packetsk => file.psk.as_ref().map(|inner| inner.id),
        FdTypes::Tty => file.tty.as_ref().map(|inner| inner.id),
        FdTypes::Fanotify => file.ffy.as_ref().map(|inner| inner.id),
        FdTypes::Netlinksk => file.nlsk.as_ref().map(|inner| inner.id),
        FdTypes::Ns => file.nsf.as_ref().map(|inner| inner.id),
        FdTypes::Tunf => file.tunf.as_ref().map(|inner| inner.id),
        FdTypes::Ext => file.ext.as_ref().map(|inner| inner.id),
        FdTypes::Timerfd => file.tfd.as_ref().map(|inner| inner.id),
        FdTypes::Memfd => file.memfd.as_ref().map(|inner| inner.id),
        FdTypes::Bpfmap => file.bpf.as_ref().map(|inner| inner.id),
        FdTypes::Pidfd => file.pidfd.as_ref().map(|inner| inner.id),
        // Only a descriptor has these types, or one that is newer than we.
        FdTypes::Und | FdTypes::CtlTty | FdTypes::AutofsPipe => Some(file.id),
    }
}

fn check_descriptors(set: &Set, files: &Files<'_>, report: &mut Report) {
    for (id, descriptors) in &set.fdinfo {
        let name = Kind::Fdinfo.file_name(*id);
        let mut numbers = BTreeSet::new();
        for descriptor in descriptors {
            let fd = descriptor.fd;
            if !numbers.insert(fd) {
                report.add(
                    Weight::Contradiction,
                    &name,
                    format!("descriptor {fd} is there twice"),
                );
            }
            match files.get(&descriptor.id) {
                Some(file) if file.r#type == descriptor.r#type => {}
                Some(_) => {
                    let text = format!(
                        "descriptor {fd} and file {:#x} are of different types",
                        descriptor.id
                    );
                    report.add(Weight::Contradiction, &name, text);
                }
                None => lost(report, &name, &format!("descriptor {fd}"), descriptor.id),
            }
        }
    }
}

fn lost(report: &mut Report, name: &str, what: &str, id: u32) {
    let text = format!("{what} needs file {id:#x}, which is not in files.img");
    report.add(Weight::Missing, name, text);
}

fn check_places(set: &Set, files: &Files<'_>, report: &mut Report) {
    for (pid, fs) in &set.fs {
        for (what, id) in [
            ("the working directory", fs.cwd_id),
            ("the root", fs.root_id),
        ] {
            if !files.contains_key(&id) {
                lost(report, &Kind::Fs.file_name(*pid), what, id);
            }
        }
    }
    for (pid, mm) in &set.mm {
        if !files.contains_key(&mm.exe_file_id) {
            lost(
                report,
                &Kind::Mm.file_name(*pid),
                "the executable",
                mm.exe_file_id,
            );
        }
    }
}

fn check_remaps(set: &Set, files: &Files<'_>, report: &mut Report) {
    let name = Kind::RemapFpath.file_name(0);
    for remap in &set.remaps {
        if !files.contains_key(&remap.orig_id) {
            lost(report, &name, "a remap", remap.orig_id);
        }
        let kind = remap
            .remap_type
            .map_or(RemapType::Ghost, |_| remap.remap_type());
        let id = remap.remap_id;
        match kind {
            RemapType::Ghost if !set.has(Kind::GhostFile, id.into()) => {
                let text = format!(
                    "file {:#x} was unlinked, its content is there",
                    remap.orig_id
                );
                report.add(Weight::Missing, Kind::GhostFile.file_name(id.into()), text);
            }
            RemapType::Linked if !files.contains_key(&id) => {
                lost(report, &name, "a linked remap", id)
            }
            _ => {}
        }
    }
}

/// Terminals, memory files and connections that files refer to.
fn check_objects(set: &Set, report: &mut Report) {
    let name = Kind::Files.file_name(0);
    let ttys: BTreeSet<u32> = set.ttys.iter().map(|tty| tty.id).collect();
    let memfds: BTreeSet<u64> = set.memfds.iter().map(|memfd| memfd.inode_id).collect();
    for memfd in set.memfds.iter().filter(|memfd| memfd.size > 0) {
        if !set.has(Kind::ShmemPagemap, memfd.shmid.into()) {
            let text = format!("it holds memory file {:#x}", memfd.inode_id);
            let missing = Kind::ShmemPagemap.file_name(memfd.shmid.into());
            report.add(Weight::Missing, missing, text);
        }
    }
    for file in &set.files {
        let id = file.id;
        if let Some(tty) = file
            .tty
            .as_ref()
            .filter(|tty| !ttys.contains(&tty.tty_info_id))
        {
            let text = format!("file {id:#x} is terminal {:#x}", tty.tty_info_id);
            report.add(Weight::Missing, Kind::TtyInfo.file_name(0), text);
        }
        if let Some(memfd) = &file.memfd
            && !memfds.contains(&memfd.inode_id.into())
        {
            let text = format!("file {id:#x} is memory file {:#x}", memfd.inode_id);
            report.add(Weight::Missing, Kind::MemfdInode.file_name(0), text);
        }
        if let Some(socket) = &file.isk
            && (socket.r#type, socket.proto) == (SOCK_STREAM, IPPROTO_TCP)
            && !WITHOUT_STREAM.contains(&socket.state)
            && !set.has(Kind::TcpStream, socket.ino.into())
        {
            // Dropped on purpose where the dump was told to close connections.
            let closed = set
                .inventory
                .as_ref()
                .and_then(|inventory| inventory.tcp_close);
            if closed != Some(true) {
                let text = format!("socket {id:#x} of {name} is connected");
                report.add(
                    Weight::Missing,
                    Kind::TcpStream.file_name(socket.ino.into()),
                    text,
                );
            }
        }
    }
}

fn check_queues(set: &Set, files: &Files<'_>, report: &mut Report) {
    let pipes: BTreeSet<u32> = set
        .files
        .iter()
        .filter_map(|file| Some(file.pipe.as_ref()?.pipe_id))
        .collect();
    let fifos: BTreeSet<u32> = set
        .files
        .iter()
        .filter_map(|file| Some(file.fifo.as_ref()?.pipe_id))
        .collect();
    for (kind, data, known) in [
        (Kind::PipesData, &set.pipes_data, &pipes),
        (Kind::FifoData, &set.fifo_data, &fifos),
    ] {
        for entry in data.iter().filter(|entry| !known.contains(&entry.pipe_id)) {
            let text = format!("nobody has pipe {:#x} open", entry.pipe_id);
            report.add(Weight::Contradiction, kind.file_name(0), text);
        }
    }
    let name = Kind::SkQueues.file_name(0);
    for packet in &set.queues {
        if !files.contains_key(&packet.id_for) {
            lost(report, &name, "a packet", packet.id_for);
        }
        for id in packet.scm.iter().flat_map(|scm| &scm.rights) {
            if !files.contains_key(id) {
                lost(report, &name, "a descriptor in flight", *id);
            }
        }
    }
}

fn check_filters(set: &Set, report: &mut Report) {
    let filters = set
        .seccomp
        .first()
        .map_or(&[][..], |entry| &entry.seccomp_filters);
    let name = Kind::Seccomp.file_name(0);
    for (number, filter) in filters.iter().enumerate() {
        // A chain leads back to filters that were there before.
        if filter.prev.is_some_and(|prev| prev as usize >= number) {
            let text = format!("filter {number} does not follow on an earlier one");
            report.add(Weight::Contradiction, &name, text);
        }
    }
    for (thread, core) in &set.core {
        let Some(own) = &core.thread_core else {
            continue;
        };
        let filter = own.seccomp_filter.unwrap_or(0);
        if own.seccomp_mode.is_some()
            && own.seccomp_mode() == SeccompMode::Filter
            && filter as usize >= filters.len()
        {
            let text = format!("thread {thread} is under filter {filter}");
            report.add(Weight::Missing, &name, text);
        }
    }
}

fn check_groups(set: &Set, report: &mut Report) {
    if !set.has(Kind::Cgroup, 0) {
        return; // sets are numbered also where nobody asked for control groups to be kept
    }
    let sets: BTreeSet<u32> = set
        .cgroup
        .iter()
        .flat_map(|entry| entry.sets.iter().map(|set| set.id))
        .collect();
    let root = set
        .inventory
        .as_ref()
        .and_then(|inventory| inventory.root_cg_set);
    let of_threads = set.core.values().filter_map(|core| {
        let thread = core.thread_core.as_ref().and_then(|own| own.cg_set);
        thread.or(core.tc.as_ref().and_then(|own| own.cg_set))
    });
    let named: BTreeSet<u32> = root.into_iter().chain(of_threads).collect();
    for id in named.difference(&sets) {
        let text = format!("somebody is in set {id} of control groups");
        report.add(Weight::Missing, Kind::Cgroup.file_name(0), text);
    }
}
