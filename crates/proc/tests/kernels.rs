//! Every captured file of every kernel through its parser: what was read out of it, in figures that were counted
//! beforehand with `grep` and `awk`. A fixture without a row fails.

use plimsoll_proc::meminfo::Meminfo;
use plimsoll_proc::pagetypeinfo::Pagetypeinfo;
use plimsoll_proc::pressure::Pressure;
use plimsoll_proc::process::stat::Stat;
use plimsoll_proc::process::status::Status;
use plimsoll_proc::process::{cgroup, maps, smaps, smaps_rollup};
use plimsoll_proc::vmallocinfo::Vmallocinfo;
use plimsoll_proc::zoneinfo::Zoneinfo;
use plimsoll_proc::{buddyinfo, kmsg, mountinfo, slabinfo, swaps, sysvipc_shm, vmstat};
use plimsoll_units::{Bytes, PageSize, Pages};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A fixture, and what [`read`] says of it.
#[rustfmt::skip]
const EXPECTED: &[(&str, &str)] = &[
    ("buddyinfo-6.1.txt", "DMA 3808, DMA32 77217"),
    ("buddyinfo-6.12.txt", "DMA 3808, DMA32 73804"),
    ("buddyinfo-6.18.txt", "DMA 3840, DMA32 772918, Normal 585797"),
    ("cgroup-6.1-swapped.txt", "memory in /work/hog"),
    ("cgroup-6.12-swapped.txt", "memory in /work/hog"),
    ("kmsg-6.1-group-oom.txt", "65 records from 368 at 16472502 us"),
    ("kmsg-6.12-group-oom.txt", "120 records from 374 at 12253329 us"),
    ("kmsg-6.18.txt", "26 records from 70 at 133426 us"),
    ("maps-6.1-swapped.txt", "11, the last [vdso]"),
    ("maps-6.12-swapped.txt", "11, the last [stack]"),
    ("meminfo-6.1.txt", "total 481288, slab 18520, swap 131068, committed 122512"),
    ("meminfo-6.12.txt", "total 476028, slab 10796, swap 131068, committed 122292"),
    ("meminfo-6.18.txt", "total 24684096, slab 180840, swap 0, committed 72940"),
    ("mountinfo-6.1.txt", "9, cgroup2 at /sys/fs/cgroup"),
    ("mountinfo-6.12.txt", "9, cgroup2 at /sys/fs/cgroup"),
    ("pagetypeinfo-6.1.txt", "512 to a block, 10 lists, DMA 8, DMA32 248"),
    ("pagetypeinfo-6.12.txt", "512 to a block, 10 lists, DMA 8, DMA32 248"),
    ("pagetypeinfo-6.18.txt", "512 to a block, 15 lists, DMA 8, DMA32 1528, Normal 1984"),
    ("pressure-memory-6.1.txt", "some 1861195 us, full 965697 us"),
    ("pressure-memory-6.12.txt", "some 547658 us, full 490235 us"),
    ("slabinfo-6.1.txt", "156 caches, 4346 pages, dentries 12747, sk_buffs 16"),
    ("slabinfo-6.12.txt", "190 caches, 2410 pages, dentries 2835, sk_buffs 16"),
    ("slabinfo-6.18.txt", "235 caches, 43585 pages, dentries 103215, sk_buffs 524"),
    ("smaps-6.1-swapped.txt", "11, rss 65876, anon 64292, swap 34068"),
    ("smaps-6.12-swapped.txt", "11, rss 66728, anon 65144, swap 33216"),
    ("smaps-6.18-hostile-names.txt", "12, rss 1604, anon 1600, swap 0"),
    ("smaps-6.18-sleep.txt", "37, rss 1668, anon 108, swap 0"),
    ("smaps_rollup-6.1-swapped.txt", "rss 65876, pss 64669, swap 34068"),
    ("smaps_rollup-6.12-swapped.txt", "rss 66728, pss 65521, swap 33216"),
    ("smaps_rollup-6.18-sleep.txt", "rss 1668, pss 210, swap 0"),
    ("stat-6.1-swapped.txt", "95 dd, S, child of 93, rss 16451 pages"),
    ("stat-6.12-swapped.txt", "145 dd, S, child of 143, rss 16683 pages"),
    ("stat-6.18-sleep.txt", "19943 sleep, S, child of 19932, rss 374 pages"),
    ("status-6.1-swapped.txt", "95 dd, anon 64220, swap 34132"),
    ("status-6.12-swapped.txt", "145 dd, anon 65144, swap 33216"),
    ("status-6.18-kthread.txt", "2 kthreadd, no memory"),
    ("status-6.18-sleep.txt", "19943 sleep, anon 108, swap 0"),
    ("swaps-6.1.txt", "/dev/vda 34252 of 131068"),
    ("swaps-6.12.txt", "/dev/vda 33484 of 131068"),
    ("sysvipc-shm-6.18.txt", "1 unattached 1024, 2 attached 4"),
    ("vmallocinfo-6.1.txt", "2020 pages, stacks 216"),
    ("vmallocinfo-6.12.txt", "2025 pages, stacks 244"),
    ("vmallocinfo-6.18.txt", "633 pages, stacks 88"),
    ("vmstat-6.1.txt", "free 81025, anon 16190"),
    ("vmstat-6.12.txt", "free 77612, anon 16401"),
    ("vmstat-6.18.txt", "free 1362582, anon 6262"),
    ("zoneinfo-6.1.txt", "managed 120322, free 81025, per-CPU lists 549"),
    ("zoneinfo-6.12.txt", "managed 119007, free 77612, per-CPU lists 4621"),
    ("zoneinfo-6.18.txt", "managed 1792566, free 1362632, per-CPU lists 73011"),
];

