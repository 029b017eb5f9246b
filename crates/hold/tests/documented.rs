//! docs/hold-json.md says what the types say.

use plimsoll_hold::Numbers;
use plimsoll_hold::beancounters::{convert, read};
use plimsoll_hold::show::{Counter, Document, Event, Kinds, SCHEMA, Shown, Waited};
use plimsoll_testkit::documented::paths;
use plimsoll_units::{Bytes, PageSize};
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/hold-json.md");

/// The names that a table lists, from the comment that stands above it.
fn listed(table: &str) -> BTreeSet<String> {
    let comment = format!("<!-- fields of {table}:");
    let (_, below) = DOCUMENT.split_once(&comment).unwrap();
    let table = below.split_once("\n## ").map_or(below, |(table, _)| table);
    let names = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    names.map(str::to_owned).collect()
}

fn fields(document: &impl serde::Serialize, below: &str) -> BTreeSet<String> {
    paths(&serde_json::to_value(document).unwrap(), below)
}

#[test]
fn every_field_of_holds_is_documented() {
    let some = Some(Bytes(1));
    let shown = Shown {
        name: "web".to_owned(),
        group: "/sys/fs/cgroup/web".to_owned(),
        version: 2,
        unit: None,
        own: false,
        processes: Some(1),
        numbers: Numbers {
            ram: Bytes(1),
            swap: Bytes(1),
        },
        held: Kinds::default(),
        counters: vec![Counter {
            resource: "ram",
            held_bytes: some,
            max_held_bytes: some,
            limit_bytes: some,
            events: vec![Event {
                event: "max".to_owned(),
                count: 1,
            }],
        }],
        pressure: Some(Waited {
            some_10s_percent: 0.0,
            some_60s_percent: 0.0,
            full_10s_percent: 0.0,
            full_60s_percent: 0.0,
        }),
    };
    let document = Document {
        schema: SCHEMA,
        holds: vec![shown],
    };
    assert_eq!(fields(&document, ""), listed("holds"));
}

#[test]
fn every_field_of_a_container_is_documented() {
    let text = b"PHYSPAGES=\"0:1G\"\nCPUUNITS=\"1000\"\n";
    let container = read(text, PageSize::new(4096).unwrap()).remove(0);
    let ours = fields(&convert(&container), "containers[]");
    let documented: BTreeSet<String> = listed("beancounters")
        .into_iter()
        .filter(|path| path.starts_with("containers[]."))
        .filter(|path| !path.contains("warnings") && !path.ends_with(".file"))
        .collect();
    assert_eq!(ours, documented);
}
