//! docs/look-json.md and the types agree, both ways; docs/manual/look.md has the program's words.

use super::fixture;
use plimsoll_ledger::host::OWNERS;
use plimsoll_testkit::documented::paths;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../../docs/look-json.md");

/// The first column of every table row whose first cell is one `name`.
fn documented() -> impl Iterator<Item = &'static str> {
    let cell = |line: &'static str| line.strip_prefix("| `")?.split('`').next();
    DOCUMENT.lines().filter_map(cell)
}

#[test]
fn every_field_is_documented_and_every_documented_field_is_there() {
    let fields = paths(&serde_json::to_value(fixture::look()).unwrap(), "");
    let owners: BTreeSet<_> = owner_ids().collect();
    let documented: BTreeSet<_> = documented()
        .map(str::to_owned)
        .filter(|name| !owners.contains(name))
        .collect();
    assert_eq!(fields, documented);
}

#[test]
fn every_owner_id_is_documented() {
    let documented: BTreeSet<_> = documented().map(str::to_owned).collect();
    let missing: Vec<_> = owner_ids().filter(|id| !documented.contains(id)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_manual_explains_each_owner_in_the_words_of_the_program() {
    let manual = include_str!("../../../../docs/manual/look.md");
    for row in OWNERS {
        let line = format!("| {} | {} |", row.name, row.words);
        assert!(manual.contains(&line), "docs/manual/look.md lacks: {line}");
    }
}

fn owner_ids() -> impl Iterator<Item = String> {
    OWNERS.iter().map(|row| {
        if row.id == "slab" {
            "slab.NAME".to_owned()
        } else {
            row.id.to_owned()
        }
    })
}
