//! Every OOM report and page allocation failure of a kernel log, as it was printed.
//!
//! A report is read by its own headers and keys, never by the kernel's version: each line is known by its shape
//! (`mm/oom_kill.c`, `mm/show_mem.c`, `mm/memcontrol.c`, `mm/slab_common.c`; the oldest by what Linux 2.6.30 printed), and keys
//! that are not known are kept under their own name. Nothing is concluded here; that is [`crate::oom`].
//!
//! Units are those of the report: pages and kB by turns. What can't be read is kept in [`Report::quoted`].

mod cut;
mod kill;
mod marks;
mod memcg;
mod meminfo;
mod reader;
mod tables;
mod trigger;

pub use reader::reports;

use std::collections::BTreeMap;

/// Numbers by their key, as the report names them (in lower case).
pub type Keyed = BTreeMap<String, u64>;

/// One report, from what asked for memory to who was killed. Cut reports lack parts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Its first and last line in the log, from 1.
    pub lines: (usize, usize),
    /// Seconds since boot of its first line.
    pub time_s: Option<f64>,
    /// What asked.
    pub trigger: Option<Trigger>,
    /// The release of the kernel, as it calls itself.
    pub kernel: Option<String>,
    /// The process that asked.
    pub pid: Option<u64>,
    /// The cpuset of what asked.
    pub cpuset: Option<String>,
    /// The NUMA nodes it may use (`0-1`).
    pub mems_allowed: Option<String>,
    /// Functions on the stack, innermost first.
    pub stack: Vec<String>,
    /// Somebody pressed the key (`sysrq-f`).
    pub by_hand: bool,
    /// The kernel was built without compaction.
    pub without_compaction: bool,
    /// Why the kernel gave up, if it did.
    pub panic: Option<String>,
    /// There was nobody to kill.
    pub nobody_to_kill: bool,
    /// The host's counters, in pages.
    pub totals: Keyed,
    /// Each node's counters.
    pub nodes: Vec<Node>,
    /// Each zone, lowest first.
    pub zones: Vec<Zone>,
    /// Pools of huge pages.
    pub hugepages: Vec<HugePages>,
    /// `total pagecache pages`, `pages RAM`, `pages reserved` and the like, in pages.
    pub page_counts: Keyed,
    /// `Free swap` and `Total swap`, in kB.
    pub swap_free_kb: Option<u64>,
    /// See there.
    pub swap_total_kb: Option<u64>,
    /// Free pages on per-CPU lists, from the lines of old kernels (`usd:`).
    pub per_cpu_pages: Option<u64>,
    /// Object caches that can't be reclaimed: printed when they hold more than all that can.
    pub slab: Vec<SlabCache>,
    /// The greatest allocations by place in the source (`CONFIG_MEM_ALLOC_PROFILING`).
    pub allocations: Vec<Allocation>,
    /// The table of tasks.
    pub tasks: Vec<Task>,
    /// The titles of that table.
    pub task_columns: Vec<String>,
    /// `oom-kill:`.
    pub constraint: Option<Constraint>,
    /// The control group whose limit was met.
    pub memcg: Option<Memcg>,
    /// Who was killed, in order.
    pub kills: Vec<Kill>,
    /// `SLUB: Unable to allocate memory`.
    pub slub: Option<Slub>,
    /// Lines between the first and the last that are not understood.
    pub quoted: Vec<Quoted>,
    /// How many more there were.
    pub not_quoted: usize,
}

/// `X invoked oom-killer: …` or `X: page allocation failure: …`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trigger {
    /// The name of what asked.
    pub command: String,
    /// Whether this only tells of a request that failed: nobody is killed.
    pub is_failure: bool,
    /// `gfp_mask` or `mode`.
    pub gfp_mask: Option<u64>,
    /// Its names, where the kernel gives them (since 4.6).
    pub gfp_words: Vec<String>,
    /// 2 to the power of this many pages in one piece; -1 for none at all (sysrq).
    pub order: Option<i64>,
    /// `oom_score_adj`, or `oom_adj` of the oldest.
    pub oom_score_adj: Option<i64>,
    /// Nodes that a memory policy binds the request to.
    pub nodemask: Option<String>,
}

