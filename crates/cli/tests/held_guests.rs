//! Holds on cgroup v2, in a guest of the lab: one boot, `lab/scenes/held-v2.sh`.

use crate::held::kept;
use plimsoll_lab::{Guest, Kernel};
use plimsoll_testkit::need;
use plimsoll_units::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const RAM: Bytes = Bytes::from_mib(64);
const SWAP: Bytes = Bytes::from_mib(64);
/// A part of anonymous memory that is twice both numbers: 256 MiB.
const BEYOND: &str = "8";
/// What is taken, one part in so many of its full size: each is more than RAM.
const LOADS: [(&str, u32); 6] = [
    ("anon", 20),
    ("page-cache", 16),
    ("tmpfs", 10),
    ("negative-dentries", 2),
    ("unix-pairs", 8),
    ("tcp-pairs", 2),
];

#[test]
#[ignore = "a minute and a half of a guest: run by hand"]
fn both_numbers_are_kept_on_cgroup_v2_and_no_disk_is_touched() {
    need!(Lab);
    let files = run_guest();
    let text = |name: &str| String::from_utf8_lossy(&files[Path::new(name)]).into_owned();
    let numbers = |name: &str| -> Vec<u64> {
        let words = text(name);
        words
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    };
    for (kind, _) in LOADS {
        let document: Value = serde_json::from_str(&text(&format!("{kind}.json"))).unwrap();
        let hold = &document["holds"][0];
        kept(kind, hold);
        assert!(hold["pressure"]["some_10s_percent"].is_number(), "{hold}");
    }

    let (plain, held) = (numbers("plain"), numbers("held"));
    println!("256 MiB under memory.max alone: {plain:?}; held: {held:?} of RAM and swap");
    let within = |most: u64, number: Bytes| most * 100 <= number.get() * 102;
    assert!(within(plain[0], RAM) && within(held[0], RAM));
    assert!(within(held[1], SWAP) && within(held[0] + held[1], RAM + SWAP));
    assert!(
        !within(plain[1], SWAP),
        "memory.max alone leaves swap without limit"
    );

    let sectors = numbers("sectors");
    println!(
        "sectors of the swap disk written: {} with zram, {} without",
        sectors[0], sectors[1]
    );
    assert_eq!(sectors[0], 0);
    assert!(sectors[1] > 0, "else the first count says nothing");

    assert_eq!(
        text("high").trim(),
        "max",
        "nobody is slowed down where that frees nothing"
    );
    assert!(
        text("said.txt").contains("plimsoll park"),
        "{}",
        text("said.txt")
    );
    let unswapped: Value = serde_json::from_str(&text("unswapped.json")).unwrap();
    kept("without swap", &unswapped["holds"][0]);

    let refused = text("refused");
    assert!(refused.ends_with("\n4 max 1\n"), "{refused}");
}

fn run_guest() -> BTreeMap<PathBuf, Vec<u8>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guest = Guest {
        memory: Bytes::from_mib(1024),
        swap: Some(Bytes::from_mib(512)),
        modules: ["zram", "lzo-rle"].map(str::to_owned).to_vec(),
        programs: [("plimsoll-cli", "plimsoll"), ("plimsoll-testkit", "victim")]
            .map(|(package, program)| (package.to_owned(), program.to_owned()))
            .to_vec(),
        copy_in: vec![(workspace.join("lab/scenes"), PathBuf::from("/scenes"))],
        copy_out: vec![PathBuf::from("/out")],
        deadline: Duration::from_secs(500),
        ..Guest::new(Kernel::named("6.12").unwrap())
    };
    let mut command = ["sh", "-x", "/scenes/held-v2.sh"]
        .map(str::to_owned)
        .to_vec();
    command.extend([
        RAM.get().to_string(),
        SWAP.get().to_string(),
        BEYOND.to_owned(),
    ]);
    command.extend(LOADS.map(|(kind, part)| format!("{kind}:{part}")));
    let mut said = Vec::new();
    let outcome = guest.run(&command, |_, bytes| {
        said.extend_from_slice(bytes);
        Ok(())
    });
    let outcome = outcome.unwrap();
    assert_eq!(outcome.status, 0, "{}", String::from_utf8_lossy(&said));
    let name = |path: &Path| path.strip_prefix("/out").unwrap().to_owned();
    outcome
        .files
        .into_iter()
        .map(|(path, text)| (name(&path), text))
        .collect()
}
