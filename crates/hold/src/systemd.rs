//! Holds by systemd's own means: the properties of a unit, and a scope of its own for a command.
//!
//! `systemd.resource-control(5)`: a setting of a group is a property of its unit; what is written past systemd it may write
//! over. On v1 it knows no limit on RAM and swap together, so there the files are written. `systemd-run(1)` makes
//! the scope, waits for the command and passes its exit code on.

use crate::HoldError;
use crate::apply::Settings;
use crate::plan::{HIGH, LOW, MAX, PIDS, Plan, SWAP_MAX, Step, WRITEBACK};
use plimsoll_cgroup::mount::Version;
use plimsoll_cgroup::write::{Group, Setting};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What systemd calls a file's setting.
const PROPERTIES: [(&str, &str); 6] = [
    (MAX, "MemoryMax"),
    (HIGH, "MemoryHigh"),
    (SWAP_MAX, "MemorySwapMax"),
    (WRITEBACK, "MemoryZSwapWriteback"),
    (LOW, "MemoryLow"),
    (PIDS, "TasksMax"),
];

/// A unit and its group.
#[derive(Debug)]
pub struct Unit {
    /// `nginx.service`.
    pub name: String,
    /// Where its files are.
    pub group: Group,
}

impl Settings for Unit {
    fn group(&self) -> &Group {
        &self.group
    }

    fn write(&self, file: &str, text: &str) -> Result<(), HoldError> {
        match property(file, text) {
            Some(property) => {
                let mut command = Command::new("systemctl");
                command.args(["set-property", "--runtime", &self.name, &property]);
                succeed(&mut command).map(drop)
            }
            None => self.group.write(file, text),
        }
    }
}

/// `MemoryMax=1073741824` for a file and its text; `None` for a file that is no property.
fn property(file: &str, text: &str) -> Option<String> {
    let (_, name) = PROPERTIES.iter().find(|(known, _)| *known == file)?;
    let value = match (*name, text) {
        ("MemoryZSwapWriteback", "0") => "no",
        ("MemoryZSwapWriteback", _) => "yes",
        (_, "max") => "infinity",
        (_, bytes) => bytes,
    };
    Some(format!("{name}={value}"))
}

/// Whether a group of this name is a unit's.
#[must_use]
pub fn is_unit(name: &str) -> bool {
    [".service", ".scope", ".slice"]
        .iter()
        .any(|kind| name.ends_with(kind))
}

/// The group of a unit, as `/proc/PID/cgroup` would call it; `None` where systemd knows none, or it isn't started.
///
/// # Errors
/// When `systemctl` can't be run.
pub fn group_of(unit: &str) -> Result<Option<String>, HoldError> {
    let mut command = Command::new("systemctl");
    let text = succeed(command.args(["show", "--property=ControlGroup", "--value", unit]))?;
    Some(text.trim().to_owned())
        .filter(|path| !path.is_empty())
        .map_or(Ok(None), |path| Ok(Some(path)))
}

/// The systemd that makes scopes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manager {
    /// It is the user's own.
    pub user: bool,
    /// It can be told what becomes of a scope in which the kernel has killed (`OOMPolicy=` of scopes; services had it before).
    pub oom_policy: bool,
}

impl Manager {
    /// Asks it what it knows: its own scope has all properties that scopes have.
    #[must_use]
    pub fn ask(user: bool) -> Self {
        let mut command = Command::new("systemctl");
        command.args(user.then_some("--user"));
        command.args(["show", "--property=OOMPolicy", "--value", "init.scope"]);
        let known = succeed(&mut command).is_ok_and(|value| !value.trim().is_empty());
        Self {
            user,
            oom_policy: known,
        }
    }
}

