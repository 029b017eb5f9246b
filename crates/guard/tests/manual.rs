//! The manual's configuration is all keys with their defaults, and its table says of each what it means.

use plimsoll_guard::Policy;
use plimsoll_guard::config::DEFAULT_LADDER;

const MANUAL: &str = include_str!("../../../docs/manual/guard.md");

fn example() -> &'static str {
    let (_, behind) = MANUAL.split_once("```toml\n").unwrap();
    behind.split_once("```").unwrap().0
}

#[test]
fn it_is_what_holds_without_any() {
    let policy = Policy::parse(example()).unwrap();
    let default = Policy::default();
    // The ceilings of shares can't be written down; on a host small enough not to meet them they are the same.
    let small = plimsoll_units::Bytes(1 << 30);
    let shares = |policy: &Policy| {
        let pressure = &policy.pressure;
        [pressure.low, pressure.floor, pressure.thrash].map(|share| share.of(small))
    };
    assert_eq!(shares(&policy), shares(&default));
    assert_eq!(policy.pressure.some, default.pressure.some);
    assert_eq!(policy.pressure.full, default.pressure.full);
    assert_eq!(policy.pressure.exhaustion, default.pressure.exhaustion);
    assert_eq!((policy.pace, policy.files), (default.pace, default.files));
    let told = policy.rules.first().unwrap();
    let bare = Policy::parse("[[workload]]\nmatch = \"/agents/*\"\nidle = \"10m\"\n").unwrap();
    assert_eq!(Some(told), bare.rules.first());
    assert_eq!(told.ladder, DEFAULT_LADDER);
}

#[test]
fn its_other_examples_are_understood() {
    let examples: Vec<&str> = MANUAL.split("```toml\n").skip(2).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let policy = Policy::parse(example.split_once("```").unwrap().0).unwrap();
        assert!(!policy.rules.is_empty());
    }
}

/// The keys of a section, as the parser names them when it meets one that it does not know.
fn keys_of(section: &str) -> Vec<String> {
    let error = Policy::parse(&format!("{section}\nno-such-key = 1\n")).unwrap_err();
    let error = error.to_string();
    let (_, expected) = error.split_once("expected").unwrap();
    let keys = expected.split('`').skip(1).step_by(2);
    keys.map(str::to_owned).collect()
}

const SECTIONS: [&str; 4] = [
    "[pressure]",
    "[pace]",
    "[files]",
    "[[workload]]\nmatch = \"x\"",
];

#[test]
fn every_key_is_explained() {
    let (_, table) = MANUAL.split_once("| key | meaning |").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
    let explained: Vec<&str> = rows
        .filter_map(|row| Some(row.split_once(" | ")?.0))
        .flat_map(|cell| cell.split(", "))
        .collect();
    for key in SECTIONS.into_iter().flat_map(keys_of) {
        assert!(explained.contains(&format!("`{key}`").as_str()), "{key}");
    }
}

#[test]
fn every_key_is_in_it() {
    for section in [""].into_iter().chain(SECTIONS) {
        let keys = keys_of(section);
        assert!(keys.len() >= 4, "{section}: {keys:?}");
        for key in keys {
            let is_there = |line: &str| {
                line.starts_with(&format!("{key} =")) || line.contains(&format!("[{key}]"))
            };
            assert!(example().lines().any(is_there), "{section}: {key}");
        }
    }
}
