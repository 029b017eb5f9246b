//! What would have avoided it: a table of conditions with what to do where they hold, the nearest first.

use super::{Answer, Class, Memory, Verdict};
use crate::report::Report;
use plimsoll_units::Bytes;

/// A condition with its remedy; `None` where it does not hold.
type Remedy = fn(&Verdict, &Report) -> Option<String>;

#[rustfmt::skip]
const REMEDIES: &[Remedy] = &[
    by_hand, panics, group_without_swap, group_of_files, group_of_shmem, group_of_anon, bound,
    without_compaction, fragmented, other_kinds, movable_only, low_memory,
    huge_pages, slab, shmem, unnamed, no_swap, biggest_task,
];

/// Those that hold.
pub(super) fn of(verdict: &Verdict, report: &Report) -> Vec<String> {
    REMEDIES
        .iter()
        .filter_map(|remedy| remedy(verdict, report))
        .collect()
}

fn by_hand(verdict: &Verdict, _: &Report) -> Option<String> {
    (verdict.class == Class::Sysrq)
        .then(|| "Find out who pressed sysrq-f or wrote f to /proc/sysrq-trigger; kernel.sysrq says who may.".to_owned())
}

fn panics(_: &Verdict, report: &Report) -> Option<String> {
    report.panic.as_ref()?.contains("panic_on_oom").then(|| {
        "vm.panic_on_oom made a panic of it: with 0 the kernel kills a process instead (sysctl vm.panic_on_oom=0).".to_owned()
    })
}

fn group_part(verdict: &Verdict, name: &str) -> Option<(Bytes, Bytes)> {
    let group = verdict.group.as_ref()?;
    let part = group.parts.iter().find(|part| part.name == name)?;
    Some((part.bytes, group.limit_bytes.or(group.usage_bytes)?))
}

fn group_without_swap(verdict: &Verdict, _: &Report) -> Option<String> {
    let group = verdict.group.as_ref()?;
    let (anon, _) = group_part(verdict, "anonymous")?;
    (group.swap_limit_bytes == Some(Bytes::ZERO) && anon > Bytes::ZERO).then(|| {
        "Give the group swap (memory.swap.max, on v1 a higher memory.memsw.limit_in_bytes) and the host some to give: then what it does not use goes there first.".to_owned()
    })
}

fn group_of_files(verdict: &Verdict, report: &Report) -> Option<String> {
    let (files, limit) = group_part(verdict, "file cache")?;
    let stat = &report.memcg.as_ref()?.stat;
    let dirty = Bytes(
        stat.get("file_dirty")
            .or(stat.get("dirty"))
            .copied()
            .unwrap_or(0),
    ) + Bytes(
        stat.get("file_writeback")
            .or(stat.get("writeback"))
            .copied()
            .unwrap_or(0),
    );
    (files.get() > limit.get() / 2 && dirty.get() > files.get() / 2).then(|| {
        format!("{dirty} of its file cache were dirty and could not be dropped in time: lower vm.dirty_bytes below the limit, or raise the limit; on v1 nothing slows a writer down to its group's limit.")
    })
}

fn group_of_shmem(verdict: &Verdict, _: &Report) -> Option<String> {
    let (shmem, limit) = group_part(verdict, "shared memory and tmpfs")?;
    (shmem.get() > limit.get() / 4).then(|| {
        format!("{shmem} are tmpfs files or shared memory: remove them, or bound them (mount option size=, --shm-size); a kill does not free them.")
    })
}

fn group_of_anon(verdict: &Verdict, _: &Report) -> Option<String> {
    let (anon, limit) = group_part(verdict, "anonymous")?;
    let biggest = verdict.tasks.biggest.first();
    (anon.get() > limit.get() / 2).then(|| {
        let who = biggest.map(|task| format!(" ({} is the biggest)", task.name)).unwrap_or_default();
        format!("Its programs need {anon} at the least{who}: raise the limit (memory.max) above that, or let them use less.")
    })
}

