//! No host-wide reader panics, whatever its file holds.

use crate::boot_log::BootLog;
use crate::meminfo::Meminfo;
use crate::pagetypeinfo::Pagetypeinfo;
use crate::vmallocinfo::Vmallocinfo;
use crate::zoneinfo::Zoneinfo;
use crate::zram::MmStat;
use crate::{buddyinfo, kmsg, slabinfo, swaps, uptime, vmstat};
use plimsoll_units::PageSize;
use proptest::prelude::*;
use std::hint::black_box;

/// A reader, with a file that it understands.
type Reader = (&'static [u8], fn(&[u8]));

/// Keeps the compiler from leaving the reading out.
fn used<T>(read: T) {
    black_box(read);
}

const READERS: &[Reader] = &[
    (include_bytes!("../../fixtures/meminfo-6.18.txt"), |text| {
        used(Meminfo::parse(text))
    }),
    (include_bytes!("../../fixtures/vmstat-6.18.txt"), |text| {
        used(vmstat::parse(text))
    }),
    (include_bytes!("../../fixtures/zoneinfo-6.18.txt"), |text| {
        let zoneinfo = Zoneinfo::parse(text);
        used(zoneinfo.per_cpu_lists());
        used(zoneinfo.of_zones(|zone| zone.free));
        used(zoneinfo.of_nodes(|node| node.nr_kernel_stack));
    }),
    (
        include_bytes!("../../fixtures/buddyinfo-6.18.txt"),
        |text| used(buddyinfo::parse(text).count()),
    ),
    (
        include_bytes!("../../fixtures/pagetypeinfo-6.18.txt"),
        |text| used(Pagetypeinfo::parse(text)),
    ),
    (include_bytes!("../../fixtures/slabinfo-6.18.txt"), |text| {
        let page = PageSize::new(4096).unwrap();
        slabinfo::parse(text).for_each(|cache| used(cache.bytes(page)));
    }),
    (
        include_bytes!("../../fixtures/vmallocinfo-6.18.txt"),
        |text| {
            let info = Vmallocinfo::parse(text);
            used((info.pages(), info.stacks()));
        },
    ),
    (include_bytes!("../../fixtures/kmsg-6.18.txt"), |text| {
        used((kmsg::records(text).count(), BootLog::parse(text)));
    }),
    (
        b"Filename Type Size Used Priority\n/swap file 65532 0 -2\n",
        |text| used(swaps::parse(text).count()),
    ),
    (b" 1024 300 4096 0 8192 1 0 0 0\n", |text| {
        used(MmStat::parse(text))
    }),
    (b"1174.73 2055.40\n", |text| used(uptime::parse(text))),
];

/// A file with pieces of it overwritten by other bytes, and its end gone.
fn damaged(text: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let patch = (any::<prop::sample::Index>(), "[0-9 :,.()\\n\\PC-]{0,24}");
    let patches = prop::collection::vec(patch, 0..16);
    (patches, any::<prop::sample::Index>(), any::<bool>()).prop_map(move |(patches, end, cut)| {
        let mut bytes = text.to_vec();
        for (at, patch) in patches {
            for (byte, new) in bytes
                .iter_mut()
                .skip(at.index(text.len()))
                .zip(patch.bytes())
            {
                *byte = new;
            }
        }
        if cut {
            bytes.truncate(end.index(text.len()));
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes(text in prop::collection::vec(any::<u8>(), 0..512)) {
        READERS.iter().for_each(|(_, read)| read(&text));
    }

    #[test]
    fn damaged_files((text, read) in prop::sample::select(READERS).prop_flat_map(|(text, read)| (damaged(text), Just(read)))) {
        read(&text);
    }
}
