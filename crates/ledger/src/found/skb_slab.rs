//! What the slab holds of socket buffers, to be shared out among the families.
//!
//! `skbuff_head_cache` and `skbuff_small_head` are merged with no other cache, so their counts are those of
//! socket buffers (objects kept ready for a CPU included). A kmalloc cache has other users too: a family is given at most so many of its objects
//! as it has sk_buffs, in the proportion in which the caches are filled.

use plimsoll_proc::host::HostSample;
use plimsoll_units::{Bytes, PageSize};

/// The largest head that datagram senders ask for (`SKB_MAX_ALLOC`: order 2).
const LARGEST_HEAD: u64 = 16 << 10;
/// The smallest kmalloc that holds a head: `struct skb_shared_info` alone takes 320 bytes of it.
const SMALLEST_HEAD: u64 = 512;
const SHARED_INFO: u64 = 320;
/// The head of a TCP buffer before there was `skbuff_small_head`.
const OLD_TCP_HEAD: u64 = 1024;

/// The ring of a pipe that nobody resized: 16 `struct pipe_buffer` of 40 bytes, charged to control groups
/// (`alloc_pipe_info`, `PIPE_DEF_BUFFERS`).
const PIPE_RING: u64 = 16 * 40;

/// Objects of socket buffers that no family has been given yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SkbSlab {
    sk_buffs: Objects,
    /// Pairs of sk_buffs, of which TCP takes one for each buffer that it sends (`skbuff_fclone_cache`).
    fclones: u64,
    /// `None` before Linux 6.3.
    small_heads: Option<Objects>,
    /// `kmalloc-cg-*`, charged to control groups: heads of UNIX sockets.
    accounted: Vec<Objects>,
    /// All other kmallocs that hold heads.
    plain_bytes: u64,
    /// Kmallocs too large for a cache.
    large_bytes: u64,
}

/// Objects of one cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Objects {
    count: u64,
    size: u64,
}

impl Objects {
    fn bytes(self) -> u64 {
        self.count.saturating_mul(self.size)
    }
}

/// Which kmallocs a family's heads come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heads {
    /// Those charged to control groups.
    Accounted,
    /// The others.
    Plain,
}

impl SkbSlab {
    /// `None` where caches may not be read.
    pub(super) fn of(sample: &HostSample<'_>) -> Option<Self> {
        let mut slab = Self::default();
        let mut in_caches = Bytes::ZERO;
        for cache in sample.caches()? {
            in_caches += cache.bytes(sample.page);
            let objects = Objects {
                count: cache.active_objects,
                size: cache.object_size.get(),
            };
            match cache.name {
                b"skbuff_head_cache" => slab.sk_buffs = objects,
                b"skbuff_fclone_cache" => slab.fclones = objects.count,
                b"skbuff_small_head" => slab.small_heads = Some(objects),
                _ if objects.size < SMALLEST_HEAD => {}
                name if name.starts_with(b"kmalloc-cg-") => slab.accounted.push(objects),
                name if is_plain_kmalloc(name) => {
                    slab.plain_bytes = slab.plain_bytes.saturating_add(objects.bytes());
                }
                _ => {}
            }
        }
        slab.large_bytes = (sample.meminfo.slab? - in_caches).get();
        Some(slab)
    }

    /// The same without the rings of so many pipes, which lie among the heads of UNIX sockets.
    pub(super) fn without_pipes(mut self, pipes: u64) -> Self {
        let holds_rings = |heads: &&mut Objects| heads.size >= PIPE_RING;
        let caches = self.accounted.iter_mut().filter(holds_rings);
        if let Some(heads) = caches.min_by_key(|heads| heads.size) {
            heads.count -= pipes.min(heads.count);
        }
        self
    }

    /// What a family of streams has of the slab, that is charged `truesize` for `queued` bytes of payload: one
    /// head of a page or less for each sk_buff.
    pub(super) fn take_stream(&mut self, truesize: Bytes, queued: Bytes, page: PageSize) -> Bytes {
        let bare = self.sk_buffs.size.saturating_add(SHARED_INFO);
        let count = (truesize - queued).get() / bare.max(1);
        let count = self.take_sk_buffs(count);
        let fit = |heads: &&mut Objects| heads.size <= page.get();
        let filled: u64 = (self.accounted.iter_mut().filter(fit))
            .map(|heads| heads.count)
            .sum();
        let mut taken = count.bytes();
        for heads in self.accounted.iter_mut().filter(fit) {
            let share = part(heads.count, count.count.min(filled), filled);
            heads.count -= share.min(heads.count);
            taken = taken.saturating_add(share.saturating_mul(heads.size));
        }
        Bytes(taken).min(truesize)
    }

