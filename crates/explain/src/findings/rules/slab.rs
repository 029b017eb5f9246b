//! Object caches that hold much: those that the kernel can't take back, those that it can, and names of files that are not there.

use super::caches;
use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_ledger::look::SlabCache;
use plimsoll_units::Bytes;

pub(super) const UNRECLAIMABLE: Rule = Rule {
    id: "slab-unreclaimable",
    looks_for: "an object cache of the kernel that holds much and can't be taken back",
    find: |scene| big(scene, false),
};

pub(super) const RECLAIMABLE: Rule = Rule {
    id: "slab-reclaimable",
    looks_for: "a cache of dentries or inodes that has grown over a good part of RAM",
    find: |scene| big(scene, true),
};

pub(super) const NEGATIVE_DENTRIES: Rule = Rule {
    id: "negative-dentries",
    looks_for: "names of files that are not there, kept in great numbers",
    find: negative_dentries,
};

/// The most that healthy hosts of ours had in one cache that can't be taken back was under 1 % of RAM.
const UNRECLAIMABLE_PERCENT: u64 = 5;

/// A walk over many files may fill this on any host, and it comes back under pressure; above it, it is most of what
/// "used" says.
const RECLAIMABLE_PERCENT: u64 = 10;

/// While memory is short, half of that.
const RECLAIMABLE_SHORT_PERCENT: u64 = 5;

/// Below this nothing is worth a finding, on hosts of whatever size.
const LEAST: Bytes = Bytes::from_mib(32);

/// So many mounts are named.
const MOUNTS: usize = 5;

const NEEDS: NotSeen = NotSeen("/proc/slabinfo; root reads it");

fn big(scene: &Scene<'_>, reclaimable: bool) -> Answer {
    let caches = &scene.now.look.host.slab_caches;
    if caches.is_empty() {
        return Err(NEEDS);
    }
    let short = scene.short();
    let percent = match (reclaimable, &short) {
        (false, _) => UNRECLAIMABLE_PERCENT,
        (true, Some(_)) => RECLAIMABLE_SHORT_PERCENT,
        (true, None) => RECLAIMABLE_PERCENT,
    };
    let least = scene.percent_of_ram(percent).max(LEAST);
    let big = caches
        .iter()
        .filter(|cache| cache.reclaimable == reclaimable && cache.bytes >= least);
    let found = big.map(|cache| {
        let mut finding = if reclaimable {
            of_reclaimable(scene, cache)
        } else {
            of_unreclaimable(scene, cache)
        };
        if let Some(short) = short.clone() {
            finding.evidence.push(short);
            finding.severity = finding.severity.max(Severity::Warning);
        }
        finding
    });
    Ok(found.collect())
}

/// What `/proc/slabinfo` says of a cache.
pub(super) fn of_slabinfo(cache: &SlabCache) -> Vec<Evidence> {
    let objects = format!(
        "{} of {} in use, {} each",
        cache.active_objects, cache.objects, cache.object_size_bytes
    );
    vec![
        Evidence::bytes(
            "/proc/slabinfo",
            &format!("{}: slabs", cache.name),
            cache.bytes,
        ),
        Evidence::text(
            "/proc/slabinfo",
            &format!("{}: objects", cache.name),
            objects,
        ),
    ]
}

fn of_unreclaimable(scene: &Scene<'_>, cache: &SlabCache) -> Finding {
    let owner = caches::owner(&cache.name);
    let mut evidence = of_slabinfo(cache);
    evidence.push(scene.ram_evidence());
    Finding {
        id: UNRECLAIMABLE.id,
        severity: Severity::Warning,
        title: format!(
            "The kernel holds {} in {}: {owner}.",
            cache.bytes, cache.name
        ),
        bytes: Some(cache.bytes),
        evidence,
        means: format!(
            "No process owns it and the kernel can't take it back under pressure: it comes free when its owner frees it.{}{}",
            half_empty(cache),
            merged(&cache.name)
        ),
        remedies: who_allocates(&cache.name),
    }
}

