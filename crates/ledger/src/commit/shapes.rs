//! Who made a process's anonymous mappings, told by their shape, in words.
//!
//! | shape | told by |
//! | --- | --- |
//! | glibc heaps of thread arenas | `nr`, no `ac`, begin at 64 MiB (`HEAP_MAX_SIZE`), rest of the 64 MiB is `---p` or used too |
//! | named | `[anon:NAME]`, which newer runtimes give (mimalloc, Go since 1.25, Android) |
//! | Go heap | `ac`, from 0xc000000000 on, where its arenas begin |
//! | thread stacks | `ac`, readable and writable, right behind a small `---p` guard |
//! | `AddressSanitizer` | no `ac`, inside its fixed shadow (x86-64: 0x7fff7000 to 0x10007fff8000) |
//! | a runtime's or allocator's | what is left, named by a library or program that is mapped |
//!
//! Each is evidence, not proof: words say "look like" where another program could do the same. Sources: glibc
//! `malloc/arena.c` (`new_heap`), Go `runtime/malloc.go` (`arenaBaseOffset`, hints), LLVM `asan_mapping.h`.

use super::recount::private_pages;
use super::runtime::Runtime;
use plimsoll_proc::process::map_name::MapName;
use plimsoll_proc::process::maps::Perms;
use plimsoll_proc::process::smaps::Smap;
use plimsoll_proc::process::vm_flags::VmFlag;
use plimsoll_proc::text;
use plimsoll_units::Bytes;
use std::collections::BTreeMap;

const HEAP_MAX_SIZE: u64 = 64 << 20;
const GO_ARENAS: std::ops::Range<u64> = 0xc0_0000_0000..0x100_0000_0000;
const ASAN_SHADOW: std::ops::Range<u64> = 0x7fff_7000..0x1000_7fff_8000;
/// Largest guard below a stack: a page by default, 64 KiB where pages are that large, a few for a JVM.
const GUARD_MAX: u64 = 64 << 10;
/// Below it is a stack for signal handlers, which some runtimes guard as well.
const STACK_MIN: u64 = 64 << 10;
/// Below this a shape is not worth a line.
const WORTH_A_LINE: Bytes = Bytes(1 << 20);
/// A hostile process can give ten thousand names.
const NAMES_MAX: usize = 16;

/// Mappings of one shape, added up.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    count: u64,
    /// Size.
    size: Bytes,
    /// Pages of it that exist.
    exists: Bytes,
}

impl Tally {
    fn add(&mut self, count: u64, piece: &Piece) {
        self.count = self.count.saturating_add(count);
        self.size += Bytes(piece.end.saturating_sub(piece.start));
        self.exists += piece.exists;
    }
}

/// What is kept of a mapping until the next one is seen.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start: u64,
    end: u64,
    perms: Perms,
    charged: bool,
    noreserve: bool,
    exists: Bytes,
    /// Private anonymous memory without a name.
    plain: bool,
}

/// The shapes of one process.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    glibc_heaps: Tally,
    go: Tally,
    stacks: Tally,
    asan: Tally,
    file_copies: Tally,
    /// Uncharged and charged mappings without a shape of their own.
    uncharged: Tally,
    charged: Tally,
    named: BTreeMap<String, Tally>,
    runtime: Option<Runtime>,
    go_begins: bool,
    previous: Option<Piece>,
    /// May be a glibc heap: the next mapping decides.
    candidate: Option<Piece>,
}

impl Shapes {
    /// Takes the next mapping, ascending by address.
    pub(super) fn take(&mut self, smap: &Smap<'_>) {
        let name = smap.mapping.name();
        self.runtime = self.runtime.or_else(|| Runtime::of(&name));
        let piece = Piece::of(smap, &name);
        self.decide_candidate(Some(&piece));
        if !smap.mapping.is_shared() {
            self.sort(piece, &name);
        }
        self.previous = Some(piece);
    }

    fn sort(&mut self, piece: Piece, name: &MapName<'_>) {
        if !piece.charged && piece.exists == Bytes::ZERO {
            return;
        }
        match name {
            MapName::AnonNamed(name) if !piece.charged => self.add_named(name, &piece),
            MapName::File { .. } if piece.noreserve => self.file_copies.add(1, &piece),
            MapName::Anonymous if piece.charged => self.sort_charged(&piece),
            MapName::Anonymous if is_asan(&piece) => self.asan.add(1, &piece),
            MapName::Anonymous if may_be_glibc_heap(&piece) => self.candidate = Some(piece),
            MapName::Anonymous => self.uncharged.add(1, &piece),
            _ => {}
        }
    }

    fn sort_charged(&mut self, piece: &Piece) {
        self.go_begins |= piece.start == GO_ARENAS.start;
        if self.go_begins && GO_ARENAS.contains(&piece.start) {
            self.go.add(1, piece);
        } else if self.previous.is_some_and(|guard| is_stack(&guard, piece)) {
            self.stacks.add(1, piece);
        } else {
            self.charged.add(1, piece);
        }
    }

