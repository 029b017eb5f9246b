//! docs/explain-json.md and docs/manual/explain.md say what the types and the table of rules say.

use plimsoll_explain::findings::{
    Checked, Document, Evidence, Finding, Outcome, RULES, Remedy, SCHEMA, Severity,
};
use plimsoll_explain::overcommit::{self, Advice, Kept, OneMore, Overcommit, Place, Refused, Want};
use plimsoll_ledger::look::{Policy, Unseen};
use plimsoll_testkit::documented::paths;
use plimsoll_units::Bytes;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/explain-json.md");

/// The names that a table lists, from the comment that stands above it.
fn listed(table: &str) -> BTreeSet<String> {
    let (_, below) = DOCUMENT
        .split_once(&format!("<!-- fields of {table}"))
        .unwrap();
    let (table, _) = below
        .split_once("\n```")
        .or(below.split_once("\n## "))
        .unwrap_or((below, ""));
    let names = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    names.map(str::to_owned).collect()
}

fn fields(document: &impl serde::Serialize) -> BTreeSet<String> {
    paths(&serde_json::to_value(document).unwrap(), "")
}

#[test]
fn every_field_of_findings_is_documented() {
    let document = Document {
        schema: SCHEMA,
        between_s: None,
        findings: vec![Finding {
            id: "x",
            severity: Severity::Note,
            title: String::new(),
            bytes: None,
            evidence: vec![Evidence {
                source: String::new(),
                field: String::new(),
                value: String::new(),
                bytes: None,
            }],
            means: String::new(),
            remedies: vec![Remedy {
                what: String::new(),
                command: None,
                undo: None,
            }],
        }],
        rules: vec![Checked {
            id: "x",
            looks_for: "x",
            outcome: Outcome::Found,
            why: None,
        }],
        unseen: vec![Unseen {
            what: String::new(),
            why: String::new(),
        }],
    };
    assert_eq!(fields(&document), listed("findings"));
}

#[test]
fn every_field_of_overcommit_is_documented() {
    let document = Overcommit {
        schema: overcommit::SCHEMA,
        policy: Policy::Strict,
        promised_bytes: Bytes(1),
        setting: String::new(),
        deliverable_bytes: Bytes(1),
        kept: vec![Kept {
            name: String::new(),
            bytes: Bytes(1),
        }],
        swap_bytes: Bytes(1),
        band_bytes: 1,
        committed_bytes: Bytes(1),
        used_bytes: Bytes(1),
        state: Place::Kept,
        one_more: OneMore {
            fits_bytes: Bytes(1),
            refused_from_bytes: Bytes(1),
        },
        refused: Some(vec![Refused {
            pid: 1,
            command: String::new(),
            want: Want::Fork,
            wants_bytes: Bytes(1),
            shapes: Vec::new(),
        }]),
        advice: Some(Advice {
            overcommit_bytes: Bytes(1),
            limit_bytes: Bytes(1),
            command: String::new(),
            undo: String::new(),
            price_bytes: Bytes(1),
            over_by_bytes: Bytes(1),
        }),
    };
    assert_eq!(fields(&document), listed("overcommit"));
}

#[test]
fn the_manual_has_every_rule() {
    let manual = include_str!("../../../docs/manual/explain.md");
    let missing: Vec<_> = RULES
        .iter()
        .filter(|rule| !manual.contains(&format!("| `{}` | {} |", rule.id, rule.looks_for)))
        .map(|rule| rule.id)
        .collect();
    assert_eq!(missing, [""; 0]);
}
