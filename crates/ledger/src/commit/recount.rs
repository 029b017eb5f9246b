//! Adds the account up, event by event, as [`mappings::scan`](plimsoll_proc::process::mappings::scan) goes
//! through the processes. Holds one row a process and nothing a mapping.

use super::objects::Objects;
use super::shapes::Shapes;
use crate::look::{CommitProcess, Unread, Unreadable};
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_proc::process::mappings::Event;
use plimsoll_proc::process::maps::Perms;
use plimsoll_proc::process::smaps::Smap;
use plimsoll_proc::process::status::{Status, Vm};
use plimsoll_proc::process::vm_flags::VmFlag;
use plimsoll_proc::sysvipc_shm::Segment;
use plimsoll_proc::text;
use plimsoll_units::Bytes;
use std::cmp::Reverse;

/// The account as far as it has been added up.
#[derive(Debug, Default)]
pub struct Recount {
    rows: Vec<Row>,
    unreadable: Vec<Unreadable>,
    objects: Objects,
    swapped_anon: Bytes,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    row: Row,
    vm: Vm,
    shapes: Shapes,
}

#[derive(Debug, Default)]
struct Row {
    pid: u32,
    command: String,
    charged: Bytes,
    charged_not_resident: Bytes,
    anon_outside: Bytes,
    unreserved: Bytes,
    shapes: Vec<String>,
}

impl Recount {
    /// Takes what the scan tells next.
    pub fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Process(status) => self.current = Some(Current::new(status)),
            Event::Mapping(smap) => {
                self.objects.mapping(smap);
                if let Some(current) = &mut self.current {
                    current.mapping(smap);
                }
            }
            Event::Object(object) => self.objects.object(object),
            Event::Whole => {
                if let Some(current) = self.current.take() {
                    self.swapped_anon += current.vm.swap.unwrap_or_default();
                    self.rows.push(current.finish());
                }
            }
            Event::Unreadable(_) => self.current_not_read(Unread::Denied),
            Event::Spared => self.current_not_read(Unread::Costly),
            Event::Gone | Event::SharesWith(_) => self.current = None,
        }
    }

    /// Whether no process was there to be read: a recording holds no mappings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.unreadable.is_empty()
    }

    fn current_not_read(&mut self, why: Unread) {
        if let Some(Current { row, vm, .. }) = self.current.take() {
            self.swapped_anon += vm.swap.unwrap_or_default();
            self.unreadable.push(Unreadable {
                pid: row.pid,
                command: row.command,
                at_most_bytes: vm.data + vm.stack,
                why,
            });
        }
    }

    /// What `Committed_AS` should say.
    pub(super) fn committed(&self, meminfo: &Meminfo, segments: &[Segment]) -> Bytes {
        let charged: Bytes = self.rows.iter().map(|row| row.charged).sum();
        let swap_used =
            meminfo.swap_total.unwrap_or_default() - meminfo.swap_free.unwrap_or_default();
        let swapped_shmem = swap_used - self.swapped_anon;
        let promised = self.objects.promised(segments);
        charged + meminfo.shmem.unwrap_or_default() + swapped_shmem + promised
    }

    /// Anonymous memory that the account does not see.
    pub(super) fn anon_outside(&self) -> Bytes {
        self.rows.iter().map(|row| row.anon_outside).sum()
    }

    /// The processes, those first whose charge tells least of what they use, and those not read.
    pub(super) fn into_processes(mut self) -> (Vec<CommitProcess>, Vec<Unreadable>) {
        self.rows.sort_by_key(|row| {
            let surprise = row.anon_outside.max(row.charged_not_resident);
            (Reverse(surprise), row.pid)
        });
        self.unreadable
            .sort_by_key(|process| (Reverse(process.at_most_bytes), process.pid));
        let shown = |row: Row| CommitProcess {
            pid: row.pid,
            command: row.command,
            charged_bytes: row.charged,
            charged_not_resident_bytes: row.charged_not_resident,
            anon_outside_bytes: row.anon_outside,
            unreserved_bytes: row.unreserved,
            shapes: row.shapes,
        };
        (self.rows.into_iter().map(shown).collect(), self.unreadable)
    }
}

impl Current {
    fn new(status: &Status) -> Self {
        Self {
            row: Row {
                pid: status.pid,
                command: text::printable(&status.name).into_owned(),
                ..Row::default()
            },
            vm: status.vm.unwrap_or_default(),
            shapes: Shapes::default(),
        }
    }

    fn mapping(&mut self, smap: &Smap<'_>) {
        self.shapes.take(smap);
        let row = &mut self.row;
        if smap.flags.is_some_and(|flags| flags.has(VmFlag::ACCOUNT)) {
            row.charged += smap.mapping.size();
            row.charged_not_resident += smap.mapping.size() - private_pages(smap);
        } else if !smap.mapping.is_shared() {
            row.anon_outside += private_pages(smap);
            if smap.mapping.perms.contains(Perms::WRITE) {
                row.unreserved += smap.mapping.size();
            }
        }
    }

    fn finish(mut self) -> Row {
        self.row.shapes = self.shapes.words();
        self.row
    }
}

/// Pages a private mapping has of its own, in RAM or in swap: those that its charge is for.
pub(super) fn private_pages(smap: &Smap<'_>) -> Bytes {
    smap.usage.anonymous + smap.usage.swap
}
