//! What stands in the way of surgery, each with its remedy in plain words.

use super::descriptors::{Descriptor, Kind as DescriptorKind};
use super::mappings::{Kind as MappingKind, Mapping};
use plimsoll_proc::Root;
use plimsoll_proc::process::status::Status;
use plimsoll_units::Bytes;
use rustix::thread::CapabilitySet;
use std::fmt;

/// Something that stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A debugger, tracer or another Plimsoll has it.
    Traced {
        /// Who.
        by: u32,
    },
    /// We may not look into it.
    Denied,
    /// Yama lets us trace nobody but our own descendants, or nobody at all.
    TracingRestricted,
    /// It has no memory of its own: a kernel thread, or it is ending.
    NoMemory,
    /// Somebody has frozen its control group.
    Frozen,
    /// Its core is being written.
    DumpingCore,
    /// Its program is a 32-bit one.
    ThirtyTwoBit,
    /// It runs under seccomp filters, and we lack CAP_SYS_ADMIN to put them to sleep.
    Filtered,
    /// It answers page faults itself.
    UsesUserfaultfd,
    /// The kernel has buffers of it pinned for io_uring.
    UsesIoUring {
        /// Registered buffers.
        buffers: u64,
    },
    /// It has files open for direct I/O, and a way to leave such I/O in flight: a disk may write into its memory
    /// while it stands still.
    DirectIo,
    /// Devices may write into its memory at any time.
    Pinned {
        /// How much.
        bytes: Bytes,
    },
    /// It drives a GPU or accelerator.
    UsesGpu,
    /// A network card reads and writes its memory.
    UsesRdma,
    /// It maps memory of a device.
    MapsDevice,
}

impl Obstacle {
    /// Whether it stands in the way of the kernel's own reclaim, too. The kernel knows what is pinned or a device's; the
    /// process has only to stand still.
    #[must_use]
    pub fn stops_swap(self) -> bool {
        !matches!(
            self,
            Self::Filtered
                | Self::UsesIoUring { .. }
                | Self::DirectIo
                | Self::Pinned { .. }
                | Self::UsesGpu
                | Self::UsesRdma
                | Self::MapsDevice
        )
    }

    /// Whether more privilege is all that it takes.
    #[must_use]
    pub fn is_privilege(self) -> bool {
        matches!(
            self,
            Self::Denied | Self::Filtered | Self::TracingRestricted
        )
    }

    /// What can be done about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Traced { .. } => "end the debugger or tracer first: a process can have only one",
            Self::Denied => {
                "run as the user it runs as, or as root (CAP_SYS_PTRACE); a process that is not dumpable only as root"
            }
            Self::TracingRestricted => {
                "run as root (CAP_SYS_PTRACE), or set kernel.yama.ptrace_scope to 0"
            }
            Self::NoMemory => "there is nothing to take from it",
            Self::Frozen => {
                "thaw its control group first (cgroup.freeze, freezer.state), or `plimsoll resume` it"
            }
            Self::DumpingCore => "wait until its core has been written",
            Self::ThirtyTwoBit => "none yet: only 64-bit programs are supported",
            Self::Filtered => "run as root (CAP_SYS_ADMIN), which lets the filters sleep meanwhile",
            Self::UsesUserfaultfd => {
                "none: its memory already has a pager; stop what uses it (a JVM's collector, QEMU, CRaC, gVisor)"
            }
            Self::UsesIoUring { .. } => {
                "run it without io_uring (many programs have a switch), or unregister its buffers"
            }
            Self::DirectIo => {
                "stop what does asynchronous direct I/O (a database's, a virtual machine's disk)"
            }
            Self::Pinned { .. } => {
                "end what pins its memory (RDMA, io_uring, a virtual machine's device)"
            }
            Self::UsesGpu => "none: memory of a GPU can't be seen from here",
            Self::UsesRdma => "end its RDMA connections",
            Self::MapsDevice => "none: what a device maps can't be moved",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traced { by } => write!(f, "it is traced by process {by}"),
            Self::Denied => f.write_str("we may not look into it"),
            Self::TracingRestricted => {
                f.write_str("kernel.yama.ptrace_scope forbids us to trace it")
            }
            Self::NoMemory => f.write_str("it has no memory of its own"),
            Self::Frozen => f.write_str("its control group is frozen"),
            Self::DumpingCore => f.write_str("its core is being written"),
            Self::ThirtyTwoBit => f.write_str("it is a 32-bit program"),
            Self::Filtered => f.write_str("it runs under seccomp filters"),
            Self::UsesUserfaultfd => f.write_str("it uses userfaultfd"),
            Self::UsesIoUring { buffers } => {
                write!(f, "it uses io_uring ({buffers} registered buffers)")
            }
            Self::DirectIo => f.write_str("it may have direct I/O in flight"),
            Self::Pinned { bytes } => write!(f, "{bytes} of its memory are pinned"),
            Self::UsesGpu => f.write_str("it uses a GPU"),
            Self::UsesRdma => f.write_str("it uses RDMA"),
            Self::MapsDevice => f.write_str("it maps memory of a device"),
        }
    }
}

