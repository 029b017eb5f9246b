//! The table of rules. A rule reads a scene and says what it found; thresholds are constants at the top of its file, with
//! the reason for each.

mod buffers;
mod caches;
mod commit_outside;
mod deleted_files;
mod dying_groups;
mod fragmentation;
mod high_without_swap;
mod limit_close;
mod overcommit_band;
mod per_cpu_lists;
mod process_growth;
mod rss_misleads;
mod segments;
mod slab;
mod slab_growth;
mod swapping_beside_cache;
mod unattributed;
mod zram_beside_disk;

use super::Rule;

/// Every rule.
pub const RULES: &[Rule] = &[
    overcommit_band::RULE,
    limit_close::RULE,
    high_without_swap::RULE,
    commit_outside::RULE,
    slab::UNRECLAIMABLE,
    slab::RECLAIMABLE,
    slab::NEGATIVE_DENTRIES,
    slab_growth::RULE,
    process_growth::RULE,
    buffers::PIPES,
    buffers::SOCKETS,
    buffers::RINGS,
    segments::RULE,
    deleted_files::RULE,
    dying_groups::RULE,
    per_cpu_lists::RULE,
    fragmentation::RULE,
    swapping_beside_cache::RULE,
    zram_beside_disk::RULE,
    rss_misleads::RULE,
    unattributed::RULE,
];