/// How the kernel is asked who allocates.
pub(super) fn who_allocates(cache: &str) -> Vec<Remedy> {
    let aliases = (!merged(cache).is_empty()).then(|| {
        Remedy::command(
            "See which caches have this name, one of each line",
            format!("ls -l /sys/kernel/slab | grep -- \"$(readlink /sys/kernel/slab/{cache})$\""),
        )
    });
    let ways = [
        Remedy::command(
            "Ask the kernel which of its functions allocate, where it counts them (since 6.10, booted with sysctl.vm.mem_profiling=1)",
            "sort -g /proc/allocinfo | tail",
        ),
        Remedy::command(
            format!(
                "Or boot once with slub_debug=U,{cache}, which has it note who allocated each object"
            ),
            format!("head -20 /sys/kernel/debug/slab/{cache}/alloc_traces"),
        ),
        Remedy::command(
            "Look whether it grows, and what grows with it: caches that grow by as many objects belong together",
            "plimsoll explain --since 60s",
        ),
    ];
    aliases.into_iter().chain(ways).collect()
}

/// The kernel keeps objects of equal size in one cache, under the name of one of them (`slab_unmergeable` in `mm/slab_common.c`).
pub(super) fn merged(cache: &str) -> &'static str {
    if cache.starts_with("kmalloc-") {
        ""
    } else {
        " Objects of others may lie in it too: caches of equal size share one, under one name, unless the kernel was booted with slab_nomerge."
    }
}

fn of_reclaimable(scene: &Scene<'_>, cache: &SlabCache) -> Finding {
    let owner = caches::owner(&cache.name);
    let mut evidence = of_slabinfo(cache);
    evidence.push(scene.ram_evidence());
    if cache.name == "dentry"
        && let Some(dentries) = scene.now.state.dentries
    {
        let value = format!(
            "{} of {} unused, {} of them negative",
            dentries.unused, dentries.all, dentries.negative
        );
        evidence.push(Evidence::text(
            "/proc/sys/fs/dentry-state",
            "all, unused, negative",
            value,
        ));
    }
    let mounts = caches::mounts(&cache.name, &scene.now.state.mounts);
    for mount in mounts.iter().take(MOUNTS) {
        evidence.push(Evidence::text("/proc/self/mountinfo", "mount", mount));
    }
    let where_ = match mounts.as_slice() {
        [] => String::new(),
        [one] => format!(", mounted at {one}"),
        [first, others @ ..] => format!(", mounted at {first} and {} other places", others.len()),
    };
    Finding {
        id: RECLAIMABLE.id,
        severity: Severity::Note,
        title: format!(
            "{} of RAM are in {}: {owner}{where_}.",
            cache.bytes, cache.name
        ),
        bytes: Some(cache.bytes),
        evidence,
        means: format!(
            "No process owns it: it is kept from files that were looked at, in case they are looked at again. It is reclaimable: the kernel takes it back when memory is wanted, though more slowly than cached file pages, \
             and not while the files are open or their inodes are busy. Figures of \"used\" memory count it as used.{}",
            half_empty(cache)
        ),
        remedies: vec![
            Remedy::command(
                "Take it back now, once; what is still wanted is read again",
                "echo 2 > /proc/sys/vm/drop_caches",
            ),
            Remedy::command(
                "Have the kernel prefer to take back dentries and inodes (100 is the default)",
                "sysctl vm.vfs_cache_pressure=200",
            )
            .undone_by("sysctl vm.vfs_cache_pressure=100"),
            Remedy::advice(
                "Run what walks over so many files in a control group with a memory limit: what it looks up is charged to that group, and taken back within it",
            ),
        ],
    }
}

/// A cache whose slabs are mostly holes.
fn half_empty(cache: &SlabCache) -> &'static str {
    if cache.active_objects < cache.objects / 2 {
        " More than half of its objects are free: its slabs are fragmented, each held by a few that are in use."
    } else {
        ""
    }
}

/// A negative dentry is worth what any is (192 bytes); this is in thousandths of RAM.
const NEGATIVE_PER_MILLE: u64 = 5;

/// 200,000 on a host that built for hours; the public reports begin at 2 million.
const NEGATIVE_LEAST: u64 = 1_000_000;