#[test]
fn every_fixture_is_read_as_counted() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let read: BTreeMap<String, String> = (fs::read_dir(fixtures).unwrap())
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let said = read(&name, &fs::read(entry.path()).unwrap());
            (name, said)
        })
        .collect();
    let expected: BTreeMap<String, String> = (EXPECTED.iter())
        .map(|(name, said)| ((*name).to_owned(), (*said).to_owned()))
        .collect();
    assert_eq!(read, expected);
}

/// A few figures of a file, in KiB where they are sizes.
fn read(name: &str, text: &[u8]) -> String {
    // KIND-KERNEL[-WHAT].txt, where KIND may hold dashes and KERNEL starts with a digit
    let kind = name
        .split_once(|c: char| c.is_ascii_digit())
        .map(|(kind, _)| kind.trim_end_matches('-'));
    let page = PageSize::new(4096).unwrap();
    match kind.unwrap() {
        "buddyinfo" => {
            let zones = buddyinfo::parse(text).map(|zone| {
                let pages: u64 = (zone.free_blocks.iter().enumerate())
                    .map(|(order, blocks)| blocks << order)
                    .sum();
                format!("{} {pages}", utf8(zone.name))
            });
            joined(zones)
        }
        "cgroup" => format!("memory in {}", utf8(cgroup::memory(text).unwrap().path)),
        "kmsg" => {
            let first = kmsg::records(text).next().unwrap();
            let count = kmsg::records(text).count();
            let (from, at) = (first.sequence, first.time_us);
            format!("{count} records from {from} at {at} us")
        }
        "maps" => {
            let maps: Vec<_> = maps::parse(text).map(Result::unwrap).collect();
            let last = utf8(maps.last().unwrap().raw_name);
            format!("{}, the last {last}", maps.len())
        }
        "meminfo" => {
            let meminfo = Meminfo::parse(text);
            format!(
                "total {}, slab {}, swap {}, committed {}",
                kib(meminfo.mem_total.unwrap()),
                kib(meminfo.slab.unwrap()),
                kib(meminfo.swap_total.unwrap()),
                kib(meminfo.committed_as.unwrap()),
            )
        }
        "mountinfo" => {
            let mounts = mountinfo::parse(text);
            let cgroup2 = mounts.iter().find(|mount| mount.fs_type == b"cgroup2");
            let place = cgroup2.unwrap().mount_point.display();
            format!("{}, cgroup2 at {place}", mounts.len())
        }
        "pagetypeinfo" => {
            let info = Pagetypeinfo::parse(text);
            let blocks = info.pageblocks.iter().map(|zone| {
                let count: u64 = zone.count.iter().map(|(_, count)| count).sum();
                format!("{} {count}", utf8(zone.zone))
            });
            let (size, lists) = (info.pages_per_block.unwrap().0, info.free.len());
            format!("{size} to a block, {lists} lists, {}", joined(blocks))
        }
        "pressure-memory" => {
            let pressure = Pressure::parse(text).unwrap();
            let full = pressure.full.unwrap().total.as_micros();
            format!(
                "some {} us, full {full} us",
                pressure.some.total.as_micros()
            )
        }
        "slabinfo" => {
            let caches: Vec<_> = slabinfo::parse(text).collect();
            let active = |name: &[u8]| {
                let cache = caches.iter().find(|cache| cache.name == name);
                cache.unwrap().active_objects
            };
            let bytes: Bytes = caches.iter().map(|cache| cache.bytes(page)).sum();
            format!(
                "{} caches, {} pages, dentries {}, sk_buffs {}",
                caches.len(),
                bytes.get() / 4096,
                active(b"dentry"),
                active(b"skbuff_head_cache"),
            )
        }
        "smaps" => {
            let smaps: Vec<_> = smaps::parse(text).map(Result::unwrap).collect();
            let sum = |of: fn(&smaps::Usage) -> Bytes| {
                kib(smaps.iter().map(|smap| of(&smap.usage)).sum())
            };
            format!(
                "{}, rss {}, anon {}, swap {}",
                smaps.len(),
                sum(|usage| usage.rss),
                sum(|usage| usage.anonymous),
                sum(|usage| usage.swap),
            )
        }
        "smaps_rollup" => {
            let usage = smaps_rollup::parse(text).unwrap();
            let [rss, pss, swap] = [usage.rss, usage.pss, usage.swap].map(kib);
            format!("rss {rss}, pss {pss}, swap {swap}")
        }
        "stat" => {
            let stat = Stat::parse(text).unwrap();
            format!(
                "{} {}, {}, child of {}, rss {} pages",
                stat.pid,
                utf8(&stat.comm),
                char::from(stat.state),
                stat.ppid,
                stat.rss.0,
            )
        }
        "status" => {
            let status = Status::parse(text).unwrap();
            let memory = status.vm.map_or_else(
                || "no memory".to_owned(),
                |vm| {
                    let [anon, swap] = [vm.rss_anon, vm.swap].map(|size| kib(size.unwrap()));
                    format!("anon {anon}, swap {swap}")
                },
            );
            format!("{} {}, {memory}", status.pid, utf8(&status.name))
        }
        "swaps" => joined(swaps::parse(text).map(|area| {
            let [used, size] = [area.used, area.size].map(kib);
            format!("{} {used} of {size}", utf8(area.path))
        })),
        "sysvipc-shm" => joined(sysvipc_shm::parse(text).iter().map(|segment| {
            let attached = ["unattached", "attached"][usize::from(segment.nattch > 0)];
            let rss = kib(segment.rss_bytes.unwrap());
            format!("{} {attached} {rss}", segment.shmid)
        })),
        "vmallocinfo" => {
            let info = Vmallocinfo::parse(text);
            format!("{} pages, stacks {}", info.pages().0, info.stacks().0)
        }
        "vmstat" => {
            let vmstat = vmstat::parse(text);
            let [free, anon] = [vmstat.nr_free_pages, vmstat.nr_anon_pages].map(Option::unwrap);
            format!("free {}, anon {}", free.0, anon.0)
        }
        "zoneinfo" => {
            let zones = Zoneinfo::parse(text);
            let managed = zones.of_zones(|zone| zone.managed).unwrap();
            let free = zones.of_zones(|zone| zone.free).unwrap();
            let Pages(lists) = zones.per_cpu_lists().unwrap();
            format!(
                "managed {}, free {}, per-CPU lists {lists}",
                managed.0, free.0
            )
        }
        other => panic!("no parser for {other}"),
    }
}

fn utf8(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn kib(bytes: Bytes) -> u64 {
    bytes.get() >> 10
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
