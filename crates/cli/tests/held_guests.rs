//! Holds on cgroup v2, in a guest of the lab: one boot, `lab/scenes/held-v2.sh`.

use crate::held::kept;
use crate::scenes::{self, Left, guest, modules};
use plimsoll_lab::Guest;
use plimsoll_testkit::need;
use plimsoll_units::Bytes;

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
    let left = play();
    let numbers = |name: &str| -> Vec<u64> {
        let words = left.text(name);
        words
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    };
    for (kind, _) in LOADS {
        let document = left.json(&format!("{kind}.json"));
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
        left.text("high").trim(),
        "max",
        "nobody is slowed down where that frees nothing"
    );
    assert!(
        left.text("said.txt").contains("plimsoll park"),
        "{}",
        left.text("said.txt")
    );
    kept("without swap", &left.json("unswapped.json")["holds"][0]);

    let refused = left.text("refused");
    assert!(refused.ends_with("\n4 max 1\n"), "{refused}");
}

fn play() -> Left {
    let guest = Guest {
        memory: Bytes::from_mib(1024),
        swap: Some(Bytes::from_mib(512)),
        modules: modules(&["zram", "lzo-rle"]),
        ..guest("6.12", 500)
    };
    let [ram, swap] = [RAM, SWAP].map(|number| number.get().to_string());
    let loads = LOADS.map(|(kind, part)| format!("{kind}:{part}"));
    let mut scene = vec!["-x", "/scenes/held-v2.sh", &ram, &swap, BEYOND];
    scene.extend(loads.iter().map(String::as_str));
    scenes::play(&guest, &scene)
}
