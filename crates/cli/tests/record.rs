//! `plimsoll record`, and what `look --root` makes of a recording.

use crate::look::assert_closes;
use crate::program::{json, plimsoll, run, transcript};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_moment_of_a_recording_is_looked_at_like_a_captured_host() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("recordings");
    let mut command = plimsoll();
    command
        .arg("record")
        .arg(&directory)
        .args(["--every", "0.1", "--json"]);
    let mut recorder = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(recorder.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("Recording: ") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended");
    }
    let mut lines = BufReader::new(recorder.stdout.take().unwrap()).lines();
    let mut told = || -> serde_json::Value {
        let line = lines.next().unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let pid = Pid::from_child(&recorder);
    kill_process(pid, Signal::USR1).unwrap();
    let when_told = told();
    kill_process(pid, Signal::TERM).unwrap();
    let at_the_end = told();
    let ended = told();
    assert!(recorder.wait().unwrap().success());
    for (document, event) in [
        (&when_told, "written"),
        (&at_the_end, "written"),
        (&ended, "ended"),
    ] {
        assert_eq!(document["schema"], "plimsoll.record/1");
        assert_eq!(document["event"], event);
    }
    assert_eq!(
        (&when_told["reason"], &at_the_end["reason"]),
        (&"told".into(), &"end".into())
    );
    assert!(ended["beats"].as_u64().unwrap() > 0);

    let path = at_the_end["path"].as_str().unwrap();
    let look = json(&["look", "--json", "--root", path, "--at", "-1s"]);
    assert_closes(&look);
    assert!(!look["processes"].as_array().unwrap().is_empty());
    let past = json(&["look", "--json", "--root", path, "--at", "0"]);
    assert_closes(&past);

    let explained = json(&["explain", "--json", "--root", path]);
    let rules = explained["rules"].as_array().unwrap();
    let outcome = |id: &str| &rules.iter().find(|rule| rule["id"] == id).unwrap()["outcome"];
    for not_in_a_recording in ["commit-outside", "pipe-buffers", "limit-close"] {
        assert_eq!(outcome(not_in_a_recording), "not_seen");
    }
    for seen in [
        "overcommit-band",
        "slab-reclaimable",
        "fragmentation",
        "zram-beside-disk",
    ] {
        assert_ne!(outcome(seen), "not_seen", "{seen}");
    }
    let overcommit = json(&["explain", "overcommit", "--json", "--root", path]);
    assert!(overcommit["promised_bytes"].as_u64().unwrap() > 0);
    assert!(overcommit["refused"].is_null(), "{overcommit}");
}

#[test]
fn what_is_no_recording_is_told_so() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("x.rec");
    std::fs::write(&file, "something else").unwrap();
    let output = plimsoll()
        .args(["look", "--root"])
        .arg(&file)
        .output()
        .unwrap();
    let said = transcript(&output);
    assert!(
        said.starts_with("exit 1\n") && said.contains("is no recording"),
        "{said}"
    );
    let tree = scratch.path().to_str().unwrap();
    let said = run(&["look", "--root", tree, "--at", "-1s"]);
    assert!(
        said.starts_with("exit 2\n") && said.contains("is no recording"),
        "{said}"
    );
    let said = run(&["look", "--root", tree, "--at", "yesterday"]);
    assert!(
        said.starts_with("exit 2\n") && said.contains("seconds since 1970"),
        "{said}"
    );
}