    fn add_named(&mut self, name: &[u8], piece: &Piece) {
        let name = text::printable(name).into_owned();
        if self.named.len() < NAMES_MAX || self.named.contains_key(&name) {
            self.named.entry(name).or_default().add(1, piece);
        } else {
            self.uncharged.add(1, piece);
        }
    }

    /// A heap that has not grown to its end is followed by its own untouched rest.
    fn decide_candidate(&mut self, next: Option<&Piece>) {
        let Some(heap) = self.candidate.take() else {
            return;
        };
        let boundary = heap.end.next_multiple_of(HEAP_MAX_SIZE);
        let grown = heap.end == boundary;
        let has_rest = next.is_some_and(|rest| {
            rest.start == heap.end && rest.plain && rest.perms.is_empty() && rest.end >= boundary
        });
        if grown || has_rest {
            // Full heaps side by side are one mapping.
            let heaps = heap.end.saturating_sub(heap.start).div_ceil(HEAP_MAX_SIZE);
            self.glibc_heaps.add(heaps, &heap);
        } else {
            self.uncharged.add(1, &heap);
        }
    }

    /// One line a shape that is worth it.
    pub(super) fn words(mut self) -> Vec<String> {
        self.decide_candidate(None);
        let mut lines = vec![
            outside(&self.glibc_heaps, &count(&self.glibc_heaps, "glibc heap")),
            outside(&self.asan, "AddressSanitizer's shadow memory"),
            outside(
                &self.file_copies,
                &format!(
                    "copies of {} mapped without reserve",
                    count(&self.file_copies, "private file")
                ),
            ),
        ];
        for (name, tally) in &self.named {
            let mappings = count(tally, "mapping");
            lines.push(outside(tally, &format!("{mappings} named \"{name}\"")));
        }
        lines.push(outside(&self.uncharged, &self.unreserved()));
        lines.push(not_resident(&self.go, "Go's heap arenas"));
        let stacks = format!("{} (by their guards)", count(&self.stacks, "thread stack"));
        lines.push(not_resident(&self.stacks, &stacks));
        if let Some(runtime @ (Runtime::Jvm | Runtime::CoreClr)) = self.runtime {
            let whose = format!("the heap and other memory of {}", runtime.words());
            lines.push(not_resident(&self.charged, &whose));
        }
        lines.into_iter().flatten().collect()
    }

    fn unreserved(&self) -> String {
        let mappings = count(&self.uncharged, "mapping");
        match self.runtime {
            Some(runtime) => format!("{mappings} of {}", runtime.words()),
            None => format!(
                "{mappings} made without reserve, as jemalloc, mimalloc or a script engine do"
            ),
        }
    }
}

impl Piece {
    fn of(smap: &Smap<'_>, name: &MapName<'_>) -> Self {
        let has = |flag| smap.flags.is_some_and(|flags| flags.has(flag));
        Self {
            start: smap.mapping.start,
            end: smap.mapping.end,
            perms: smap.mapping.perms,
            charged: has(VmFlag::ACCOUNT),
            noreserve: has(VmFlag::NORESERVE),
            exists: private_pages(smap),
            plain: *name == MapName::Anonymous && !smap.mapping.is_shared(),
        }
    }
}

fn is_asan(piece: &Piece) -> bool {
    !piece.charged && ASAN_SHADOW.contains(&piece.start) && piece.end <= ASAN_SHADOW.end
}

fn may_be_glibc_heap(piece: &Piece) -> bool {
    piece.noreserve
        && piece.perms.contains(Perms::READ | Perms::WRITE)
        && piece.start.is_multiple_of(HEAP_MAX_SIZE)
}

fn is_stack(guard: &Piece, piece: &Piece) -> bool {
    guard.end == piece.start
        && guard.plain
        && guard.perms.is_empty()
        && guard.end.saturating_sub(guard.start) <= GUARD_MAX
        && piece.perms.contains(Perms::READ | Perms::WRITE)
        && piece.end.saturating_sub(piece.start) >= STACK_MIN
}

/// "1.94 GiB in 32 glibc heaps that `Committed_AS` does not see"
fn outside(tally: &Tally, where_: &str) -> Option<String> {
    let exists = tally.exists;
    (exists >= WORTH_A_LINE).then(|| format!("{exists} in {where_} that Committed_AS does not see"))
}

/// "64.0 MiB charged for 8 thread stacks (by their guards), 96 KiB of it in use"
fn not_resident(tally: &Tally, what: &str) -> Option<String> {
    let Tally { size, exists, .. } = *tally;
    (size - exists >= WORTH_A_LINE)
        .then(|| format!("{size} charged for {what}, {exists} of it in use"))
}