    /// What a family has of small heads, that is charged `truesize` of `of_all` families with such heads.
    pub(super) fn take_small(&mut self, truesize: Bytes, of_all: Bytes) -> Bytes {
        let Some(heads) = self.small_heads else {
            return Bytes::ZERO;
        };
        let both = heads.size.saturating_add(self.sk_buffs.size);
        let share = part(heads.count, truesize.get(), of_all.get());
        let count = share.min(truesize.get() / both.max(1));
        self.small_heads = Some(Objects {
            count: heads.count - count.min(heads.count),
            ..heads
        });
        self.sk_buffs.count = self.sk_buffs.count.saturating_sub(count);
        Bytes(count.saturating_mul(both)).min(truesize)
    }

    /// What TCP has of the slab, that is charged `truesize` of `of_all` families with small heads; before there were
    /// such, a head of 1 KiB for each fclone.
    pub(super) fn take_tcp(&mut self, truesize: Bytes, of_all: Bytes) -> Bytes {
        if self.small_heads.is_some() {
            // What TCP sends has its sk_buffs in skbuff_fclone_cache (tcp_stream_alloc_skb): none is taken from here.
            let sk_buffs = self.sk_buffs;
            let in_slab = self.take_small(truesize, of_all);
            self.sk_buffs = sk_buffs;
            return in_slab;
        }
        let both = OLD_TCP_HEAD.saturating_add(self.sk_buffs.size);
        let count = self.fclones.min(truesize.get() / both);
        Bytes(count.saturating_mul(both))
    }

    /// What a family of datagrams can have of the slab, that is charged `truesize`: for each sk_buff a head of up
    /// to 16 KiB, as far as kmallocs of its kind are in use.
    pub(super) fn take_datagrams(&mut self, truesize: Bytes, kind: Heads) -> Bytes {
        let least = self.sk_buffs.size.saturating_add(SMALLEST_HEAD);
        let count = self.take_sk_buffs(truesize.get().div_ceil(least));
        let kmallocs = match kind {
            Heads::Accounted => self.accounted.iter().map(|heads| heads.bytes()).sum(),
            Heads::Plain => self.plain_bytes,
        };
        let most = kmallocs.saturating_add(self.large_bytes);
        let heads = most.min(count.count.saturating_mul(LARGEST_HEAD));
        let in_slab = Bytes(count.bytes().saturating_add(heads)).min(truesize);
        self.large_bytes -= self.large_bytes.min(heads.saturating_sub(kmallocs));
        in_slab
    }

    /// Up to `wanted` sk_buffs whose heads are not small ones.
    fn take_sk_buffs(&mut self, wanted: u64) -> Objects {
        let small = self.small_heads.map_or(0, |heads| heads.count);
        let count = wanted.min(self.sk_buffs.count.saturating_sub(small));
        self.sk_buffs.count -= count;
        Objects {
            count,
            size: self.sk_buffs.size,
        }
    }
}

/// Whether it is a kmalloc cache that ordinary allocations come from: `kmalloc-512`, `kmalloc-rnd-07-1k` (since
/// Linux 6.6), but not those for DMA or for what can be reclaimed.
fn is_plain_kmalloc(name: &[u8]) -> bool {
    name.strip_prefix(b"kmalloc-").is_some_and(|rest| {
        rest.starts_with(b"rnd-") || rest.first().is_some_and(u8::is_ascii_digit)
    })
}

