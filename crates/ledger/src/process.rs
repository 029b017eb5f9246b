//! Processes as people ask for them: one row each, from the cheap tier ([`Sample`]).
//!
//! `rss_bytes` must not be added up over processes, since each counts the pages they share; anonymous
//! memory and swap may, pages still shared after `fork` aside, so that is what rows are sorted by.

pub mod share;

use crate::look::{Process, Unseen};
use plimsoll_proc::passwd::Users;
use plimsoll_proc::process::sample::{Sample, Samples};
use plimsoll_proc::text;
use plimsoll_units::Bytes;
use std::cmp::Reverse;
use std::collections::HashMap;

/// Proportional shares by pid, as far as they were asked for.
pub type Shares = HashMap<u32, Bytes>;

/// One row a process, by descending anonymous memory.
#[must_use]
pub fn rows(samples: &[Sample], users: &Users, shares: &Shares) -> Vec<Process> {
    let row = |sample| row(sample, users, shares);
    let mut rows: Vec<Process> = samples.iter().map(row).collect();
    rows.sort_by_key(|row| (Reverse(row.anon_bytes), row.pid));
    rows
}

fn row(sample: &Sample, users: &Users, shares: &Shares) -> Process {
    let status = &sample.status;
    let vm = status.vm.unwrap_or_default();
    Process {
        pid: status.pid,
        ppid: status.ppid,
        command: sample.command.clone(),
        user: users.name(status.uid.effective),
        cgroup: text::printable(&sample.cgroup).into_owned(),
        rss_bytes: vm.rss,
        anon_bytes: vm.rss_anon.unwrap_or_default(),
        swap_bytes: vm.swap.unwrap_or_default(),
        pss_bytes: shares.get(&status.pid).copied(),
        mapped: None,
    }
}

/// Processes that live and could not be read all the same: one line, with the first of them for all.
pub fn unseen(samples: &Samples) -> Option<Unseen> {
    let (pid, error) = samples.failed.first()?;
    let others = match samples.failed.len() {
        1 => String::new(),
        all => format!(" and {} others", all.saturating_sub(1)),
    };
    Some(Unseen {
        what: format!("process {pid}{others}"),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_proc::process::status::Status;

    #[test]
    fn rows_are_sorted_and_named() {
        let sample = |pid, anon| {
            let text = format!(
                "Name:\tx\nState:\tS\nTgid:\t{pid}\nPid:\t{pid}\nUid:\t7\t8\t8\t8\nVmSize:\t9 kB\nRssAnon:\t{anon} kB\n"
            );
            Sample {
                status: Status::parse(text.as_bytes()).unwrap(),
                cgroup: b"/\xff".to_vec(),
                command: "x".into(),
            }
        };
        let samples = [sample(1, 4), sample(2, 8)];
        let users = Users::parse(b"eve:x:8:8\n");
        let rows = rows(&samples, &users, &Shares::from([(1, Bytes(7))]));
        assert_eq!(rows.iter().map(|r| r.pid).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(rows[1].pss_bytes, Some(Bytes(7)));
        assert_eq!(
            (rows[0].user.as_str(), rows[0].cgroup.as_str()),
            ("eve", "/\\xff")
        );
        assert_eq!(rows[0].anon_bytes, Bytes::from_kib(8));
    }
}