fn bound(verdict: &Verdict, report: &Report) -> Option<String> {
    let others = super::headline::free_elsewhere(verdict);
    let own: Bytes = verdict
        .zones
        .iter()
        .filter(|zone| zone.answer != Answer::WrongNode)
        .map(|zone| zone.free_bytes)
        .sum();
    if others <= own || !matches!(verdict.class, Class::Cpuset | Class::Mempolicy) {
        return None;
    }
    let cpuset = report
        .constraint
        .as_ref()
        .and_then(|constraint| constraint.cpuset.as_deref())
        .unwrap_or("its");
    Some(match verdict.class {
        Class::Mempolicy => "Let the memory policy prefer the node instead of binding to it (MPOL_PREFERRED, numactl --preferred).".to_owned(),
        _ => format!("Let the cpuset {cpuset} use more nodes (cpuset.mems): {others} were free on others."),
    })
}

fn without_compaction(verdict: &Verdict, report: &Report) -> Option<String> {
    let order = verdict.request.as_ref()?.order?;
    (report.without_compaction && order > 0)
        .then(|| "The kernel was built without compaction (CONFIG_COMPACTION): it can't make large pieces of small ones.".to_owned())
}

fn fragmented(verdict: &Verdict, _: &Report) -> Option<String> {
    let request = verdict.request.as_ref()?;
    let order = request.order.filter(|order| *order > 0)?;
    if !verdict
        .zones
        .iter()
        .any(|zone| zone.answer == Answer::Fragmented)
    {
        return None;
    }
    let reclaimable = verdict
        .memory
        .as_ref()
        .map(|memory| memory.of("slab_reclaimable"))
        .unwrap_or_default();
    let from_slab = if reclaimable > Bytes::from_mib(512) {
        format!(
            " {reclaimable} of reclaimable slab (names and inodes of files) lie between: dropping them helps at once (echo 2 > /proc/sys/vm/drop_caches)."
        )
    } else {
        String::new()
    };
    let who = if order > 3 {
        "A request beyond order 3 must be able to fail: who makes it should fall back to smaller pieces (kvmalloc)."
    } else {
        "Who asks for so large a piece should fall back to smaller ones (kvmalloc): report it to the maintainers of what is on the stack."
    };
    Some(format!(
        "Keep more memory free, so that pieces stay whole: raise vm.min_free_kbytes or vm.watermark_scale_factor, and vm.compaction_proactiveness.{from_slab} {who}"
    ))
}

fn other_kinds(verdict: &Verdict, _: &Report) -> Option<String> {
    let cma: Bytes = verdict
        .zones
        .iter()
        .filter(|zone| zone.answer == Answer::OtherKinds)
        .filter_map(|zone| zone.cma_bytes)
        .sum();
    (cma > Bytes::from_mib(8) && !verdict.request.as_ref()?.movable).then(|| {
        format!("{cma} of free memory are in contiguous areas (CMA), where the kernel's own data can't go: make them smaller (cma= on the kernel's command line, or the device tree).")
    })
}

fn movable_only(verdict: &Verdict, _: &Report) -> Option<String> {
    let movable = verdict
        .zones
        .iter()
        .filter(|zone| zone.answer == Answer::WrongZone && zone.name == "Movable");
    let free: Bytes = movable.map(|zone| zone.free_bytes).sum();
    (free > Bytes::from_mib(64)).then(|| {
        format!("{free} are free in zone Movable, where the kernel's own data can't go: plug less memory in as movable (online_kernel instead of online_movable), or lower kernelcore= and movablecore=.")
    })
}

fn low_memory(verdict: &Verdict, _: &Report) -> Option<String> {
    let high = verdict
        .zones
        .iter()
        .filter(|zone| zone.answer == Answer::WrongZone && zone.name == "HighMem");
    let free: Bytes = high.map(|zone| zone.free_bytes).sum();
    (free > Bytes::from_mib(32)).then(|| {
        format!("{free} are free in HighMem, where a 32-bit kernel can't put its own data: use a 64-bit kernel, or fewer processes and caches in low memory.")
    })
}

