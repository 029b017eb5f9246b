//! Carries a plan out, step by step, and undoes what was done where a step fails.
//!
//! What each file said before is kept: for the undoing here, and for the release later. It is written back in the opposite
//! order, so that v1's rule, RAM never above both together, holds on the way back as it did on the way there.

use crate::HoldError;
use crate::plan::{Plan, Step};
use plimsoll_cgroup::mount::Version;
use plimsoll_cgroup::write::{Group, Setting};
use plimsoll_units::Bytes;
use serde::{Deserialize, Serialize};

/// What a file said before it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its name.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// Whoever writes the settings of a group: its files, or systemd.
pub trait Settings {
    /// The group.
    fn group(&self) -> &Group;

    /// Writes one.
    ///
    /// # Errors
    /// Whatever stands against it.
    fn write(&self, file: &str, text: &str) -> Result<(), HoldError>;
}

impl Settings for Group {
    fn group(&self) -> &Group {
        self
    }

    fn write(&self, file: &str, text: &str) -> Result<(), HoldError> {
        Ok(self.set(file, text)?)
    }
}

/// What the files that a plan writes say now: what undoes it.
///
/// # Errors
/// When one can't be read.
pub fn before(group: &Group, plan: &Plan) -> Result<Vec<Previous>, HoldError> {
    let mut previous: Vec<Previous> = Vec::new();
    for step in &plan.steps {
        if let Step::Write(file, _) = *step
            && !previous.iter().any(|one| one.file == file)
            && let Some(Text(text)) = group.read(file)?
        {
            let file = file.to_owned();
            previous.push(Previous { file, text });
        }
    }
    Ok(previous)
}

/// Carries a plan out; `previous` is what [`before`] said.
///
/// # Errors
/// What stood against a step; all is as it was then.
pub fn apply(
    settings: &impl Settings,
    plan: &Plan,
    previous: &[Previous],
) -> Result<(), HoldError> {
    let outcome = (plan.steps.iter()).try_for_each(|step| take(settings, *step));
    if outcome.is_err() {
        let _ = undo(settings, previous); // what stood against the step weighs more
    }
    outcome
}

fn take(settings: &impl Settings, step: Step) -> Result<(), HoldError> {
    let group = settings.group();
    match step {
        Step::Write(file, value) => settings.write(file, &value.text(group.version())),
        Step::MustFit(asked) => match current(group)? {
            current if current > asked => Err(HoldError::TooSmall { current, asked }),
            _ => Ok(()),
        },
    }
}

/// Writes back what was before, the last first. A group that is gone needs nothing.
///
/// # Errors
/// The first that failed, after all were tried.
pub fn undo(settings: &impl Settings, previous: &[Previous]) -> Result<(), HoldError> {
    let mut outcome = Ok(());
    for Previous { file, text } in previous.iter().rev() {
        match settings.write(file, text) {
            Err(HoldError::Control(error)) if error.is_gone() => {}
            written => outcome = outcome.and(written),
        }
    }
    outcome
}

fn current(group: &Group) -> Result<Bytes, HoldError> {
    let file = match group.version() {
        Version::V1 => "memory.usage_in_bytes",
        Version::V2 => "memory.current",
    };
    Ok(group.read(file)?.unwrap_or_default())
}

/// A file as it is.
struct Text(String);

impl plimsoll_cgroup::format::Format for Text {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        Some(Self(text.trim().to_owned()))
    }
}
