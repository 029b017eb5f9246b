//! The account of samples that are known, odd or hostile.

use super::{Accounted, Discovered, Outside, Secretmem, account};
use crate::look::{Detail, Exactness};
use plimsoll_proc::boot_log::BootLog;
use plimsoll_proc::host::{HostSample, Slow};
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_proc::vmallocinfo::Vmallocinfo;
use plimsoll_proc::vmstat;
use plimsoll_proc::zoneinfo::Zoneinfo;
use plimsoll_units::{Bytes, PageSize};
use proptest::prelude::*;

const MEMINFO: &str = include_str!("../../../proc/fixtures/meminfo-6.18.txt");
const ZONEINFO: &str = include_str!("../../../proc/fixtures/zoneinfo-6.18.txt");
const SLABINFO: &str = include_str!("../../../proc/fixtures/slabinfo-6.18.txt");
const VMSTAT: &str = include_str!("../../../proc/fixtures/vmstat-6.18.txt");
const VMALLOCINFO: &str = include_str!("../../../proc/fixtures/vmallocinfo-6.18.txt");
const KMSG: &str = include_str!("../../../proc/fixtures/kmsg-6.18.txt");

/// The files of one host, as text.
#[derive(Debug, Clone, Default)]
struct Files {
    meminfo: String,
    zoneinfo: Option<String>,
    slabinfo: Option<String>,
    vmstat: Option<String>,
    vmallocinfo: Option<String>,
    kmsg: Option<String>,
}

impl Files {
    fn of_this_meminfo(meminfo: &str) -> Self {
        Self {
            meminfo: meminfo.to_owned(),
            ..Self::default()
        }
    }

    fn account(&self, discovered: &Discovered) -> Accounted {
        let slow = Slow {
            vmstat: self
                .vmstat
                .as_ref()
                .map(|text| vmstat::parse(text.as_bytes())),
            vmallocinfo: self
                .vmallocinfo
                .as_ref()
                .map(|text| Vmallocinfo::parse(text.as_bytes())),
            boot: self
                .kmsg
                .as_ref()
                .map(|text| BootLog::parse(text.as_bytes())),
            zram: vec![("zram0".to_owned(), Bytes(8192))],
            balloon_in_total: true,
        };
        let sample = HostSample {
            page: PageSize::new(4096).unwrap(),
            meminfo: Meminfo::parse(self.meminfo.as_bytes()),
            zoneinfo: self
                .zoneinfo
                .as_ref()
                .map(|text| Zoneinfo::parse(text.as_bytes())),
            slabinfo: self.slabinfo.as_ref().map(String::as_bytes),
            slow: &slow,
        };
        account(&sample, discovered)
    }
}

fn bytes(accounted: &Accounted, id: &str) -> Option<Bytes> {
    let mut owners = accounted.host.owners.iter().filter(|owner| owner.id == id);
    let owner = owners.next();
    assert!(owners.next().is_none(), "two owners are called {id}");
    owner.map(|owner| owner.bytes)
}

fn unseen(accounted: &Accounted) -> Vec<&str> {
    accounted
        .unseen
        .iter()
        .map(|line| line.what.as_str())
        .collect()
}

/// Whether the owners and what is left over are the whole.
fn sums_up(accounted: &Accounted) -> bool {
    let host = &accounted.host;
    let owned: i128 = host
        .owners
        .iter()
        .map(|owner| i128::from(owner.bytes.get()))
        .sum();
    owned + i128::from(host.unattributed_bytes) == i128::from(host.total_bytes.get())
}

#[test]
fn of_nothing_there_is_nothing() {
    let accounted = Files::default().account(&Discovered::default());
    assert!(sums_up(&accounted));
    assert_eq!(accounted.host.total_bytes, Bytes::ZERO);
    assert!(unseen(&accounted).contains(&"the size of the host's RAM"));
}

/// The files of a guest under load, read one after the other while it went on; without its log of boot.
macro_rules! files_of {
    ($kernel:literal) => {{
        macro_rules! fixture {
            ($kind:literal) => {
                include_str!(concat!(
                    "../../../proc/fixtures/",
                    $kind,
                    "-",
                    $kernel,
                    ".txt"
                ))
                .to_owned()
            };
        }
        Files {
            meminfo: fixture!("meminfo"),
            zoneinfo: Some(fixture!("zoneinfo")),
            slabinfo: Some(fixture!("slabinfo")),
            vmstat: Some(fixture!("vmstat")),
            vmallocinfo: Some(fixture!("vmallocinfo")),
            kmsg: None,
        }
    }};
}

