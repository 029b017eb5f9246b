//! Shapes made by hand, and those of real programs (`fixtures/smaps-6.18-*.txt`: captured, and trimmed to the lines that shapes are
//! told by, without files that mean nothing here).

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
            "16.0 MiB in 1 mapping that Committed_AS does not see: made without reserve, as jemalloc, \
             mimalloc or a script engine do",
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
            "1.00 GiB charged for the Java heap, 10.0 MiB of it in use",
        ]
    );
}

#[test]
fn shadow_memory_and_copies_of_files() {
    let words = words_of(&[
        ("7fff7000-8fff7000", "rw-p", 0, "rd wr nr dd", ""),
        ("2008fff7000-10007fff8000", "rw-p", 3072, "rd wr nr dd", ""),
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
            "3.00 MiB in AddressSanitizer's shadow that Committed_AS does not see",
            "16.0 MiB in copies of 1 private file that Committed_AS does not see: mapped without reserve",
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
            .starts_with("9.75 GiB in 9984 mappings that")
    );
}

/// The words for a real program, as it was captured.
macro_rules! words_of_program {
    ($name:literal) => {{
        let text = include_bytes!(concat!("../../../fixtures/smaps-6.18-", $name, ".txt"));
        let mut shapes = Shapes::default();
        for smap in smaps::parse(text) {
            shapes.take(&smap.unwrap());
        }
        shapes.words().join("\n")
    }};
}

#[test]
fn a_java_vm_with_its_heap_charged_from_the_start() {
    // java -Xms512m -Xmx512m, OpenJDK 17, 100 MiB live
    insta::assert_snapshot!(words_of_program!("java17"), @"
    1.45 MiB in 13 glibc heaps that Committed_AS does not see
    12.8 MiB charged for 13 thread stacks (by their guards), 468 KiB of it in use
    512 MiB charged for the Java heap, 101 MiB of it in use
    10.9 MiB charged for classes, compiled code and other memory of the Java VM, 2.79 MiB of it in use
    ");
}

#[test]
fn node_has_v8s_pages_where_an_address_sanitizer_would_have_its_shadow() {
    insta::assert_snapshot!(words_of_program!("node20"), @"
    4.93 MiB in 5 glibc heaps that Committed_AS does not see
    17.4 MiB in 69 mappings of V8 (JavaScript) that Committed_AS does not see
    40.0 MiB charged for 5 thread stacks (by their guards), 80.0 KiB of it in use
    ");
}

#[test]
fn redis_with_jemalloc() {
    insta::assert_snapshot!(words_of_program!("redis7"), @"
    38.7 MiB in 5 mappings of jemalloc that Committed_AS does not see
    32.0 MiB charged for 4 thread stacks (by their guards), 36.0 KiB of it in use
    ");
}

#[test]
fn a_go_program_with_cgo() {
    insta::assert_snapshot!(words_of_program!("go1.19"), @"
    4.00 MiB charged for Go's heap arenas, 1.46 MiB of it in use
    32.0 MiB charged for 4 thread stacks (by their guards), 32.0 KiB of it in use
    42.1 MiB charged for the tables of the Go runtime, 836 KiB of it in use
    ");
}

#[test]
fn a_program_under_address_sanitizer() {
    insta::assert_snapshot!(words_of_program!("asan"), @"2.18 MiB in AddressSanitizer's shadow that Committed_AS does not see");
}

#[test]
fn stacks_with_guard_pages_inside() {
    // three stacks of 8 MiB as glibc 2.42 makes them, which the kernel merged
    insta::assert_snapshot!(words_of_program!("glibc-guard"), @"24.0 MiB charged for thread stacks side by side in 1 mapping, 12.0 KiB of it in use");
}

#[test]
fn python_with_threads_and_numpy() {
    insta::assert_snapshot!(words_of_program!("numpy"), @"
    316 MiB in 6 glibc heaps that Committed_AS does not see
    56.0 MiB charged for 7 thread stacks (by their guards), 84.0 KiB of it in use
    ");
}
