//! What a process holds, seen without stopping it.

use crate::stopping::{pid, stop};
use plimsoll_proc::Root;
use plimsoll_surgery::holds::{DescriptorKind, Holds, MappingKind, Obstacle};
use plimsoll_surgery::tree::ProcessName;
use plimsoll_testkit::Victim;
use plimsoll_units::{Bytes, PageSize};

pub(crate) fn look(pid: u32) -> Holds {
    let root = Root::live();
    let name = ProcessName::of(&root, pid).unwrap().unwrap();
    let page_size = u64::try_from(rustix::param::page_size()).unwrap();
    Holds::look(&root, name, PageSize::new(page_size).unwrap()).unwrap()
}

#[test]
fn a_process_of_plain_memory_has_no_obstacle() {
    let victim = Victim::start("epoll").unwrap();
    let held = look(pid(&victim));
    assert_eq!(held.obstacles, []);
    let kinds: Vec<_> = held.descriptors.iter().map(|d| d.kind).collect();
    assert!(kinds.contains(&DescriptorKind::Epoll) && kinds.contains(&DescriptorKind::Pipe));
    let stack = held.mappings.iter().find(|m| m.kind == MappingKind::Stack);
    assert!(stack.unwrap().pages.exclusive > Bytes::ZERO);
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid(&victim))).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let exclusive: Bytes = held.mappings.iter().map(|m| m.pages.exclusive).sum();
    // RssAnon is exact here to the kernel's batching of 63 pages per counter and thread.
    assert!(
        exclusive.get().abs_diff(kib << 10) <= 2 * 63 * 4096,
        "{exclusive} and {kib} KiB"
    );
    victim.end().unwrap();
}

#[test]
fn a_tracer_is_told() {
    let victim = Victim::start("nanosleep").unwrap();
    let tree = stop(pid(&victim));
    let held = look(pid(&victim));
    let traced = |obstacle: &Obstacle| matches!(obstacle, Obstacle::Traced { .. });
    assert!(held.obstacles.iter().any(traced), "{:?}", held.obstacles);
    tree.release();
    victim.end().unwrap();
}