fn negative_dentries(scene: &Scene<'_>) -> Answer {
    let dentries = scene
        .now
        .state
        .dentries
        .ok_or(NotSeen("/proc/sys/fs/dentry-state"))?;
    let cache = scene
        .now
        .look
        .host
        .slab_caches
        .iter()
        .find(|cache| cache.name == "dentry")
        .ok_or(NEEDS)?;
    let each = cache.bytes.get() / cache.objects.max(1);
    let bytes = Bytes(dentries.negative.saturating_mul(each)).min(cache.bytes);
    if dentries.negative < NEGATIVE_LEAST
        || bytes.get() < scene.ram().get() / 1000 * NEGATIVE_PER_MILLE
    {
        return Ok(Vec::new());
    }
    let mut evidence = vec![Evidence::text(
        "/proc/sys/fs/dentry-state",
        "negative (5th)",
        format!("{} of {}", dentries.negative, dentries.all),
    )];
    evidence.extend(of_slabinfo(cache));
    Ok(vec![Finding {
        id: NEGATIVE_DENTRIES.id,
        severity: Severity::Note,
        title: format!("{bytes} of RAM are about files that do not exist: {} negative dentries.", dentries.negative),
        bytes: Some(bytes),
        evidence,
        means: "A program looks up names that are not there, ever new ones (temporary files, search paths, libnss in old versions), and the kernel remembers each. It is reclaimable, but nothing bounds it while memory is free, \
            and walks over their directories take longer."
            .to_owned(),
        remedies: vec![
            Remedy::command("Take them back now, once", "echo 2 > /proc/sys/vm/drop_caches"),
            Remedy::command("Find who looks them up", "bpftrace -e 'kretprobe:d_alloc_parallel { @[comm] = count(); }'"),
            Remedy::advice("Removing a directory drops those below it"),
        ],
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{file_with, findings, host, host_with, slabinfo_with};

    #[test]
    fn inodes_of_a_mount() {
        let slabinfo = slabinfo_with("nfs_inode_cache", 2_500_000, 2_400_000, 1080);
        let found = findings(&RECLAIMABLE, &host_with(&[("proc/slabinfo", &slabinfo)]));
        assert_eq!(found[0].severity, Severity::Note);
        assert!(
            found[0].title.contains("nfs_inode_cache")
                && found[0].title.contains("/home (files:/home)"),
            "{}",
            found[0].title
        );
        assert!(found[0].means.contains("reclaimable"));
        assert!(found[0].bytes > Some(Bytes::from_mib(2_500)));

        let fewer = slabinfo_with("nfs_inode_cache", 1_200_000, 1_200_000, 1080);
        assert_eq!(
            findings(&RECLAIMABLE, &host_with(&[("proc/slabinfo", &fewer)])),
            []
        );
        let short = file_with("proc/meminfo", "MemAvailable:", "MemAvailable: 900000 kB");
        let found = findings(
            &RECLAIMABLE,
            &host_with(&[("proc/slabinfo", &fewer), ("proc/meminfo", &short)]),
        );
        assert_eq!(found[0].severity, Severity::Warning);
    }

    #[test]
    fn what_can_not_be_taken_back() {
        let slabinfo = slabinfo_with("ebitmap_node", 40_000_000, 10_000_000, 64);
        let found = findings(&UNRECLAIMABLE, &host_with(&[("proc/slabinfo", &slabinfo)]));
        assert!(found[0].title.contains("SELinux"), "{}", found[0].title);
        assert!(found[0].means.contains("fragmented"), "{}", found[0].means);
        let fewer = slabinfo_with("ebitmap_node", 4_000_000, 4_000_000, 64);
        assert_eq!(
            findings(&UNRECLAIMABLE, &host_with(&[("proc/slabinfo", &fewer)])),
            []
        );
        assert_eq!(findings(&UNRECLAIMABLE, &host()), []);
    }

    #[test]
    fn kmalloc_of_a_hardened_kernel_is_one() {
        let slabinfo = slabinfo_with("kmalloc-rnd-07-512", 4_000_000, 4_000_000, 512);
        let found = findings(&UNRECLAIMABLE, &host_with(&[("proc/slabinfo", &slabinfo)]));
        assert!(found[0].title.contains("kmalloc-512"), "{}", found[0].title);
        assert!(
            found[0].remedies[1]
                .command
                .as_ref()
                .unwrap()
                .contains("kmalloc-512/alloc_traces")
        );
    }

    #[test]
    fn names_of_nothing() {
        let slabinfo = slabinfo_with("dentry", 2_500_000, 2_500_000, 192);
        let with = |state: &str| {
            findings(
                &NEGATIVE_DENTRIES,
                &host_with(&[
                    ("proc/slabinfo", &slabinfo),
                    ("proc/sys/fs/dentry-state", state),
                ]),
            )
        };
        let found = with("2500000 2400000 45 0 2360000 0\n");
        assert!(found[0].title.contains("2360000"), "{}", found[0].title);
        assert!(found[0].bytes > Some(Bytes::from_mib(430)));
        assert_eq!(with("2500000 2400000 45 0 200000 0\n"), []);
    }
}