/// `Node 0 active_anon:…kB …`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: u64,
    /// Its counters, in kB.
    pub kb: Keyed,
    /// Whether reclaim had given it up.
    pub all_unreclaimable: Option<bool>,
}

/// One zone of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// The number of its node; 0 where the kernel knows of one only.
    pub node: u64,
    /// `DMA`, `Normal`, …
    pub name: String,
    /// `free:…kB min:…kB …`; empty where only the free blocks were printed.
    pub kb: Keyed,
    /// Pages kept from requests that could have used a higher zone, by that zone.
    pub lowmem_reserve: Vec<u64>,
    /// Free blocks by size.
    pub blocks: Vec<Blocks>,
    /// Some of the blocks are missing: what the line lists does not make the sum at its end.
    pub blocks_are_cut: bool,
}

/// `12*8kB (UM)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocks {
    /// How many are free.
    pub count: u64,
    /// The size of each.
    pub kb: u64,
    /// Letters of the kinds that some of them are of; `None` where the kernel did not print any (before 3.9).
    pub kinds: Option<String>,
}

/// `Node 0 hugepages_total=… hugepages_size=…kB`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HugePages {
    /// In the pool.
    pub total: u64,
    /// Of these not in use.
    pub free: u64,
    /// The size of each.
    pub kb: u64,
}

/// One object cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlabCache {
    /// Its name.
    pub name: String,
    /// In use.
    pub used_kb: u64,
    /// Taken.
    pub total_kb: u64,
}

/// One place in the kernel's source that allocates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// As printed, rounded by the kernel.
    pub bytes: u64,
    /// How often.
    pub calls: u64,
    /// File, line, module and function.
    pub place: String,
}

/// One row of the table of tasks. Memory is in pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    /// Process id.
    pub pid: u64,
    /// Its name.
    pub name: String,
    /// `oom_score_adj`, or `oom_adj`.
    pub oom_score_adj: Option<i64>,
    /// The other columns, by their titles.
    pub columns: Keyed,
}

/// `oom-kill:constraint=…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraint {
    /// `CONSTRAINT_NONE`, …
    pub kind: String,
    /// Nodes that a memory policy binds to.
    pub nodemask: Option<String>,
    /// The cpuset.
    pub cpuset: Option<String>,
    /// Nodes that it may use.
    pub mems_allowed: Option<String>,
    /// Whether all of the host ran out.
    pub is_global: bool,
    /// The group that ran out.
    pub oom_memcg: Option<String>,
    /// The group of who was chosen.
    pub task_memcg: Option<String>,
    /// The name of who was chosen.
    pub task: Option<String>,
    /// And its process id.
    pub pid: Option<u64>,
}

/// Usage and limit of one counter of a control group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Charged, in kB.
    pub usage_kb: u64,
    /// At most, in kB; near-infinite for none.
    pub limit_kb: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// A control group at its limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memcg {
    /// Its path.
    pub path: Option<String>,
    /// `memory:`.
    pub memory: Option<Usage>,
    /// `swap:` of v2.
    pub swap: Option<Usage>,
    /// `memory+swap:` of v1.
    pub memory_and_swap: Option<Usage>,
    /// `kmem:` of v1.
    pub kmem: Option<Usage>,
    /// `memory.stat`, in bytes where it is of bytes.
    pub stat: Keyed,
    /// All of its processes are to be killed (`memory.oom.group`).
    pub kills_all: bool,
}

/// Somebody killed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kill {
    /// Process id.
    pub pid: u64,
    /// Its name.
    pub name: String,
    /// `score N`, in thousandths of all memory (before 5.1).
    pub score: Option<u64>,
    /// `total-vm`, `anon-rss`, … in kB.
    pub kb: Keyed,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i64>,
    /// What the OOM reaper left of it, in kB: `anon-rss`, …
    pub left_kb: Option<Keyed>,
}

/// `SLUB: Unable to allocate memory …`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slub {
    /// The cache that wanted a new slab.
    pub cache: Option<String>,
    /// Size of its objects, in bytes.
    pub object_bytes: Option<u64>,
    /// The order of its slabs, and the least it does with.
    pub orders: Option<(u64, u64)>,
}

/// A line that was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    /// Its place in the log.
    pub line: usize,
    /// What it says, made printable.
    pub text: String,
}
