//! The arrows between crates point one way: what ARCHITECTURE.md's map allows is what cargo sees.
//!
//! The map is a table in ARCHITECTURE.md whose rows begin with a crate's name and the crates that it may
//! use. It is the only list: this check reads it there, so the page that people read can't fall behind.
//! A crate may use only crates from rows above its own. Tests may use `testkit` and `lab` besides.

use crate::metadata::{Metadata, Package, room};
use crate::run;
use anyhow::{Context, Result, bail};
use std::fs;

/// What only tests and benches may use, beside what the table allows.
const FOR_TESTS: [&str; 2] = ["testkit", "lab"];

/// One row of the map.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    room: String,
    may_use: Vec<String>,
}

/// Compares the map with the workspace.
///
/// # Errors
/// Lists every arrow that the map forbids and every crate or row without its counterpart.
pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    let page = run::root().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    let map = read_map(&text);
    let members: Vec<(String, Vec<Arrow>)> = metadata.members().map(arrows).collect();
    let mut faults = faults_of_map(&map);
    faults.extend(faults_of_crates(&map, &members));
    if !faults.is_empty() {
        bail!("the arrows between crates:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

/// A use of one of our crates by another.
#[derive(Debug)]
struct Arrow {
    to: String,
    in_tests_only: bool,
}

fn arrows(package: &Package) -> (String, Vec<Arrow>) {
    // A crate whose tests want features of its own names itself: no arrow.
    let ours = package
        .dependencies
        .iter()
        .filter(|d| d.path.is_some() && d.name != package.name);
    let arrow = |d: &crate::metadata::Dependency| Arrow {
        to: room(&d.name).to_owned(),
        in_tests_only: d.kind.as_deref() == Some("dev"),
    };
    (package.room().to_owned(), ours.map(arrow).collect())
}

/// The rows `| [`proc`](crates/proc) | `units` `sys` | ...` of the page.
fn read_map(page: &str) -> Vec<Row> {
    page.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| [`")?.split('|');
            let room = cells.next()?.split('`').next()?.to_owned();
            // Names stand between backquotes: every second piece.
            let may_use = cells.next()?.split('`').skip(1).step_by(2);
            let may_use = may_use.map(str::to_owned).collect();
            Some(Row { room, may_use })
        })
        .collect()
}

fn faults_of_map(map: &[Row]) -> Vec<String> {
    let mut above: Vec<&str> = Vec::new();
    let mut faults = Vec::new();
    for row in map {
        for used in &row.may_use {
            if !above.contains(&used.as_str()) {
                faults.push(format!(
                    "the map lets {} use {used}, which is not above it",
                    row.room
                ));
            }
        }
        above.push(&row.room);
    }
    faults
}

fn faults_of_crates(map: &[Row], members: &[(String, Vec<Arrow>)]) -> Vec<String> {
    let mut faults = Vec::new();
    for row in map {
        if !members.iter().any(|(room, _)| *room == row.room) {
            faults.push(format!(
                "{} is on the map and not in the workspace",
                row.room
            ));
        }
    }
    for (room, arrows) in members {
        let Some(row) = map.iter().find(|row| row.room == *room) else {
            faults.push(format!("{room} is in the workspace and not on the map"));
            continue;
        };
        for arrow in arrows {
            let for_tests = arrow.in_tests_only && FOR_TESTS.contains(&arrow.to.as_str());
            if !for_tests && !row.may_use.contains(&arrow.to) {
                faults.push(format!("{room} may not use {}", arrow.to));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
| crate | may use | what |
| --- | --- | --- |
| [`units`](crates/units) | | sizes |
| [`sys`](crates/sys) | `units` | calls |
| [`proc`](crates/proc) | `units` `sys` | readers, see `root` |
";

    fn member(room: &str, uses: &[(&str, bool)]) -> (String, Vec<Arrow>) {
        let arrow = |&(to, in_tests_only): &(&str, bool)| Arrow {
            to: to.to_owned(),
            in_tests_only,
        };
        (room.to_owned(), uses.iter().map(arrow).collect())
    }

    #[test]
    fn the_map_is_read_from_its_first_two_columns() {
        let map = read_map(PAGE);
        let rows: Vec<(&str, usize)> = map
            .iter()
            .map(|r| (r.room.as_str(), r.may_use.len()))
            .collect();
        assert_eq!(rows, [("units", 0), ("sys", 1), ("proc", 2)]);
        assert_eq!(faults_of_map(&map), [""; 0]);
    }

    #[test]
    fn a_map_that_points_down_is_refused() {
        let map = read_map("| [`units`](c) | `sys` | |\n| [`sys`](c) | `units` `sys` | |\n");
        assert_eq!(faults_of_map(&map).len(), 2);
    }

    #[test]
    fn only_allowed_arrows_pass() {
        let map = read_map(PAGE);
        let clean = [
            member("units", &[]),
            member("sys", &[("units", false), ("testkit", true)]),
            member("proc", &[("sys", false)]),
        ];
        assert_eq!(faults_of_crates(&map, &clean), [""; 0]);
        let guilty = [
            member("units", &[("proc", false)]),
            member("sys", &[("testkit", false), ("proc", true)]),
            member("cli", &[]),
        ];
        assert_eq!(
            faults_of_crates(&map, &guilty),
            [
                "proc is on the map and not in the workspace",
                "units may not use proc",
                "sys may not use testkit",
                "sys may not use proc",
                "cli is in the workspace and not on the map",
            ]
        );
    }
}
