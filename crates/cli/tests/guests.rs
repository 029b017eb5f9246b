//! The account on other kernels and cgroup v2: made in a guest of the lab, and once more here from what was
//! captured there.
//!
//! One boot for each kernel. The guest takes memory of one kind after the other, each in a group of its own with
//! a limit, and looks several times before and after each (`lab/scenes/accounted.sh`); then one group is squeezed
//! into swap, and all is captured.

use crate::look::assert_closes;
use crate::program::json;
use crate::scenes::{guest, modules, play};
use plimsoll_lab::Guest;
use plimsoll_testkit::need;
use plimsoll_units::Bytes;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What may be left over on a guest of 1 GiB, where 0.2 % of RAM is less.
const LEFT_OVER: Bytes = Bytes::from_mib(24);
/// By how much what is left over may move when memory is taken.
const MOVED: Bytes = Bytes::from_mib(2);
/// How far off the owner may be, in per cent.
const OWNER_PERCENT: u64 = 5;
const LOOKS: usize = 5;
/// The limit that the group of anonymous memory has in the end.
const SQUEEZED: Bytes = Bytes::from_mib(128);

/// Memory of one kind.
struct Case {
    /// The victim, and its group.
    kind: &'static str,
    /// It takes one part in so many of its full size.
    part: u32,
    limit: Bytes,
    /// Who owns it in the host's account.
    owner: &'static str,
    /// What it is in its group's.
    in_group: &'static str,
}

#[rustfmt::skip]
const CASES: [Case; 6] = [
    Case { kind: "anon", part: 8, limit: Bytes::from_mib(320), owner: "anon", in_group: "user_bytes" },
    Case { kind: "page-cache", part: 8, limit: Bytes::from_mib(320), owner: "page_cache", in_group: "page_cache_bytes" },
    Case { kind: "tmpfs", part: 16, limit: Bytes::from_mib(96), owner: "shmem", in_group: "user_bytes" },
    Case { kind: "pipes", part: 4, limit: Bytes::from_mib(96), owner: "pipe_buffers", in_group: "kernel_bytes" },
    Case { kind: "unix-pairs", part: 10, limit: Bytes::from_mib(160), owner: "socket_buffers", in_group: "kernel_bytes" },
    Case { kind: "tcp-pairs", part: 4, limit: Bytes::from_mib(96), owner: "socket_buffers", in_group: "kernel_bytes" },
];

#[test]
fn the_account_on_6_1() {
    need!(Lab, Program("tar"));
    the_account_closes_there_and_here("6.1");
}

#[test]
fn the_account_on_6_12() {
    need!(Lab, Program("tar"));
    the_account_closes_there_and_here("6.12");
}

fn the_account_closes_there_and_here(kernel: &str) {
    let out = tempfile::tempdir().unwrap();
    let out = out.path();
    run_guest(kernel, out);

    let idle = median_look(&out.join("idle"));
    let left_over = unattributed(&idle);
    println!("{kernel}: idle, unattributed {:.2} MiB", mib(left_over));
    assert!(within(left_over, LEFT_OVER), "{left_over} bytes left over");
    assert_eq!(idle["unseen"], Value::Array(Vec::new()));

    let mut before = idle;
    for case in &CASES {
        let dir = out.join(case.kind);
        let after = median_look(&dir);
        let held = fs::read_to_string(dir.join("held")).unwrap();
        shows_up(case, &before, &after, held.trim().parse().unwrap());
        before = after;
    }
    the_capture_says_what_was_said_there(out, &before);
}

/// Memory of one kind is in its owner and in its group, and nothing else is left over than before.
fn shows_up(case: &Case, before: &Value, after: &Value, held: u64) {
    let grown = owned(after, case.owner) - owned(before, case.owner);
    let moved = unattributed(after) - unattributed(before);
    let group = group(after, case.kind);
    let in_group = group[case.in_group].as_u64().unwrap();
    println!(
        "{:10} {:14} {:7.2} of {:7.2} MiB, {:7.2} in its group; unattributed {:+5.2} MiB",
        case.kind,
        case.owner,
        mib(grown),
        mib(held.cast_signed()),
        mib(in_group.cast_signed()),
        mib(moved),
    );
    let off = grown.abs_diff(held.cast_signed());
    assert!(off * 100 <= held * OWNER_PERCENT, "off by {off} bytes");
    assert!(within(moved, MOVED), "unattributed moved by {moved} bytes");
    assert!(in_group * 100 >= held * (100 - OWNER_PERCENT), "{group}");
    assert_eq!(group["ram_limit_bytes"], case.limit.get());
    assert!(group["current_bytes"].as_u64().unwrap() <= case.limit.get());
}

