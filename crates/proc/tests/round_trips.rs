//! What the kernel could write is what the parsers read: values are made, written as the kernel's own format strings
//! write them, and compared with what comes back.

use plimsoll_proc::meminfo::Meminfo;
use plimsoll_proc::process::smaps::{self, Usage};
use plimsoll_proc::process::status::{Status, Vm};
use plimsoll_proc::process::{cgroup, smaps_rollup, stat::Stat};
use plimsoll_proc::{buddyinfo, cgroups, kmsg, slabinfo, swaps, vmstat};
use plimsoll_units::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

/// A task's name as `prctl(PR_SET_NAME)` takes it: up to 15 bytes without NUL.
fn comm() -> impl Strategy<Value = Vec<u8>> {
    vec(1u8.., 1..=15)
}

/// A word without blanks, as caches, zones and controllers are named.
fn word() -> impl Strategy<Value = String> {
    "[A-Za-z_][A-Za-z0-9_-]{0,20}"
}

/// A size in kB that is whole bytes in 64 bits.
fn kib() -> impl Strategy<Value = u64> {
    0..=(u64::MAX >> 10)
}

/// As `proc_task_name` does it with escapes (`fs/proc/array.c`).
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for &byte in name {
        match byte {
            b'\n' => text.extend(b"\\n"),
            b'\\' => text.extend(b"\\\\"),
            other => text.push(other),
        }
    }
    text
}