/// `count` × `part` / `whole`, rounded down; all of it where `part` is the whole.
fn part(count: u64, part: u64, whole: u64) -> u64 {
    let share = u128::from(count) * u128::from(part.min(whole)) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(count)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The caches of an idle host (Linux 6.18, 2 CPUs), and what a writer added to them.
    pub(in crate::found) fn idle_and(added: &[(&str, u64)]) -> SkbSlab {
        let added = |name| added.iter().find(|a| a.0 == name).map_or(0, |a| a.1);
        let objects = |name, idle, size| Objects {
            count: idle + added(name),
            size,
        };
        SkbSlab {
            sk_buffs: objects("skbuff_head_cache", 352, 256),
            small_heads: Some(objects("skbuff_small_head", 42, 576)),
            fclones: 0,
            accounted: vec![
                objects("kmalloc-cg-512", 160, 512),
                objects("kmalloc-cg-1k", 134, 1024),
                objects("kmalloc-cg-2k", 185, 2048),
                objects("kmalloc-cg-4k", 73, 4096),
                objects("kmalloc-cg-8k", 8, 8192),
            ],
            plain_bytes: (2 << 20) + added("kmalloc-2k") * 2048,
            large_bytes: (6 << 20) + added("large") * (16 << 10),
        }
    }

    #[test]
    fn kmallocs_by_name() {
        for (name, plain) in [
            ("kmalloc-512", true),
            ("kmalloc-rnd-15-4k", true),
            ("kmalloc-cg-4k", false),
            ("kmalloc-rcl-512", false),
            ("dma-kmalloc-512", false),
        ] {
            assert_eq!(is_plain_kmalloc(name.as_bytes()), plain, "{name}");
        }
    }

    /// A guest with Linux 6.12: 100 UNIX pairs with 16 writes of 64 KiB each, beside 1007 pipes. Of each write
    /// 60 KiB are in pages of their own.
    #[test]
    fn rings_of_pipes_are_no_heads() {
        let objects = |count, size| Objects { count, size };
        let slab = SkbSlab {
            sk_buffs: objects(3216, 256),
            small_heads: Some(objects(12, 640)),
            accounted: [(24, 512), (2624, 1024), (24, 2048), (1616, 4096)]
                .map(|(count, size)| objects(count, size))
                .to_vec(),
            ..SkbSlab::default()
        };
        let (truesize, queued) = (Bytes(107_315_200), Bytes::from_mib(100));
        let in_slab = truesize - Bytes::from_kib(1600 * 60);
        let off_by = |mut slab: SkbSlab| {
            let page = PageSize::new(4096).unwrap();
            let taken = slab.take_stream(truesize, queued, page);
            taken.signed_sub(in_slab).unsigned_abs()
        };
        assert!(off_by(slab.clone().without_pipes(1007)) < 64 << 10);
        assert!(off_by(slab) > 1 << 20);
    }

    /// The same guest with 50 TCP connections besides, whose 324 small heads have no sk_buff in that cache.
    #[test]
    fn heads_of_tcp_leave_the_sk_buffs_to_streams() {
        let page = PageSize::new(4096).unwrap();
        let added = [
            ("skbuff_head_cache", 3200),
            ("kmalloc-cg-4k", 1600),
            ("kmalloc-cg-1k", 1600),
        ];
        let (truesize, queued) = (Bytes(107_315_200), Bytes::from_mib(100));
        let alone = idle_and(&added).take_stream(truesize, queued, page);
        let mut both = idle_and(&[&added[..], &[("skbuff_small_head", 324)]].concat());
        both.take_tcp(Bytes(52_719_104), Bytes(52_719_104));
        let beside_tcp = both.take_stream(truesize, queued, page);
        let off = beside_tcp.signed_sub(alone).unsigned_abs();
        assert!(off < 128 << 10, "{off}");
    }

    /// A guest with Linux 6.1: 50 TCP connections with 1 MiB in each, and as much in pages of its own.
    #[test]
    fn heads_of_tcp_before_there_were_small_ones() {
        let objects = |count, size| Objects { count, size };
        let mut slab = SkbSlab {
            sk_buffs: objects(16, 256),
            fclones: 320,
            ..SkbSlab::default()
        };
        let truesize = Bytes(52_832_000);
        let raw = truesize - slab.take_tcp(truesize, truesize);
        let off = raw.signed_sub(Bytes::from_mib(50)).unsigned_abs();
        assert!(off < 64 << 10, "{off}");
    }

    #[test]
    fn nothing_is_given_twice_or_beyond_the_truesize() {
        let mut slab = idle_and(&[]);
        let all = Bytes(u64::MAX);
        let first = slab.take_stream(all, Bytes::ZERO, PageSize::new(4096).unwrap());
        assert!(first > Bytes::ZERO);
        assert_eq!(
            slab.take_stream(all, Bytes::ZERO, PageSize::new(4096).unwrap()),
            Bytes::ZERO
        );
        assert_eq!(slab.take_small(Bytes(832), all), Bytes::ZERO);
        assert_eq!(
            idle_and(&[]).take_datagrams(Bytes(100), Heads::Plain),
            Bytes(100)
        );
    }
}