/// `look --root` here gives the very document that was made there, under load, and it closes.
fn the_capture_says_what_was_said_there(out: &Path, last: &Value) {
    let unpacked = Command::new("tar")
        .arg("-C")
        .arg(out)
        .args(["-xf", "captured.tar"])
        .current_dir(out)
        .status();
    assert!(unpacked.unwrap().success());
    let tree = out.join("captured");
    let there: Value =
        serde_json::from_slice(&fs::read(tree.join("plimsoll/look.json")).unwrap()).unwrap();
    let here = json(&["look", "commit", "--json", "--root", tree.to_str().unwrap()]);
    for part in ["schema", "host", "commit", "processes", "groups", "unseen"] {
        assert_eq!(here[part], there[part], "{part}");
    }
    assert_eq!(here, there);

    let squeezed = group(&there, "anon");
    println!(
        "captured: unattributed {:.2} MiB, {:.2} in swap, commit unexplained {:.2}",
        mib(unattributed(&there)),
        mib(squeezed["swap_bytes"].as_i64().unwrap()),
        mib(there["commit"]["unexplained_bytes"].as_i64().unwrap()),
    );
    assert!(within(unattributed(&there), LEFT_OVER));
    assert!(squeezed["current_bytes"].as_u64().unwrap() <= SQUEEZED.get());
    let swapped = squeezed["swap_bytes"].as_u64().unwrap();
    assert!(swapped >= Bytes::from_mib(120).get(), "{squeezed}");
    // what a capture says of groups is what a look said before
    for case in CASES.iter().filter(|case| case.kind != "anon") {
        let [said, captured] = [last, &there].map(|look| group(look, case.kind));
        assert_eq!(said["ram_limit_bytes"], captured["ram_limit_bytes"]);
        let moved = [said, captured].map(|group| group["current_bytes"].as_i64().unwrap());
        assert!(within(moved[1] - moved[0], MOVED), "{said} {captured}");
    }
}

/// Boots, and leaves below `out` what the scene left.
fn run_guest(kernel: &str, out: &Path) {
    let guest = Guest {
        memory: Bytes::from_mib(1024),
        swap: Some(Bytes::from_mib(512)),
        modules: modules(&[
            "zram",
            "lzo-rle",
            "unix_diag",
            "tcp_diag",
            "udp_diag",
            "netlink_diag",
            "af_packet_diag",
        ]),
        ..guest(kernel, 500)
    };
    let [looks, squeezed] = [LOOKS as u64, SQUEEZED.get()].map(|number| number.to_string());
    let cases = CASES.map(|case| format!("{}:{}:{}", case.kind, case.part, case.limit.get()));
    let mut scene = vec!["/scenes/accounted.sh", &looks, &squeezed];
    scene.extend(cases.iter().map(String::as_str));
    let left = play(&guest, &scene);
    assert_eq!(left.missing, Vec::<String>::new());
    left.write_below(out);
}

/// Of the looks in a directory the one whose `unattributed` is the median. Each adds up.
fn median_look(dir: &Path) -> Value {
    let mut looks: Vec<Value> = (1..=LOOKS)
        .map(|number| {
            let text = fs::read(dir.join(format!("look-{number}.json"))).unwrap();
            let look = serde_json::from_slice(&text).unwrap();
            assert_closes(&look);
            look
        })
        .collect();
    looks.sort_by_key(unattributed);
    looks.swap_remove(LOOKS / 2)
}

fn unattributed(look: &Value) -> i64 {
    look["host"]["unattributed_bytes"].as_i64().unwrap()
}

/// What an owner has; nothing where it is not listed.
fn owned(look: &Value, id: &str) -> i64 {
    let owners = look["host"]["owners"].as_array().unwrap();
    let owner = owners.iter().find(|owner| owner["id"] == id);
    owner.map_or(0, |owner| owner["bytes"].as_i64().unwrap())
}

fn group<'a>(look: &'a Value, kind: &str) -> &'a Value {
    let groups = look["groups"].as_array().unwrap();
    let path = format!("/{kind}");
    groups.iter().find(|group| group["path"] == path).unwrap()
}

fn within(bytes: i64, bound: Bytes) -> bool {
    bytes.unsigned_abs() <= bound.get()
}

fn mib(bytes: i64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