/// The command that runs another in a scope of its own, held.
///
/// Where the kernel kills one process of a scope, systemd by default ends all that is in it. Elsewhere nobody does that, and the
/// command may know better: it is left to it.
#[must_use]
pub fn run(scope: &str, plan: &Plan, manager: Manager, command: &[OsString]) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["systemd-run", "--scope", "--quiet", "--collect"]
        .map(OsString::from)
        .into();
    if manager.user {
        words.push("--user".into());
    }
    words.push(format!("--unit={scope}").into());
    if manager.oom_policy {
        words.extend(["-p", "OOMPolicy=continue"].map(OsString::from));
    }
    for property in properties(plan) {
        words.push("-p".into());
        words.push(property.into());
    }
    words.push("--".into());
    words.extend(command.iter().cloned());
    words
}

/// The group that scopes are made in: that of `system.slice`; for a user, of the `app.slice` of the user's manager.
#[must_use]
pub fn scope_group(top: &Path, ours: &Path, user: bool) -> PathBuf {
    let manager = |path: &&Path| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.starts_with("user@") && name.ends_with(".service")
    };
    match ours.ancestors().find(manager).filter(|_| user) {
        Some(manager) => manager.join("app.slice"),
        None => top.join("system.slice"),
    }
}

/// Where a plan ends up: each property once, as it is last written.
#[must_use]
pub fn properties(plan: &Plan) -> Vec<String> {
    let mut last: BTreeMap<&str, String> = BTreeMap::new();
    for step in &plan.steps {
        if let Step::Write(file, value) = step
            && let Some(property) = property(file, &value.text(Version::V2))
        {
            last.insert(file, property);
        }
    }
    last.into_values().collect()
}

fn succeed(command: &mut Command) -> Result<String, HoldError> {
    let words: Vec<&OsStr> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .collect();
    let said = words.join(OsStr::new(" ")).to_string_lossy().into_owned();
    let failed = |message: String| HoldError::Systemd {
        command: said.clone(),
        message: message.trim().to_owned(),
    };
    let output = command
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Value;
    use plimsoll_units::{Bytes, Limit};

    #[test]
    fn a_scope_is_asked_for_with_where_the_plan_ends_up() {
        let bytes = |bytes| Value::Limit(Limit::Bytes(Bytes(bytes)));
        let plan = Plan {
            steps: vec![
                Step::Write(SWAP_MAX, bytes(200)),
                Step::Write(WRITEBACK, Value::Flag(false)),
                Step::Write(HIGH, bytes(100)),
                Step::MustFit(Bytes(100)),
                Step::Write(MAX, bytes(100)),
                Step::Write(HIGH, Value::Limit(Limit::Max)),
            ],
            remarks: Vec::new(),
        };
        let words = run(
            "plimsoll-hold-build.scope",
            &plan,
            Manager {
                user: false,
                oom_policy: true,
            },
            &["make".into(), "-j2".into()],
        );
        let expected = "systemd-run --scope --quiet --collect --unit=plimsoll-hold-build.scope \
            -p OOMPolicy=continue -p MemoryHigh=infinity -p MemoryMax=100 -p MemorySwapMax=200 -p MemoryZSwapWriteback=no -- make -j2";
        assert_eq!(words.join(OsStr::new(" ")), expected);
        let old = Manager {
            user: true,
            oom_policy: false,
        };
        let words = run("x.scope", &plan, old, &[]);
        assert!(words.contains(&"--user".into()));
        assert!(!words.contains(&"OOMPolicy=continue".into()));
    }

    #[test]
    fn scopes_lie_in_the_slice_of_their_manager() {
        let top = Path::new("/c");
        let ours = Path::new("/c/user.slice/user-7.slice/user@7.service/app.slice/a.scope");
        let group = |user| scope_group(top, ours, user);
        assert_eq!(group(false), Path::new("/c/system.slice"));
        let app = "/c/user.slice/user-7.slice/user@7.service/app.slice";
        assert_eq!(group(true), Path::new(app));
    }

    #[test]
    fn units_are_told_by_their_names() {
        assert!(is_unit("nginx.service") && is_unit("user.slice") && is_unit("session-2.scope"));
        assert!(!is_unit("nginx") && !is_unit("1234"));
    }
}
