//! Readers of `/proc/PID` against live processes, and against another implementation on tame input.

use plimsoll_proc::Root;
use plimsoll_proc::process::vm_flags::VmFlag;
use plimsoll_proc::process::{sample, smaps, stat::Stat, status::Status};
use plimsoll_sys::region::Region;
use plimsoll_units::Bytes;
use procfs::process::{MMapPath, Process, VmFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};

/// A child that sleeps, ended when dropped.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn another_implementation_reads_the_same() {
    let sleeper = Sleeper::new();
    let pid = sleeper.0.id();
    let theirs = Process::new(i32::try_from(pid).unwrap()).unwrap();
    // The child may still be on its way through exec.
    while theirs.exe().unwrap().file_name().unwrap() != "sleep"
        || theirs.stat().unwrap().state != 'S'
    {
        std::thread::yield_now();
    }
    let root = Root::live();
    let file = |name| root.read(format!("proc/{pid}/{name}")).unwrap();

    let stat = Stat::parse(&file("stat")).unwrap();
    let other = theirs.stat().unwrap();
    assert_eq!(stat.comm, other.comm.as_bytes());
    assert_eq!(
        (stat.starttime, stat.vsize_bytes),
        (other.starttime, other.vsize)
    );
    assert_eq!(
        (stat.rss.0, stat.flags),
        (other.rss, u64::from(other.flags))
    );

    let status = Status::parse(&file("status")).unwrap();
    let other = theirs.status().unwrap();
    let vm = status.vm.unwrap();
    assert_eq!(Some(vm.data), other.vmdata.map(Bytes::from_kib));
    assert_eq!(vm.rss_file, other.rssfile.map(Bytes::from_kib));
    assert_eq!(
        (status.signals.ignored, status.uid.effective),
        (other.sigign, other.euid)
    );

    let text = file("smaps");
    let ours: Vec<_> = smaps::parse(&text).map(Result::unwrap).collect();
    let other = theirs.smaps().unwrap();
    assert_eq!(ours.len(), other.len());
    for (smap, other) in ours.iter().zip(&other) {
        let mapping = smap.mapping;
        assert_eq!((mapping.start, mapping.end), other.address);
        assert_eq!((mapping.offset, mapping.inode), (other.offset, other.inode));
        assert_eq!(Some(&smap.usage.rss.0), other.extension.map.get("Rss"));
        assert_eq!(
            Some(&smap.usage.anonymous.0),
            other.extension.map.get("Anonymous")
        );
        let charged = smap.flags.unwrap().has(VmFlag::ACCOUNT);
        assert_eq!(charged, other.extension.vm_flags.contains(VmFlags::AC));
        if let MMapPath::Path(path) = &other.pathname {
            assert_eq!(mapping.raw_name, path.as_os_str().as_encoded_bytes());
        }
    }
}

#[test]
fn ten_thousand_mappings_pass_through_one_small_block() {
    const MAPPINGS: usize = 10_000;
    let page = rustix::param::page_size();
    let prot = |odd| {
        if odd {
            ProtFlags::READ
        } else {
            ProtFlags::READ | ProtFlags::WRITE
        }
    };
    let regions: Vec<_> = (0..MAPPINGS)
        .map(|i| Region::map(page, prot(i % 2 == 1), MapFlags::PRIVATE, None).unwrap())
        .collect();
    let mut starts: Vec<_> = regions
        .iter()
        .map(|region| region.range().start as u64)
        .collect();
    starts.sort_unstable();

    let root = Root::live();
    let mut block = Vec::new();
    let mut seen = Vec::new();
    let dir = root.open_dir("proc/self").unwrap();
    smaps::stream_file(&dir, &mut block, |smap| seen.push(smap.mapping.range())).unwrap();
    for start in starts {
        let at = seen.partition_point(|range| range.end <= start);
        assert!(seen[at].contains(&start), "{start:x} is in no mapping");
    }
    assert!(seen.len() >= MAPPINGS);
    assert!(
        block.capacity() <= 128 << 10,
        "{} bytes held",
        block.capacity()
    );
}

#[test]
fn no_process_is_lost_while_thousands_come_and_go() {
    const COME_AND_GO: usize = 5_000;
    let steady: Vec<_> = (0..20).map(|_| Sleeper::new()).collect();
    let done = AtomicBool::new(false);
    let root = Root::live();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..COME_AND_GO {
                Command::new("true").status().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let samples = sample::all(&root).unwrap();
            assert!(samples.failed.is_empty(), "{:?}", samples.failed);
            for sleeper in &steady {
                let pid = sleeper.0.id();
                assert!(
                    samples.processes.iter().any(|s| s.status.pid == pid),
                    "{pid} was lost"
                );
            }
        }
    });
}
