//! `/proc/zoneinfo`: every node's and zone's counters, watermarks and per-CPU lists (`proc_zoneinfo(5)`;
//! `zoneinfo_show_print` in `mm/vmstat.c`).
//!
//! The kernel prints a whole node in one go, so the counters of a node are microseconds apart: nearly a
//! snapshot, which `/proc/meminfo` is not. Only here are the pages on per-CPU lists to be seen.

use crate::page_counters::PageCounters;
use crate::text::{lines, number, words};
use plimsoll_units::Pages;
use std::ops::Add;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zoneinfo {
    /// In the file's order.
    pub zones: Vec<Zone>,
}

/// One zone of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// The node's number.
    pub node: u64,
    /// `DMA`, `Normal`, …
    pub name: Box<[u8]>,
    /// The node's own counters, printed with its first populated zone.
    pub per_node: Option<PageCounters>,
    /// Pages in the buddy lists.
    pub free: Option<Pages>,
    /// Temporary raise of the watermarks.
    pub boost: Option<Pages>,
    /// Watermark below which only reclaim and the privileged allocate.
    pub min: Option<Pages>,
    /// Watermark that wakes kswapd.
    pub low: Option<Pages>,
    /// Watermark at which kswapd rests.
    pub high: Option<Pages>,
    /// From the first page to the last, holes included.
    pub spanned: Option<Pages>,
    /// Without holes.
    pub present: Option<Pages>,
    /// Given to the page allocator.
    pub managed: Option<Pages>,
    /// In contiguous-allocation areas.
    pub cma: Option<Pages>,
    /// Pages kept from allocations that could have used a higher zone, by that zone.
    pub protection: Vec<Pages>,
    /// The zone's counters.
    pub counters: PageCounters,
    /// The per-CPU lists.
    pub pagesets: Vec<Pageset>,
}

/// One CPU's lists of free pages in a zone: free, but in no buddy list and in no counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pageset {
    /// The CPU's number.
    pub cpu: u64,
    /// Pages on the lists.
    pub count: Option<Pages>,
    /// More than this go back to the buddy lists.
    pub high: Option<Pages>,
    /// So many at a time.
    pub batch: Option<Pages>,
}

/// What the next lines belong to.
#[derive(PartialEq)]
enum Section {
    Zone,
    PerNode,
    Pagesets,
}

impl Zoneinfo {
    /// Reads the whole file; lines it does not know are kept with their counters or passed over.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut zones: Vec<Zone> = Vec::new();
        let mut section = Section::Zone;
        for line in lines(text) {
            let mut words = words(line);
            let (Some(first), second) = (words.next(), words.next()) else {
                continue;
            };
            if first == b"Node" {
                zones.push(Zone {
                    node: second
                        .and_then(|word| number(word.strip_suffix(b",")?))
                        .unwrap_or(0),
                    name: words.nth(1).unwrap_or_default().into(),
                    ..Zone::default()
                });
                section = Section::Zone;
                continue;
            }
            let Some(zone) = zones.last_mut() else {
                continue;
            };
            match (first, second) {
                (b"per-node", _) => {
                    zone.per_node = Some(PageCounters::default());
                    section = Section::PerNode;
                }
                (b"pages", Some(b"free")) => {
                    zone.free = words.next().and_then(number).map(Pages);
                    section = Section::Zone;
                }
                (b"pagesets", _) => section = Section::Pagesets,
                (b"protection:", _) => zone.protection = protection(line),
                (key, Some(value)) => {
                    if let Some(value) = number(value) {
                        zone.take(&section, key, value);
                    }
                }
                (_, None) => {}
            }
        }
        Self { zones }
    }

    /// The counter that `which` picks, of all nodes together; `None` where no node has it.
    pub fn of_nodes<T: Add<Output = T>>(
        &self,
        which: impl Fn(&PageCounters) -> Option<T>,
    ) -> Option<T> {
        let nodes = self.zones.iter().filter_map(|zone| zone.per_node.as_ref());
        nodes.filter_map(which).reduce(T::add)
    }

    /// The count that `which` picks, of all zones together; `None` where no zone has it.
    pub fn of_zones(&self, which: impl Fn(&Zone) -> Option<Pages>) -> Option<Pages> {
        self.zones.iter().filter_map(which).reduce(Pages::add)
    }

    /// Pages on all per-CPU lists; `None` where none are shown.
    #[must_use]
    pub fn per_cpu_lists(&self) -> Option<Pages> {
        let pagesets = self.zones.iter().flat_map(|zone| &zone.pagesets);
        pagesets.filter_map(|set| set.count).reduce(Pages::add)
    }
}