fn huge_pages(verdict: &Verdict, report: &Report) -> Option<String> {
    let total = verdict.memory.as_ref()?.total_bytes;
    let unused: Bytes = report
        .hugepages
        .iter()
        .map(|pool| Bytes::from_kib(pool.kb.saturating_mul(pool.free)))
        .sum();
    (unused.get() > total.get() / 20).then(|| {
        format!("{unused} lie in pools of huge pages that nobody uses: lower vm.nr_hugepages.")
    })
}

fn is_of_host(verdict: &Verdict) -> Option<&Memory> {
    verdict
        .memory
        .as_ref()
        .filter(|_| verdict.class != Class::Sysrq)
}

fn slab(verdict: &Verdict, _: &Report) -> Option<String> {
    let memory = is_of_host(verdict)?;
    let held = memory.unreclaimable_slab();
    if held.get() < memory.total_bytes.get() / 6 {
        return None;
    }
    let named = verdict
        .slab
        .first()
        .filter(|cache| cache.bytes.get() > held.get() / 4);
    Some(match named {
        Some(cache) => format!(
            "The kernel holds {held} of slab that it can't give back, {} of it in {}: find what makes so many (look at who uses that subsystem; for kmalloc-N boot with slab_debug=U and read alloc_traces, or use /proc/allocinfo).",
            cache.bytes, cache.name
        ),
        None => format!(
            "The kernel holds {held} of slab that it can't give back: `plimsoll look slab` names the caches while the host runs."
        ),
    })
}

fn shmem(verdict: &Verdict, _: &Report) -> Option<String> {
    let memory = is_of_host(verdict)?;
    let held = memory.of("shmem");
    (held.get() > memory.total_bytes.get() / 6).then(|| {
        format!("{held} are tmpfs files and shared memory, which no kill frees: `plimsoll look --explain` names mounts, deleted files that are kept open, and segments without users.")
    })
}

fn unnamed(verdict: &Verdict, _: &Report) -> Option<String> {
    let memory = is_of_host(verdict)?;
    let held = Bytes(u64::try_from(memory.unattributed_bytes).ok()?);
    (held.get() > memory.total_bytes.get() / 10).then(|| {
        let place = verdict.allocations.first().map(|one| format!(" The kernel's own profile has most at {} ({}).", one.place, one.bytes)).unwrap_or_default();
        format!("{held} stand in no line of the report: vmalloc, per-CPU data, pipes, sockets, packet rings, or a driver's own pages (GPU, ZFS, balloon). `plimsoll look --explain` names what it can; /proc/allocinfo or page_owner=on the rest.{place}")
    })
}

fn no_swap(verdict: &Verdict, _: &Report) -> Option<String> {
    let memory = is_of_host(verdict).filter(|_| {
        matches!(
            verdict.class,
            Class::Global | Class::Cpuset | Class::Mempolicy
        )
    })?;
    let could_go = memory.of("anon") + memory.of("shmem");
    let is_short = verdict
        .zones
        .iter()
        .any(|zone| zone.answer == Answer::BelowMin);
    (is_short && verdict.swap_total_bytes == Some(Bytes::ZERO) && could_go.get() > memory.total_bytes.get() / 4).then(|| {
        format!("With swap what of these {could_go} is not in use would have gone there; zram or zswap where the disk is slow.")
    })
}

fn biggest_task(verdict: &Verdict, _: &Report) -> Option<String> {
    let memory = is_of_host(verdict).filter(|_| verdict.class == Class::Global)?;
    let biggest = verdict.tasks.biggest.first()?;
    let rss = biggest.rss_bytes? + biggest.swap_bytes.unwrap_or_default();
    let is_short = verdict
        .zones
        .iter()
        .any(|zone| matches!(zone.answer, Answer::BelowMin | Answer::Reserved));
    (is_short && rss.get() > memory.total_bytes.get() / 3)
        .then(|| format!("{} (pid {}) had {rss}: a limit of its own (memory.high and memory.max of its group) keeps the others alive.", biggest.name, biggest.pid))
}
