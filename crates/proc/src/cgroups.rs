//! `/proc/cgroups`: the controllers of this kernel, and how many groups each v1 hierarchy has.
//!
//! `cgroups(7)`. The count includes the root group and, unlike the directories, removed groups that something
//! still refers to. Newer kernels leave out controllers that have no v1 interface.

use crate::text::{lines, number, words};

/// One controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// `memory`, `cpuset`, ….
    pub name: Vec<u8>,
    /// The v1 hierarchy that it is attached to; 0 for none, or for v2.
    pub hierarchy: u64,
    /// Groups in its hierarchy, dying ones included.
    pub groups: u64,
    /// Whether it was not switched off at boot (`cgroup_disable=`).
    pub enabled: bool,
}

/// Each controller; lines of another shape, the heading among them, are passed over.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Controller> {
    lines(text).filter_map(|line| {
        let mut words = words(line);
        Some(Controller {
            name: words.next()?.to_vec(),
            hierarchy: number(words.next()?)?,
            groups: number(words.next()?)?,
            enabled: number(words.next()?)? != 0,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heading_is_no_controller() {
        let text = b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
                     memory\t4\t15\t1\nperf_event\t0\t1\t0\nshort\t1\n";
        let controllers: Vec<_> = parse(text).collect();
        let [memory, perf_event] = controllers.as_slice() else {
            panic!("{controllers:?}")
        };
        assert_eq!(memory.name, b"memory");
        assert_eq!(
            (memory.hierarchy, memory.groups, memory.enabled),
            (4, 15, true)
        );
        assert!(!perf_event.enabled);
    }
}