impl Zone {
    /// Takes one `key value` line of a section.
    fn take(&mut self, section: &Section, key: &[u8], value: u64) {
        match section {
            Section::PerNode => {
                if let Some(counters) = &mut self.per_node {
                    counters.set(key, value);
                }
            }
            Section::Zone => match self.watermark(key) {
                Some(slot) => *slot = Some(Pages(value)),
                None => self.counters.set(key, value),
            },
            Section::Pagesets if key == b"cpu:" => self.pagesets.push(Pageset {
                cpu: value,
                ..Pageset::default()
            }),
            Section::Pagesets => {
                let slot = self.pagesets.last_mut().and_then(|set| set.slot(key));
                if let Some(slot) = slot {
                    *slot = Some(Pages(value));
                }
            }
        }
    }

    fn watermark(&mut self, key: &[u8]) -> Option<&mut Option<Pages>> {
        match key {
            b"boost" => Some(&mut self.boost),
            b"min" => Some(&mut self.min),
            b"low" => Some(&mut self.low),
            b"high" => Some(&mut self.high),
            b"spanned" => Some(&mut self.spanned),
            b"present" => Some(&mut self.present),
            b"managed" => Some(&mut self.managed),
            b"cma" => Some(&mut self.cma),
            _ => None,
        }
    }
}

impl Pageset {
    fn slot(&mut self, key: &[u8]) -> Option<&mut Option<Pages>> {
        match key {
            b"count:" => Some(&mut self.count),
            b"high:" => Some(&mut self.high),
            b"batch:" => Some(&mut self.batch),
            _ => None,
        }
    }
}

/// The numbers of `protection: (0, 3019, 4811)`.
fn protection(line: &[u8]) -> Vec<Pages> {
    let numbers = line.split(|byte| !byte.is_ascii_digit());
    numbers.filter_map(number).map(Pages).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file() {
        let zoneinfo = Zoneinfo::parse(include_bytes!("../fixtures/zoneinfo-6.18.txt"));
        let names: Vec<_> = zoneinfo.zones.iter().map(|zone| &*zone.name).collect();
        assert_eq!(
            names,
            [
                b"DMA".as_slice(),
                b"DMA32",
                b"Normal",
                b"Movable",
                b"Device"
            ]
        );
        let nodes: Vec<_> = zoneinfo
            .zones
            .iter()
            .map(|z| z.per_node.is_some())
            .collect();
        assert_eq!(nodes, [true, false, false, false, false]);
        let normal = &zoneinfo.zones[2];
        assert_eq!(normal.managed, Some(Pages(1_015_808)));
        assert_eq!(normal.protection, [Pages(0); 5]);
        assert_eq!(normal.pagesets.len(), 2);
        assert_eq!(normal.pagesets[1].cpu, 1);
        assert!(normal.counters.nr_free_pages.is_some());
        assert_eq!(
            zoneinfo.of_zones(|zone| zone.managed),
            Some(Pages(3840 + 772_918 + 1_015_808))
        );
        assert!(zoneinfo.of_nodes(|node| node.nr_kernel_stack).is_some());
        assert!(zoneinfo.per_cpu_lists().is_some_and(|lists| lists.0 > 0));
    }

    #[test]
    fn pieces_out_of_place_do_no_harm() {
        let zoneinfo =
            Zoneinfo::parse(b"cpu: 1\nNode\n  pagesets\n count: 7\n  per-node stats\n\nx\n");
        assert_eq!(zoneinfo.zones.len(), 1);
        assert_eq!(zoneinfo.per_cpu_lists(), None);
    }
}
