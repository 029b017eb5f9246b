//! Who made a process's anonymous mappings, told by their shape, in words.
//!
//! | shape | told by |
//! | --- | --- |
//! | glibc heaps of thread arenas | `nr`, no `ac`, begin at 64 MiB (`HEAP_MAX_SIZE`), rest of the 64 MiB is `---p` or used too |
//! | named | `[anon:NAME]`, which newer runtimes give (mimalloc, Go since 1.25, Android) |
//! | Go heap | `ac`, from 0xc000000000 on, where its arenas begin |
//! | Java heap | `ac`, below 32 GiB, where compressed pointers reach, in a process that maps libjvm |
//! | thread stacks | `ac`, readable and writable, right behind a small `---p` guard |
//! | the same of glibc since 2.42 | `ac`, `nh` (`MAP_STACK`) and `gu`: guard pages inside, side by side in one mapping (Linux 6.18) |
//! | `AddressSanitizer` | no `ac`, inside its fixed shadow (x86-64: 0x7fff7000 to 0x10007fff8000), which begins with a mapping |
//! | a runtime's or allocator's | what is left, named by a library or program that is mapped |
//!
//! Each is evidence, not proof: words say "look like" where another program could do the same. Sources: glibc
//! `malloc/arena.c` (`new_heap`) and `nptl/allocatestack.c`, Go `runtime/malloc.go` (`arenaBaseOffset`, hints), LLVM `asan_mapping.h`.

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
/// A JVM puts a heap up to this size below it, so that its pointers fit 32 bits (`Universe::preferred_heap_base`).
const COMPRESSED_POINTERS: u64 = 32 << 30;
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

    fn and(&self, other: &Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            size: self.size + other.size,
            exists: self.exists + other.exists,
        }
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
    /// Made as a stack, with guard pages inside.
    guarded_stack: bool,
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
    guarded_stacks: Tally,
    asan: Tally,
    file_copies: Tally,
    /// Uncharged and charged mappings without a shape of their own.
    uncharged: Tally,
    charged: Tally,
    /// Charged, where a JVM puts its heap.
    low: Tally,
    named: BTreeMap<String, Tally>,
    runtime: Option<Runtime>,
    go_begins: bool,
    asan_begins: bool,
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
        // Nobody else maps just there: V8 and others may well map further up, by chance.
        self.asan_begins |= piece.noreserve && piece.start == ASAN_SHADOW.start;
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
            MapName::Anonymous if self.asan_begins && is_asan(&piece) => self.asan.add(1, &piece),
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
        } else if piece.guarded_stack {
            self.guarded_stacks.add(1, piece);
        } else if piece.end <= COMPRESSED_POINTERS {
            self.low.add(1, piece);
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
            outside(
                &self.glibc_heaps,
                &count(&self.glibc_heaps, "glibc heap"),
                "",
            ),
            outside(&self.asan, "AddressSanitizer's shadow", ""),
            outside(
                &self.file_copies,
                &format!("copies of {}", count(&self.file_copies, "private file")),
                ": mapped without reserve",
            ),
        ];
        for (name, tally) in &self.named {
            let mappings = count(tally, "mapping");
            lines.push(outside(tally, &format!("{mappings} named \"{name}\""), ""));
        }
        lines.push(self.unreserved());
        lines.push(not_resident(&self.go, "Go's heap arenas"));
        let stacks = format!("{} (by their guards)", count(&self.stacks, "thread stack"));
        lines.push(not_resident(&self.stacks, &stacks));
        let mappings = count(&self.guarded_stacks, "mapping");
        let stacks = format!("thread stacks side by side in {mappings}");
        lines.push(not_resident(&self.guarded_stacks, &stacks));
        lines.extend(self.of_the_runtime());
        lines.into_iter().flatten().collect()
    }

    fn unreserved(&self) -> Option<String> {
        let mappings = count(&self.uncharged, "mapping");
        match self.runtime {
            Some(runtime) => {
                let whose = format!("{mappings} of {}", runtime.words());
                outside(&self.uncharged, &whose, "")
            }
            None => outside(
                &self.uncharged,
                &mappings,
                ": made without reserve, as jemalloc, mimalloc or a script engine do",
            ),
        }
    }

    /// What is charged and no shape names: a runtime that is known has it.
    fn of_the_runtime(&self) -> Vec<Option<String>> {
        let all = self.low.and(&self.charged);
        match self.runtime {
            Some(Runtime::Jvm) if self.low.size > Bytes::ZERO => vec![
                not_resident(&self.low, "the Java heap"),
                not_resident(
                    &self.charged,
                    "classes, compiled code and other memory of the Java VM",
                ),
            ],
            Some(runtime @ (Runtime::Jvm | Runtime::CoreClr)) => {
                let whose = format!("the heap and other memory of {}", runtime.words());
                vec![not_resident(&all, &whose)]
            }
            _ if self.go_begins => vec![not_resident(&all, "the tables of the Go runtime")],
            _ => Vec::new(),
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
            guarded_stack: has(VmFlag::GUARD) && has(VmFlag::NOHUGEPAGE),
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

/// "1.94 GiB in 32 glibc heaps that `Committed_AS` does not see", and how that comes where it needs saying.
fn outside(tally: &Tally, where_: &str, because: &str) -> Option<String> {
    let exists = tally.exists;
    (exists >= WORTH_A_LINE)
        .then(|| format!("{exists} in {where_} that Committed_AS does not see{because}"))
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
mod tests;
