//! What each fuzz target does with its bytes: every parser of one family reads them, everything a caller can ask of
//! the outcome is asked, and what must hold whatever the bytes are is asserted.
//!
//! A family shares a target, because its files look alike: what is interesting to one parser of it is to others.

pub mod images;

use plimsoll_cgroup::format::{FlatKeyed, Format, Pids, Words};
use plimsoll_cgroup::mount::{Hierarchy, Version};
use plimsoll_cgroup::sample::{self, Memory, MemoryV1, MemoryV2, Tree};
use plimsoll_cgroup::{v1, v2};
use plimsoll_explain::{oom, report};
use plimsoll_ledger::{groups, host};
use plimsoll_proc::DirId;
use plimsoll_proc::boot_log::BootLog;
use plimsoll_proc::host::{HostSample, Slow};
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_proc::pagetypeinfo::Pagetypeinfo;
use plimsoll_proc::passwd::Users;
use plimsoll_proc::pressure::Pressure;
use plimsoll_proc::process::fdinfo::Fdinfo;
use plimsoll_proc::process::map_name::{self, MapName};
use plimsoll_proc::process::stat::{self, Stat};
use plimsoll_proc::process::status::{self, Status};
use plimsoll_proc::process::vm_flags::VmFlags;
use plimsoll_proc::process::{cgroup, cmdline, maps, smaps, smaps_rollup};
use plimsoll_proc::vmallocinfo::Vmallocinfo;
use plimsoll_proc::zoneinfo::Zoneinfo;
use plimsoll_proc::zram;
use plimsoll_proc::{
    buddyinfo, cgroups, kmsg, mountinfo, slabinfo, swaps, sysvipc_shm, text, uptime, vmstat,
};
use plimsoll_units::{Bytes, Limit, PageSize};
use std::ffi::OsStr;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;

mod beancounters;
mod findings;
mod store;
pub use beancounters::beancounters;
pub use findings::findings;
pub use store::{record, store};

/// Answers of `sock_diag(7)`.
pub fn netlink(bytes: &[u8]) {
    black_box(plimsoll_proc::found::told_of(bytes));
}

/// What people are shown can't steer their terminal.
fn assert_harmless(shown: &str) {
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}

/// `maps`, `smaps`, `smaps_rollup`: what a process maps.
pub fn address_space(bytes: &[u8]) {
    for mapping in maps::parse(bytes).flatten() {
        black_box((mapping.size(), mapping.range(), mapping.name()));
        black_box(mapping.is_shared());
    }
    let whole: Vec<_> = smaps::parse(bytes)
        .take_while(Result::is_ok)
        .flatten()
        .collect();
    // Read in blocks of any length it must come out the same.
    let mut seen = 0;
    let in_pieces = Pieces { rest: bytes };
    let outcome = smaps::stream(in_pieces, &mut Vec::new(), |smap| {
        assert_eq!(whole.get(seen), Some(smap));
        seen += 1;
    });
    assert_eq!(seen, whole.len());
    assert_eq!(
        outcome.is_ok(),
        smaps::parse(bytes).all(|smap| smap.is_ok())
    );
    black_box((smaps_rollup::parse(bytes).ok(), VmFlags::parse(bytes)));
    black_box((MapName::parse(bytes), map_name::unescape(bytes)));
}

/// A file that is read in pieces of many lengths, as `/proc` files are.
struct Pieces<'a> {
    rest: &'a [u8],
}

impl std::io::Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = (self.rest.len() * 7 % 997 + 1)
            .min(self.rest.len())
            .min(buffer.len());
        let (piece, rest) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(piece);
        self.rest = rest;
        Ok(length)
    }
}

/// `status`, `stat`, `cgroup`, `cmdline`, `fdinfo`: what a process is.
pub fn process(bytes: &[u8]) {
    if let Err(malformed) = Status::parse(bytes) {
        assert_harmless(&malformed.to_string());
    }
    if let Ok(stat) = Stat::parse(bytes) {
        black_box(stat.is_kernel_thread());
    }
    black_box((
        stat::field(bytes, 0),
        stat::field(bytes, 2),
        stat::field(bytes, usize::MAX),
    ));
    black_box(status::field(bytes, b"Name"));
    black_box((cgroup::parse(bytes).count(), cgroup::memory(bytes)));
    if let Some(shown) = cmdline::shown(bytes) {
        assert_harmless(&shown);
    }
    if let Ok(fdinfo) = Fdinfo::parse(bytes) {
        black_box(fdinfo.lines().count());
    }
}

/// `meminfo`, `vmstat`, `zoneinfo`, `buddyinfo`, `pagetypeinfo`: the host's counters.
pub fn host_counters(bytes: &[u8]) {
    black_box((
        Meminfo::parse(bytes),
        vmstat::parse(bytes),
        Zoneinfo::parse(bytes),
    ));
    black_box((buddyinfo::parse(bytes).count(), Pagetypeinfo::parse(bytes)));
}

/// `slabinfo`, `vmallocinfo`: the kernel's own memory.
pub fn kernel_memory(bytes: &[u8]) {
    let page = PageSize::new(65536).expect("a power of two");
    slabinfo::parse(bytes).for_each(|cache| {
        black_box(cache.bytes(page));
    });
    black_box(Vmallocinfo::parse(bytes));
}

/// `mountinfo`, `cgroups`, `swaps`, `passwd`, `sysvipc/shm`, `mm_stat` of zram, pressure, `uptime`: tables and single
/// lines.
pub fn tables(bytes: &[u8]) {
    for mount in mountinfo::parse(bytes) {
        black_box(mount.has_super_option(b"memory"));
    }
    assert!(mountinfo::unescape(bytes).len() <= bytes.len());
    black_box((cgroups::parse(bytes).count(), sysvipc_shm::parse(bytes)));
    black_box((swaps::parse(bytes).count(), uptime::parse(bytes)));
    black_box((zram::MmStat::parse(bytes), Pressure::parse(bytes)));
    assert_harmless(&Users::parse(bytes).name(0));
}

