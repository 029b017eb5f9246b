//! One control group for people: its four kinds, its limits, and who is in it.

use super::{groups, processes};
use crate::failure::{Failure, Kind};
use crate::terminal::Terminal;
use plimsoll_ledger::look::Look;

/// The group at `path`, those below it, and their processes.
pub(super) fn view(
    look: &Look,
    path: &str,
    explain: bool,
    terminal: &Terminal,
) -> Result<String, Failure> {
    let path = match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    let within = |one: &str| {
        path == "/"
            || one
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let all: Vec<_> = look
        .groups
        .iter()
        .filter(|group| within(&group.path))
        .cloned()
        .collect();
    if !all.iter().any(|group| group.path == path) {
        let failure = Failure::message(
            Kind::Failed,
            format_args!("no control group {path} with a memory controller"),
        );
        return Err(failure.hint("`plimsoll look groups` lists those there are"));
    }
    let members: Vec<_> = look
        .processes
        .iter()
        .filter(|process| within(&process.cgroup))
        .cloned()
        .collect();
    let mut text = groups::view(
        &all,
        explain,
        &Terminal {
            rows: None,
            ..*terminal
        },
    );
    text.push('\n');
    text.push_str(&processes::view(&members, None, terminal));
    Ok(text)
}