#[test]
fn files_of_other_kernels_close() {
    let kib = |kib| Some(Bytes::from_kib(kib));
    for (kernel, files, [anon, page_tables, kernel_stacks]) in [
        ("6.1", files_of!("6.1"), [64_760, 360, 832]),
        ("6.12", files_of!("6.12"), [65_604, 720, 960]),
    ] {
        let accounted = files.account(&Discovered::default());
        assert!(sums_up(&accounted), "{kernel}");
        let left_over = accounted.host.unattributed_bytes;
        assert!((0..4 << 20).contains(&left_over), "{kernel}: {left_over}");
        assert_eq!(bytes(&accounted, "anon"), kib(anon), "{kernel}");
        let tables = bytes(&accounted, "page_tables");
        assert_eq!(tables, kib(page_tables), "{kernel}");
        let stacks = bytes(&accounted, "kernel_stacks");
        assert_eq!(stacks, kib(kernel_stacks), "{kernel}");
    }
}

#[test]
fn without_privilege_it_is_coarser_and_says_so() {
    let zoneinfo = Some(ZONEINFO.to_owned());
    let accounted = Files {
        zoneinfo,
        ..Files::of_this_meminfo(MEMINFO)
    }
    .account(&Discovered::default());
    assert!(sums_up(&accounted));
    let slab = bytes(&accounted, "slab_reclaimable").zip(bytes(&accounted, "slab_unreclaimable"));
    assert!(slab.is_some_and(|(reclaimable, other)| reclaimable + other > Bytes::from_mib(100)));
    assert_eq!(bytes(&accounted, "slab.other"), None);
    assert_eq!(bytes(&accounted, "kmalloc_large"), None);
    assert_eq!(unseen(&accounted).len(), 4);
}

#[test]
fn meminfo_alone_is_enough_for_the_greater_part() {
    let accounted = Files::of_this_meminfo(MEMINFO).account(&Discovered::default());
    assert!(sums_up(&accounted));
    assert_eq!(bytes(&accounted, "anon"), Some(Bytes::from_kib(25_048)));
    assert!(
        accounted.host.unattributed_bytes.unsigned_abs() < accounted.host.total_bytes.get() / 50
    );
}

#[test]
fn a_containers_meminfo_is_not_mixed_with_the_hosts_zones() {
    let files = Files {
        zoneinfo: Some(ZONEINFO.to_owned()),
        ..Files::of_this_meminfo("MemTotal: 1024 kB\nMemFree: 1000 kB\n")
    };
    let accounted = files.account(&Discovered::default());
    assert_eq!(bytes(&accounted, "free"), Some(Bytes::from_kib(1000)));
    assert!(unseen(&accounted).contains(&"the host itself"));
}

/// 300 KiB of swap cache of which 100 KiB is mapped: on the lists are 1000 anonymous, 500 of files and 200 unmapped.
#[test]
fn mapped_swap_cache_is_anonymous_and_the_rest_is_not() {
    let accounted = Files::of_this_meminfo(
        "MemTotal: 9000 kB\nSwapCached: 300 kB\nAnonPages: 1000 kB\nBuffers: 100 kB\nCached: 400 kB\nShmem: 50 kB\n\
         Active: 700 kB\nInactive: 900 kB\nUnevictable: 100 kB\n",
    )
    .account(&Discovered::default());
    assert_eq!(bytes(&accounted, "swap_cache"), Some(Bytes::from_kib(200)));
    assert_eq!(bytes(&accounted, "page_cache"), Some(Bytes::from_kib(350)));
    assert_eq!(
        accounted.host.unattributed_bytes,
        (9000 - 1000 - 500 - 200 - 8) << 10
    );
}

#[test]
fn thread_stacks_are_taken_out_of_vmalloc_only_where_they_are_in_it() {
    let area = |caller: &str| format!("0x1-0x2 20480 {caller}+0x1/0x2 pages=4 vmalloc N0=4\n");
    let meminfo = "MemTotal: 900 kB\nVmallocUsed: 100 kB\nKernelStack: 32 kB\n";
    let mut files = Files::of_this_meminfo(meminfo);
    let vmalloc = |files: &Files| bytes(&files.account(&Discovered::default()), "vmalloc");
    assert_eq!(vmalloc(&files), Some(Bytes::from_kib(68)));
    files.vmallocinfo = Some([area("kernel_clone"), area("dup_task_struct"), area("x")].concat());
    assert_eq!(vmalloc(&files), Some(Bytes::from_kib(68)));
    files.vmallocinfo = Some(area("x"));
    assert_eq!(vmalloc(&files), Some(Bytes::from_kib(100)));
}

#[test]
fn caches_of_one_size_are_one_owner_and_what_is_in_none_has_its_own() {
    let cache = |name: &str, slabs| {
        format!("{name} 1 1 1 1 1 : tunables 0 0 0 : slabdata {slabs} {slabs} 0\n")
    };
    let files = Files {
        slabinfo: Some(
            [
                cache("kmalloc-rnd-01-64", 200),
                cache("kmalloc-rnd-02-64", 100),
                cache("a\u{1}b", 2),
            ]
            .concat(),
        ),
        ..Files::of_this_meminfo("MemTotal: 9000 kB\nSlab: 2000 kB\n")
    };
    let accounted = files.account(&Discovered::default());
    assert_eq!(
        bytes(&accounted, "slab.kmalloc-64"),
        Some(Bytes::from_kib(1200))
    );
    assert_eq!(bytes(&accounted, "slab.other"), Some(Bytes::from_kib(8)));
    assert_eq!(
        bytes(&accounted, "kmalloc_large"),
        Some(Bytes::from_kib(2000 - 1208))
    );
}