/// `/dev/kmsg`: the kernel log.
pub fn kernel_log(bytes: &[u8]) {
    black_box((kmsg::records(bytes).count(), BootLog::parse(bytes)));
}

/// A kernel log with OOM reports: each is explained, and held against the one before it.
pub fn oom_reports(bytes: &[u8]) {
    let verdicts = oom::explain(&report::reports(bytes));
    for verdict in &verdicts {
        assert_harmless(&verdict.headline);
        verdict
            .quoted
            .iter()
            .for_each(|quote| assert_harmless(&quote.text));
        if let Some(memory) = &verdict.memory {
            let owned: i128 = memory
                .owners
                .iter()
                .map(|owner| i128::from(owner.bytes.get()))
                .sum();
            let left = i128::from(memory.unattributed_bytes);
            let total = i128::from(memory.total_bytes.get());
            assert!(
                owned + left == total
                    || left == i128::from(i64::MIN)
                    || owned > i128::from(i64::MAX)
            );
        }
    }
    for pair in verdicts.windows(2) {
        if let [before, now] = pair {
            black_box(oom::compare(now, before));
        }
    }
}

/// The files of a control group, of both versions.
pub fn cgroup_files(bytes: &[u8]) {
    black_box((Bytes::parse(bytes), Limit::parse(bytes), bool::parse(bytes)));
    black_box((
        Pids::parse(bytes),
        Words::parse(bytes),
        v1::FreezerState::parse(bytes),
    ));
    if let Some(keyed) = FlatKeyed::parse(bytes) {
        for (key, value) in keyed.iter() {
            let found = std::str::from_utf8(key).ok().map(|key| keyed.get(key));
            assert!(found != Some(None), "{key:?} {value}");
        }
    }
    if let Some(stat) = v1::MemoryStat::parse(bytes) {
        black_box((stat.total_rss(), stat.hierarchical_memory_limit()));
    }
    if let Some(stat) = v2::MemoryStat::parse(bytes) {
        black_box((stat.anon(), stat.kernel()));
    }
    black_box(v2::Descendants::parse(bytes).and_then(|descendants| descendants.dying()));
}

/// What all parsers share.
pub fn words(bytes: &[u8]) {
    for line in text::lines(bytes) {
        black_box(text::key_value(line));
        for word in text::words(line) {
            if let Some(number) = text::number(word) {
                let digits = word.iter().skip_while(|&&digit| digit == b'0');
                assert!(number == 0 || digits.copied().eq(number.to_string().bytes()));
            }
            black_box(text::hex(word));
        }
    }
    assert_harmless(&text::printable(bytes));
}

/// The accounts made of all that: the bytes are files, with a NUL between each and the next.
pub fn accounts(bytes: &[u8]) {
    let mut files = bytes.split(|&byte| byte == 0);
    let mut file = || files.next().unwrap_or_default();
    let slow = Slow {
        vmstat: Some(vmstat::parse(file())),
        vmallocinfo: Some(Vmallocinfo::parse(file())),
        boot: Some(BootLog::parse(file())),
        zram: Vec::new(),
        balloon_in_total: false,
    };
    let sample = HostSample {
        page: PageSize::new(4096).expect("a power of two"),
        meminfo: Meminfo::parse(file()),
        zoneinfo: Some(Zoneinfo::parse(file())),
        slabinfo: Some(file()),
        slow: &slow,
    };
    let host = host::account(&sample, &host::Discovered::default()).host;
    let owned: i128 = host
        .owners
        .iter()
        .map(|owner| i128::from(owner.bytes.get()))
        .sum();
    let total = i128::from(host.total_bytes.get());
    assert_eq!(owned + i128::from(host.unattributed_bytes), total);
    for owner in &host.owners {
        assert_harmless(&owner.id);
        owner
            .detail
            .iter()
            .for_each(|detail| assert_harmless(&detail.name));
    }
    let (stat_v1, stat_v2, name) = (file(), file(), file());
    account_groups(stat_v1, stat_v2, name);
}

/// A group of each version, below one that has nothing to say.
fn account_groups(stat_v1: &[u8], stat_v2: &[u8], name: &[u8]) {
    let v1 = Memory::V1(MemoryV1 {
        usage: Some(Bytes(1)),
        stat: v1::MemoryStat::parse(stat_v1),
        ..MemoryV1::default()
    });
    let v2 = Memory::V2(MemoryV2 {
        stat: v2::MemoryStat::parse(stat_v2),
        ..MemoryV2::default()
    });
    let trees = [(Version::V1, v1), (Version::V2, v2)].map(|(version, memory)| Tree {
        hierarchy: Hierarchy {
            version,
            mount_point: "/".into(),
            root: "/".into(),
            device: (0, 0),
        },
        groups: vec![sample::Group {
            name: OsStr::from_bytes(name).to_owned(),
            parent: None,
            id: DirId {
                device: 0,
                inode: 0,
            },
            procs: None,
            memory,
        }],
        vanished: 0,
        dying: None,
    });
    let sample = sample::Sample {
        trees: trees.into(),
        errors: Vec::new(),
    };
    for row in groups::account(&sample, &Default::default()).0 {
        assert_harmless(&row.path);
        let parts = row
            .unowned
            .map(|parts| parts.anon_bytes + parts.shmem_bytes + parts.page_cache_bytes);
        assert!(parts <= row.unowned_bytes, "{row:?}");
    }
}
