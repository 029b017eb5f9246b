//! Control groups, as CRIU's options tell of them: `--manage-cgroups[=MODE]`, `--cgroup-root [HIERARCHY:]PATH`.

use super::line::Line;
use crate::failure::{Failure, Kind};
use plimsoll_checkpoint::{GroupRoots, ManageGroups};
use std::collections::BTreeMap;

/// What a restore does about them; without the option what `soft` says, as in CRIU.
pub(super) fn manage(line: &Line) -> Result<ManageGroups, Failure> {
    match line.value("manage-cgroups").unwrap_or_default() {
        "" | "soft" => Ok(ManageGroups::Make),
        "none" => Ok(ManageGroups::Expect),
        "props" => Ok(ManageGroups::SetUp),
        "full" => Ok(ManageGroups::MakeAndSetUp),
        "strict" => Ok(ManageGroups::MakeAll),
        "ignore" => Ok(ManageGroups::Ignore),
        other => Err(Failure::message(
            Kind::Usage,
            format!("--manage-cgroups knows no {other}"),
        )),
    }
}

/// Paths that take the place of others.
pub(super) fn roots(line: &Line) -> GroupRoots {
    let of_value = |value: &str| match value.split_once(':') {
        Some((name, path)) => (Some(name.to_owned()), path.to_owned()),
        None => (None, value.to_owned()),
    };
    line.values("cgroup-root").map(of_value).collect()
}

/// The same of a dump, which only knows such of one hierarchy.
pub(super) fn dumped(line: &Line) -> BTreeMap<String, String> {
    let named = roots(line).into_iter();
    named
        .filter_map(|(name, path)| Some((name?, path)))
        .collect()
}
