//! `plimsoll look` on the host that the tests run on.

use crate::program::{json, plimsoll, run, transcript};
use std::io::Read;
use std::process::Stdio;

/// Owners and the rest are all of RAM, to the byte.
pub(crate) fn assert_closes(look: &serde_json::Value) {
    let host = &look["host"];
    let owners: i64 = host["owners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|owner| owner["bytes"].as_i64().unwrap())
        .sum();
    let rest = host["unattributed_bytes"].as_i64().unwrap();
    assert_eq!(owners + rest, host["total_bytes"].as_i64().unwrap());
}

#[test]
fn owners_and_the_rest_are_all_of_ram() {
    let look = json(&["look", "--json"]);
    assert_eq!(look["schema"], "plimsoll.look/1");
    assert_closes(&look);
    let owners = look["host"]["owners"].as_array().unwrap();
    let sizes: Vec<_> = owners
        .iter()
        .map(|owner| owner["bytes"].as_u64().unwrap())
        .collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b), "biggest first");
    let own_pid = u64::from(std::process::id());
    let processes = look["processes"].as_array().unwrap();
    assert!(processes.iter().any(|process| process["pid"] == own_pid));
}

#[test]
fn every_view_of_people() {
    let own_pid = std::process::id().to_string();
    for view in ["processes", "groups", "commit", "slab", &own_pid] {
        let output = plimsoll().args(["look", view]).output().unwrap();
        assert!(output.status.success(), "{view}: {}", transcript(&output));
        assert!(!output.stdout.is_empty(), "{view}");
        assert!(output.stderr.is_empty(), "{view}: {}", transcript(&output));
    }
    let host = run(&["look", "--explain"]);
    assert!(host.contains("unattributed"), "{host}");
    assert!(!host.contains('\x1b'), "no colour in a pipe");
}

#[test]
fn what_there_is_not_is_said_plainly() {
    insta::assert_snapshot!(run(&["look", "4294967295"]), @r#"
    exit 1
    stderr: plimsoll: no process 4294967295
    "#);
    insta::assert_snapshot!(run(&["look", "/no/such/group"]), @r#"
    exit 1
    stderr: plimsoll: no control group /no/such/group with a memory controller
    stderr: hint: `plimsoll look groups` lists those there are
    "#);
    insta::assert_snapshot!(run(&["look", "--root", "/nonexistent"]), @r#"
    exit 1
    stderr: plimsoll: cannot open the captured tree /nonexistent: No such file or directory (os error 2)
    "#);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut look = plimsoll()
        .args(["look", "--json", "--watch=0.1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    look.stdout.take().unwrap().read_exact(&mut first).unwrap(); // and is closed
    let output = look.wait_with_output().unwrap();
    assert_eq!(transcript(&output), "exit 0\n");
}

#[test]
fn watching_prints_one_document_a_line() {
    use std::io::{BufRead, BufReader};
    let mut look = plimsoll()
        .args(["look", "--json", "--watch=0.1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(look.stdout.take().unwrap()).lines().take(2);
    let looks: Vec<serde_json::Value> = lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    look.kill().unwrap();
    look.wait().unwrap();
    assert_eq!(looks.len(), 2);
    looks.iter().for_each(assert_closes);
}