fn count(tally: &Tally, thing: &str) -> String {
    let plural = if tally.count == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", tally.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_proc::process::smaps;

    /// `smaps` in short: range, permissions, kB anonymous, flags, name.
    fn words_of(mappings: &[(&str, &str, u64, &str, &str)]) -> Vec<String> {
        let mut shapes = Shapes::default();
        for (range, perms, anonymous, flags, name) in mappings {
            let text = format!(
                "{range} {perms} 00000000 00:00 0      {name}\nRss: 0 kB\nAnonymous: {anonymous} kB\nVmFlags: {flags}\n"
            );
            for smap in smaps::parse(text.as_bytes()) {
                shapes.take(&smap.unwrap());
            }
        }
        shapes.words()
    }

    #[test]
    fn glibc_heaps_grown_and_growing_side_by_side() {
        let words = words_of(&[
            ("7f0000000000-7f0003fe9000", "rw-p", 65444, "rd wr nr", ""),
            ("7f0003fe9000-7f0004000000", "---p", 0, "nr", ""),
            ("7f0008000000-7f0010000000", "rw-p", 131_072, "rd wr nr", ""),
            // Aligned by chance, and without a rest: another allocator's.
            ("7f0040000000-7f0041000000", "rw-p", 16384, "rd wr nr", ""),
        ]);
        assert_eq!(
            words,
            [
                "192 MiB in 3 glibc heaps that Committed_AS does not see",
                "16.0 MiB in 1 mapping made without reserve, as jemalloc, mimalloc or a script engine do \
                 that Committed_AS does not see",
            ]
        );
    }

    #[test]
    fn allocators_and_runtimes_by_name() {
        let words = words_of(&[
            (
                "10007fff000-10008fff000",
                "rw-p",
                2048,
                "rd wr nr",
                "[anon:mimalloc]",
            ),
            ("7f0000001000-7f0004001000", "rw-p", 4096, "rd wr nr", ""),
            (
                "7f0100000000-7f0100001000",
                "r-xp",
                0,
                "rd ex",
                "/usr/lib/libjemalloc.so.2",
            ),
        ]);
        assert_eq!(
            words,
            [
                "2.00 MiB in 1 mapping named \"mimalloc\" that Committed_AS does not see",
                "4.00 MiB in 1 mapping of jemalloc that Committed_AS does not see",
            ]
        );
    }

    #[test]
    fn promised_and_not_used() {
        let words = words_of(&[
            ("600000000-640000000", "rw-p", 10240, "rd wr ac", ""),
            ("c000000000-c008000000", "rw-p", 4096, "rd wr ac", ""),
            ("7f0000000000-7f0000001000", "---p", 0, "", ""),
            ("7f0000001000-7f0000801000", "rw-p", 12, "rd wr ac", ""),
            ("7f0000801000-7f0000802000", "---p", 0, "", ""),
            ("7f0000802000-7f0000804000", "rw-p", 4, "rd wr ac", ""),
            (
                "7f0100000000-7f0100001000",
                "r-xp",
                0,
                "rd ex",
                "/opt/jdk/lib/server/libjvm.so",
            ),
        ]);
        assert_eq!(
            words,
            [
                "128 MiB charged for Go's heap arenas, 4.00 MiB of it in use",
                "8.00 MiB charged for 1 thread stack (by their guards), 12.0 KiB of it in use",
                "1.00 GiB charged for the heap and other memory of a Java VM, 10.0 MiB of it in use",
            ]
        );
    }

    #[test]
    fn shadow_memory_and_copies_of_files() {
        let words = words_of(&[
            ("7fff8000-10007fff8000", "rw-p", 3072, "rd wr nr dd", ""),
            (
                "7f0000000000-7f0001000000",
                "rw-p",
                16384,
                "rd wr nr",
                "/data/model.bin",
            ),
        ]);
        assert_eq!(
            words,
            [
                "3.00 MiB in AddressSanitizer's shadow memory that Committed_AS does not see",
                "16.0 MiB in copies of 1 private file mapped without reserve that Committed_AS does not see",
            ]
        );
    }

    #[test]
    fn ten_thousand_names_are_not_ten_thousand_lines() {
        let lines: Vec<_> = (0..10_000_u64)
            .map(|i| {
                let start = 0x7f00_0000_0000 + i * 0x20_0000;
                (
                    format!("{start:x}-{:x}", start + 0x10_0000),
                    format!("[anon:n{i}]"),
                )
            })
            .collect();
        let mappings: Vec<_> = lines
            .iter()
            .map(|(range, name)| (range.as_str(), "rw-p", 1024, "rd wr nr", name.as_str()))
            .collect();
        let words = words_of(&mappings);
        assert_eq!(words.len(), NAMES_MAX + 1);
        assert!(
            words
                .last()
                .unwrap()
                .starts_with("9.75 GiB in 9984 mappings made")
        );
    }
}
