//! What can be delivered: RAM less what the kernel holds and what it must keep, and swap.
//!
//! What programs have or could have is free memory, pages of files that the LRU lists hold, reclaimable slab, and what is anonymous or shared
//! already. Of free memory each zone keeps its min watermark and its reserve for requests that need that very zone
//! (`__zone_watermark_ok`); of what is still to be handed out, page tables take 8 bytes a page.

use super::{Kept, ram};
use plimsoll_ledger::look::Look;
use plimsoll_proc::state::State;
use plimsoll_proc::zoneinfo::Zone;
use plimsoll_units::{Bytes, PageSize, Pages};

/// One entry of a page table.
const ENTRY_BYTES: u64 = 8;

pub(super) struct Delivery {
    /// Anonymous and shared memory, in RAM and in swap.
    pub(super) used: Bytes,
    /// What is not used yet and can be: RAM and swap.
    pub(super) unused: Bytes,
    /// All of swap but zram.
    pub(super) swap: Bytes,
    /// Who has the RAM that can't be delivered.
    pub(super) kept: Vec<Kept>,
}

impl Delivery {
    pub(super) fn all(&self) -> Bytes {
        self.used + self.unused
    }
}

pub(super) fn of(look: &Look, state: &State) -> Option<Delivery> {
    let meminfo = &state.meminfo;
    let zoneinfo = state.zoneinfo.as_ref()?;
    let lists = zoneinfo
        .per_cpu_lists()
        .unwrap_or(Pages(0))
        .bytes(state.page);
    let watermarks = zoneinfo
        .zones
        .iter()
        .map(|zone| kept_by(zone, state.page))
        .sum();
    let free = meminfo.mem_free? + lists;
    let files = meminfo.active_file? + meminfo.inactive_file?;
    let reclaimable = meminfo
        .k_reclaimable
        .or(meminfo.s_reclaimable)
        .unwrap_or_default();
    let (swap, swap_free) = swap(state);
    let to_hand_out = (free - watermarks) + files + reclaimable;
    let tables = Bytes(to_hand_out.get() / state.page.get() * ENTRY_BYTES);
    let used_in_ram = meminfo.anon_pages? + meminfo.shmem.unwrap_or_default();
    let swapped = meminfo.swap_total.unwrap_or_default() - meminfo.swap_free.unwrap_or_default();
    let in_ram = (to_hand_out - tables) + used_in_ram;
    let mut kept = kernels(look);
    kept.push(Kept {
        name: "watermarks and reserves of zones, which free memory does not go below".to_owned(),
        bytes: watermarks.min(free),
    });
    kept.push(Kept {
        name: "page tables for what is still to be handed out".to_owned(),
        bytes: tables,
    });
    let named: Bytes = kept.iter().map(|part| part.bytes).sum();
    kept.push(Kept {
        name: "the kernel's other memory, and files that can't be dropped".to_owned(),
        bytes: ram(look) - in_ram - named,
    });
    kept.retain(|part| part.bytes > Bytes::ZERO);
    kept.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    Some(Delivery {
        used: used_in_ram + swapped,
        unused: (to_hand_out - tables) + swap_free,
        swap,
        kept,
    })
}

/// What a zone keeps from those that any zone would do for.
fn kept_by(zone: &Zone, page: PageSize) -> Bytes {
    let reserve = zone.protection.iter().max().copied().unwrap_or(Pages(0));
    let kept = zone.min.unwrap_or(Pages(0)) + reserve;
    kept.min(zone.managed.unwrap_or(kept)).bytes(page)
}

/// Swap and what is free of it, without zram; all of it where the areas were not seen.
fn swap(state: &State) -> (Bytes, Bytes) {
    let meminfo = &state.meminfo;
    let Some(areas) = &state.swaps else {
        return (
            meminfo.swap_total.unwrap_or_default(),
            meminfo.swap_free.unwrap_or_default(),
        );
    };
    let disks = areas.iter().filter(|area| !area.is_zram());
    disks.fold((Bytes::ZERO, Bytes::ZERO), |(size, free), area| {
        (size + area.size, free + (area.size - area.used))
    })
}

/// Owners that programs can't have the memory of, named as the account names them.
fn kernels(look: &Look) -> Vec<Kept> {
    const PROGRAMS: [&str; 8] = [
        "free",
        "pcp",
        "anon",
        "shmem",
        "page_cache",
        "buffers",
        "swap_cache",
        "zram",
    ];
    let owners = look
        .host
        .owners
        .iter()
        .filter(|owner| !owner.reclaimable && !PROGRAMS.contains(&owner.id.as_str()));
    let kept = owners.map(|owner| Kept {
        name: owner.name.clone(),
        bytes: owner.bytes,
    });
    kept.collect()
}
