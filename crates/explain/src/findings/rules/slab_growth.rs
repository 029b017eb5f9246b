//! Object caches that grew between two looks: those that grow and never shrink are leaks, and those that grow by equal numbers of
//! objects have one owner.

use super::caches;
use super::slab::{merged, of_slabinfo, who_allocates};
use crate::findings::{Answer, Evidence, Finding, NotSeen, Rule, Scene, Severity};
use plimsoll_ledger::look::SlabCache;
use plimsoll_units::Bytes;

pub(super) const RULE: Rule = Rule {
    id: "slab-growth",
    looks_for: "an object cache that can't be taken back and grew between two looks",
    find,
};

/// One in a hundred of RAM between two looks: at that rate, however far they are apart, a hundred looks are the end.
const GROWTH_PERCENT: u64 = 1;

/// Small hosts grow by this much when a daemon starts.
const LEAST: Bytes = Bytes::from_mib(16);

/// Numbers of objects are equal when they differ by less than one in so many.
const ALIKE: u64 = 20;

fn find(scene: &Scene<'_>) -> Answer {
    let before = scene.earlier()?;
    let grown = grown(
        &before.account.look.host.slab_caches,
        &scene.now.look.host.slab_caches,
    )?;
    let least = scene.percent_of_ram(GROWTH_PERCENT).max(LEAST);
    let found = grown.iter().filter(|cache| !cache.now.reclaimable && cache.bytes() >= least).map(|cache| {
        let alike = grown.iter().filter(|other| other.now.name != cache.now.name && other.is_like(cache));
        let alike: Vec<_> = alike.map(|other| other.now.name.as_str()).collect();
        let mut evidence = of_slabinfo(cache.now);
        evidence.push(Evidence::bytes("/proc/slabinfo", &format!("{}: grown in {:.0} s", cache.now.name, before.seconds), cache.bytes()));
        let owners = owners(&alike);
        let owner = match (caches::kind(&cache.now.name), owners.first()) {
            (None, Some(owner)) => format!("most likely with {owner}"),
            _ => caches::owner(&cache.now.name).to_owned(),
        };
        let together = if alike.is_empty() {
            String::new()
        } else {
            evidence.push(Evidence::text("/proc/slabinfo", "grew by as many objects", alike.join(", ")));
            format!(" {} grew by as many objects: most likely one owner allocates them together.", alike.join(", "))
        };
        Finding {
            id: RULE.id,
            severity: Severity::Warning,
            title: format!("{} grew by {} in {:.0} s: {}.", cache.now.name, cache.bytes(), before.seconds, owner),
            bytes: Some(cache.bytes()),
            evidence,
            means: format!("The kernel can't take it back. If it goes on it is a leak, or something is being opened and not closed.{together}{}", merged(&cache.now.name)),
            remedies: who_allocates(&cache.now.name),
        }
    });
    Ok(found.collect())
}

/// Whose caches are that grew by as many objects, where their names tell.
fn owners(alike: &[&str]) -> Vec<&'static str> {
    let mut owners: Vec<_> = alike
        .iter()
        .filter_map(|name| caches::kind(name))
        .map(|kind| kind.owner)
        .collect();
    owners.dedup();
    owners
}

/// A cache that has more objects than before.
struct Grown<'a> {
    now: &'a SlabCache,
    bytes_before: Bytes,
    objects: u64,
}

impl Grown<'_> {
    fn bytes(&self) -> Bytes {
        self.now.bytes - self.bytes_before
    }

    fn is_like(&self, other: &Self) -> bool {
        self.objects.abs_diff(other.objects) <= other.objects / ALIKE
    }
}

fn grown<'a>(before: &[SlabCache], now: &'a [SlabCache]) -> Result<Vec<Grown<'a>>, NotSeen> {
    if before.is_empty() || now.is_empty() {
        return Err(NotSeen("/proc/slabinfo of both looks; root reads it"));
    }
    let grown = now.iter().map(|cache| {
        let was = before.iter().find(|was| was.name == cache.name);
        Grown {
            now: cache,
            bytes_before: was.map(|was| was.bytes).unwrap_or_default(),
            objects: cache
                .active_objects
                .saturating_sub(was.map_or(0, |was| was.active_objects)),
        }
    });
    Ok(grown.filter(|cache| cache.objects > 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, findings_between, host, host_with, slabinfo_with};

    #[test]
    fn a_leak_between_two_looks() {
        let slabinfo = slabinfo_with("kmalloc-2k", 200_000, 200_000, 2048)
            + "thing 200100 200100 64 64 1 : tunables 0 0 0 : slabdata 3127 3127 0\n";
        let now = host_with(&[("proc/slabinfo", &slabinfo)]);
        let found = findings_between(&RULE, host(), &now);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].title.starts_with("kmalloc-2k grew by"),
            "{}",
            found[0].title
        );
        assert!(found[0].means.contains("thing"), "{}", found[0].means);
        assert_eq!(findings_between(&RULE, host(), &host()), []);
        assert_eq!(findings(&RULE, &now), []);
    }
}