/// `root` is asked who we are, and what the host allows.
pub(super) fn of_status(root: &Root, status: &Status) -> Vec<Obstacle> {
    let pinned = status.vm.map_or(Bytes::ZERO, |vm| vm.pinned);
    let filtered = status.seccomp.unwrap_or(0) != 0 && !we_have(root, CapabilitySet::SYS_ADMIN);
    // Without the file there is no Yama. 1 would let us trace our own descendants, which a tree to be parked is not.
    let scope = root.read("proc/sys/kernel/yama/ptrace_scope");
    let restricted = scope.is_ok_and(|scope| scope.trim_ascii() != b"0");
    [
        (restricted && !we_have(root, CapabilitySet::SYS_PTRACE))
            .then_some(Obstacle::TracingRestricted),
        (status.tracer_pid != 0).then_some(Obstacle::Traced {
            by: status.tracer_pid,
        }),
        status.vm.is_none().then_some(Obstacle::NoMemory),
        (status.core_dumping == Some(true)).then_some(Obstacle::DumpingCore),
        filtered.then_some(Obstacle::Filtered),
        (pinned != Bytes::ZERO).then_some(Obstacle::Pinned { bytes: pinned }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn we_have(root: &Root, capability: CapabilitySet) -> bool {
    let ours = root.read("proc/self/status").ok();
    let ours = ours.and_then(|text| Status::parse(&text).ok());
    ours.is_some_and(|ours| ours.has(capability))
}

/// The class of its program: the fifth byte of an ELF header, 1 for 32 bits.
pub(super) fn of_image(root: &Root, pid: u32) -> Option<Obstacle> {
    use std::io::Read;
    let mut header = [0; 5];
    let mut program = root.open(format!("proc/{pid}/exe")).ok()?;
    program.read_exact(&mut header).ok()?;
    (header == *b"\x7fELF\x01").then_some(Obstacle::ThirtyTwoBit)
}

pub(super) fn of_mappings(mappings: &[Mapping]) -> Vec<Obstacle> {
    let any = |is: fn(&Mapping) -> bool| mappings.iter().any(is);
    [
        any(|m| m.traits.armed).then_some(Obstacle::UsesUserfaultfd),
        any(|m| m.kind == MappingKind::Device).then_some(Obstacle::MapsDevice),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn of_descriptors(descriptors: &[Descriptor], mappings: &[Mapping]) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let uring = |d: &Descriptor| matches!(d.kind, DescriptorKind::IoUring { .. });
    let direct = descriptors.iter().any(|descriptor| descriptor.direct);
    // A ring of io_setup(2) is there for direct I/O; with others it would not be asynchronous.
    let aio = mappings.iter().any(|m| m.kind == MappingKind::Aio);
    if aio || direct && descriptors.iter().any(uring) {
        found.push(Obstacle::DirectIo);
    }
    for descriptor in descriptors {
        let obstacle = match descriptor.kind {
            DescriptorKind::Userfaultfd => Obstacle::UsesUserfaultfd,
            DescriptorKind::IoUring { buffers } if buffers > 0 => Obstacle::UsesIoUring { buffers },
            DescriptorKind::Gpu => Obstacle::UsesGpu,
            DescriptorKind::Rdma => Obstacle::UsesRdma,
            _ => continue,
        };
        if !found.contains(&obstacle) {
            found.push(obstacle);
        }
    }
    found
}