proptest! {
    #[test]
    fn status(
        name in comm(), pid in 1u32.., ppid: u32, uid: u32, sizes in proptest::array::uniform5(kib()),
    ) {
        let [size, rss, anon, file, shmem] = sizes;
        let text = [
            b"Name:\t", &escaped(&name)[..],
            format!(
                "\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t{pid}\nNgid:\t0\nPid:\t{pid}\nPPid:\t{ppid}\n\
                 Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nVmSize:\t{size:8} kB\nVmRSS:\t{rss:8} kB\n\
                 RssAnon:\t{anon:8} kB\nRssFile:\t{file:8} kB\nRssShmem:\t{shmem:8} kB\nThreads:\t1\n"
            ).as_bytes(),
        ].concat();
        let status = Status::parse(&text).unwrap();
        prop_assert_eq!(status.name, name);
        prop_assert_eq!((status.pid, status.tgid, status.ppid, status.uid.effective), (pid, pid, ppid, uid));
        let expected = Vm {
            size: Bytes::from_kib(size),
            rss: Bytes::from_kib(rss),
            rss_anon: Some(Bytes::from_kib(anon)),
            rss_file: Some(Bytes::from_kib(file)),
            rss_shmem: Some(Bytes::from_kib(shmem)),
            ..Vm::default()
        };
        prop_assert_eq!(status.vm, Some(expected));
    }

    #[test]
    fn stat(name in comm(), pid in 1u32.., ppid: u32, ticks: u64, start: u64, size: u64, flags: u32) {
        // Names stand between parentheses as they are: blanks, newlines and parentheses too.
        let text = [
            format!("{pid} (").as_bytes(), &name,
            format!(
                ") S {ppid} 1 2 0 -1 {flags} 0 0 0 0 {ticks} 7 0 0 20 0 3 0 {start} {size} 9 0 0\n"
            ).as_bytes(),
        ].concat();
        let stat = Stat::parse(&text).unwrap();
        prop_assert_eq!((stat.ppid, stat.utime, stat.stime), (ppid, ticks, 7));
        prop_assert_eq!((stat.starttime, stat.vsize_bytes, stat.rss.0), (start, size, 9));
        prop_assert_eq!((stat.flags, stat.num_threads), (flags.into(), 3));
    }

    #[test]
    fn smaps(start in 0..u64::MAX / 2, pages in 1..1u64 << 30, sizes in proptest::array::uniform4(kib()), inode: u64) {
        let end = start + pages * 4096;
        let [rss, pss, anonymous, swap] = sizes;
        let text = format!(
            "{start:08x}-{end:08x} rw-p 00000000 fe:00 {inode}                    /a b\\012c\n\
             Size:           {:8} kB\nKernelPageSize: {:8} kB\nRss:            {rss:8} kB\n\
             Pss:            {pss:8} kB\nAnonymous:      {anonymous:8} kB\nSwap:           {swap:8} kB\n\
             THPeligible:    1\nVmFlags: rd wr mr mw me ac sd \n",
            pages * 4, 4,
        );
        let usage = Usage {
            rss: Bytes::from_kib(rss),
            pss: Bytes::from_kib(pss),
            anonymous: Bytes::from_kib(anonymous),
            swap: Bytes::from_kib(swap),
            ..Usage::default()
        };
        // Twice, so that the end of a record is found too.
        let text = text.repeat(2);
        let smaps: Vec<_> = smaps::parse(text.as_bytes()).map(Result::unwrap).collect();
        prop_assert_eq!(smaps.len(), 2);
        for smap in smaps {
            prop_assert_eq!((smap.mapping.start, smap.mapping.end, smap.mapping.inode), (start, end, inode));
            prop_assert_eq!(smap.mapping.raw_name, b"/a b\\012c");
            prop_assert_eq!(smap.usage, usage);
            prop_assert_eq!(smap.thp_eligible, Some(true));
        }
    }

    #[test]
    fn rollup(rss in kib(), pss_anon in kib()) {
        let text = format!(
            "00400000-7fff00000000 ---p 00000000 00:00 0                    [rollup]\n\
             Rss:            {rss:8} kB\nPss_Anon:       {pss_anon:8} kB\n"
        );
        let usage = smaps_rollup::parse(text.as_bytes()).unwrap();
        prop_assert_eq!((usage.rss, usage.pss_anon), (Bytes::from_kib(rss), Some(Bytes::from_kib(pss_anon))));
    }

    #[test]
    fn group_of_a_process(path in "/[^\n]{0,60}", id in 1u32..100) {
        let text = format!("{id}:cpu,memory:{path}\n0::/\n");
        let memory = cgroup::memory(text.as_bytes()).unwrap();
        prop_assert_eq!((memory.hierarchy, memory.path), (id, path.as_bytes()));
    }

    #[test]
    fn controllers(rows in vec((word(), any::<u64>(), any::<u64>(), any::<bool>()), 0..20)) {
        let mut text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n".to_owned();
        for (name, hierarchy, groups, enabled) in &rows {
            text += &format!("{name}\t{hierarchy}\t{groups}\t{}\n", u8::from(*enabled));
        }
        let read: Vec<_> = cgroups::parse(text.as_bytes())
            .map(|one| (String::from_utf8(one.name).unwrap(), one.hierarchy, one.groups, one.enabled))
            .collect();
        prop_assert_eq!(read, rows);
    }

    #[test]
    fn meminfo(total in kib(), free in kib(), unknown in kib()) {
        let text = format!("MemTotal:       {total:8} kB\nMemFree:        {free:8} kB\nTomorrow:       {unknown:8} kB\n");
        let meminfo = Meminfo::parse(text.as_bytes());
        prop_assert_eq!(meminfo.mem_total, Some(Bytes::from_kib(total)));
        prop_assert_eq!(meminfo.mem_free, Some(Bytes::from_kib(free)));
        prop_assert_eq!(meminfo.unknown, [(b"Tomorrow"[..].into(), unknown)]);
    }

    #[test]
    fn counters(rows in vec(("tomorrow_[a-z_]{1,12}", any::<u64>()), 0..20)) {
        let text: String = rows.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
        let read: Vec<_> = vmstat::parse(text.as_bytes()).unknown;
        let rows: Vec<_> = rows.into_iter().map(|(name, value)| (name.into_bytes().into(), value)).collect();
        prop_assert_eq!(read, rows);
    }

    #[test]
    fn caches(rows in vec((word(), proptest::array::uniform6(any::<u64>())), 0..20)) {
        let mut text = "slabinfo - version: 2.1\n# name <active_objs>\n".to_owned();
        for (name, [active, objects, size, per_slab, pages, slabs]) in &rows {
            text += &format!(
                "{name:<17} {active:6} {objects:6} {size:6} {per_slab:4} {pages:4} : tunables {:4} {:4} {:4} \
                 : slabdata {slabs:6} {slabs:6} {:6}\n", 0, 0, 0, 0,
            );
        }
        let read: Vec<_> = slabinfo::parse(text.as_bytes()).collect();
        prop_assert_eq!(read.len(), rows.len());
        for (cache, (name, [active, objects, size, _, pages, slabs])) in read.iter().zip(&rows) {
            prop_assert_eq!(cache.name, name.as_bytes());
            prop_assert_eq!((cache.active_objects, cache.objects), (*active, *objects));
            prop_assert_eq!((cache.object_size.get(), cache.pages_per_slab, cache.slabs), (*size, *pages, *slabs));
        }
    }

    #[test]
    fn free_blocks(node in 0u64..1024, name in word(), blocks in vec(any::<u64>(), 1..12)) {
        let mut text = format!("Node {node}, zone {name:>8} ");
        blocks.iter().for_each(|count| text += &format!("{count:6} "));
        text.push('\n');
        let zones: Vec<_> = buddyinfo::parse(text.as_bytes()).collect();
        prop_assert_eq!(zones.len(), 1);
        prop_assert_eq!((zones[0].node, zones[0].name), (node, name.as_bytes()));
        prop_assert_eq!(&zones[0].free_blocks, &blocks);
    }

    #[test]
    fn swap_areas(path in "/[!-~&&[^\\\\]]{0,60}", size in kib(), used in kib(), priority in -5i64..32768) {
        // At least one blank stands behind the longest path (`swap_show` in mm/swapfile.c).
        let blanks = " ".repeat(40usize.saturating_sub(path.len()).max(1));
        let text = format!(
            "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
             {path}{blanks}file\t\t{size}\t\t{used}\t\t{priority}\n"
        );
        let areas: Vec<_> = swaps::parse(text.as_bytes()).collect();
        prop_assert_eq!(areas.len(), 1);
        prop_assert_eq!((areas[0].path, areas[0].kind), (path.as_bytes(), b"file".as_slice()));
        prop_assert_eq!((areas[0].size, areas[0].used), (Bytes::from_kib(size), Bytes::from_kib(used)));
        prop_assert_eq!(areas[0].priority, priority);
    }

    #[test]
    fn log_records(records in vec((0u64..192, any::<u64>(), any::<u64>(), "[ -~]{0,80}"), 0..10)) {
        let mut log = String::new();
        for (priority, sequence, time, text) in &records {
            log += &format!("{priority},{sequence},{time},-;{text}\n SUBSYSTEM=pci\n");
        }
        let read: Vec<_> = kmsg::records(log.as_bytes())
            .map(|record| (record.level, record.sequence, record.time_us, record.text.to_vec()))
            .collect();
        let records: Vec<_> = records
            .into_iter()
            .map(|(priority, sequence, time, text)| (priority % 8, sequence, time, text.into_bytes()))
            .collect();
        prop_assert_eq!(read, records);
    }
}