/// Two pages of zram (as `Files::account` has it), and what zsmalloc holds beyond it.
#[test]
fn zsmalloc_is_zrams_but_for_what_zswap_has() {
    let split = |zswap: &str, zspages: &str| {
        let files = Files {
            zoneinfo: Some(format!("Node 0, zone Normal\n nr_zspages {zspages}\n")),
            ..Files::of_this_meminfo(&format!("MemTotal: 900 kB\n{zswap}"))
        };
        let accounted = files.account(&Discovered::default());
        let pages = |id| bytes(&accounted, id).map(|bytes| bytes.get() / 4096);
        (pages("zram"), pages("zswap"))
    };
    assert_eq!(split("Zswap: 0 kB\n", "5"), (Some(5), Some(0)));
    assert_eq!(split("Zswap: 12 kB\n", "5"), (Some(2), Some(3)));
    assert_eq!(
        split("Zswap: 12 kB\n", "2"),
        (Some(2), Some(3)),
        "zswap in another allocator"
    );
    assert_eq!(split("", "5"), (Some(2), Some(3)));
    assert_eq!(split("", "x"), (Some(2), None));
}

#[test]
fn a_figure_beyond_all_ram_is_told_and_left_out() {
    let accounted = Files::of_this_meminfo("MemTotal: 1000 kB\nGPUReclaim: 70000 kB\n")
        .account(&Discovered::default());
    assert_eq!(bytes(&accounted, "gpu"), None);
    assert!(unseen(&accounted).contains(&"GPU"));
}

#[test]
fn what_was_found_has_its_place() {
    let found = Discovered {
        outside: vec![Outside {
            id: "pipe_buffers",
            bytes: Bytes::from_kib(64),
            exactness: Exactness::Inferred,
            detail: Vec::new(),
        }],
        shmem: vec![Detail {
            name: "tmpfs on /run".to_owned(),
            bytes: Bytes::from_kib(4),
        }],
        secretmem: Some(Secretmem {
            bytes: Bytes::from_kib(100),
            detail: Vec::new(),
        }),
    };
    let accounted =
        Files::of_this_meminfo("MemTotal: 900 kB\nCached: 300 kB\nShmem: 20 kB\n").account(&found);
    assert_eq!(bytes(&accounted, "page_cache"), Some(Bytes::from_kib(180)));
    assert_eq!(bytes(&accounted, "secretmem"), Some(Bytes::from_kib(100)));
    assert_eq!(bytes(&accounted, "pipe_buffers"), Some(Bytes::from_kib(64)));
    let shmem = accounted
        .host
        .owners
        .iter()
        .find(|owner| owner.id == "shmem")
        .unwrap();
    assert_eq!(shmem.detail, found.shmem);
}

/// A file with some of its numbers replaced and some of its lines gone or doubled.
fn damaged(text: &'static str) -> impl Strategy<Value = String> {
    let number = prop_oneof![
        4 => 0..100_000u64,
        1 => Just(u64::MAX),
        1 => Just(u64::MAX / 1024),
        1 => any::<u64>(),
    ];
    let damage = prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, number), 0..60);
    damage.prop_map(move |damage| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (index, kind, number) in damage {
            let line = index.index(lines.len());
            match kind {
                0 if lines.len() > 1 => drop(lines.remove(line)),
                1 => lines.insert(line, lines[line].clone()),
                _ => {
                    let replaced = lines[line].split(' ').map(|word| {
                        let is_number = word.ends_with(|c: char| c.is_ascii_digit());
                        if is_number {
                            number.to_string()
                        } else {
                            word.to_owned()
                        }
                    });
                    lines[line] = replaced.collect::<Vec<_>>().join(" ");
                }
            }
        }
        lines.join("\n")
    })
}

prop_compose! {
    fn hostile_files()(
        meminfo in damaged(MEMINFO),
        zoneinfo in prop::option::of(damaged(ZONEINFO)),
        slabinfo in prop::option::of(damaged(SLABINFO)),
        vmstat in prop::option::of(damaged(VMSTAT)),
        vmallocinfo in prop::option::of(damaged(VMALLOCINFO)),
        kmsg in prop::option::of(damaged(KMSG)),
    ) -> Files {
        Files { meminfo, zoneinfo, slabinfo, vmstat, vmallocinfo, kmsg }
    }
}

proptest! {
    #[test]
    fn whatever_the_files_say_it_sums_up(files in hostile_files(), outside in any::<u64>()) {
        let outside = Outside {
            id: "socket_buffers",
            bytes: Bytes(outside),
            exactness: Exactness::Inferred,
            detail: Vec::new(),
        };
        let found = Discovered { outside: vec![outside], ..Discovered::default() };
        let accounted = files.account(&found);
        prop_assert!(sums_up(&accounted));
    }
}
