//! Findings: what is wrong with a host's memory, each with its evidence, what it means and what to do.
//!
//! A [`Scene`] (the account of now, and of before where there is one) goes through the table of `rules`; each answers with what
//! it found, with nothing, or with what it could not see. The types are the document, schema `plimsoll.explain/1`
//! (`docs/explain-json.md`); the thresholds and why they are so stand in each rule's file and in `docs/manual/explain.md`.

mod evidence;
mod rules;
mod scene;
#[cfg(test)]
pub(crate) mod testing;

pub use evidence::Evidence;
pub use rules::RULES;
pub use scene::{Account, Before, Scene};

use plimsoll_ledger::look::Unseen;
use plimsoll_units::Bytes;
use serde::Serialize;

/// The name of this schema.
pub const SCHEMA: &str = "plimsoll.explain/1";

/// All that was found, and all that was looked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// Always `plimsoll.explain/1`.
    pub schema: &'static str,
    /// Seconds between the two looks; `null` where there was one.
    pub between_s: Option<f64>,
    /// The gravest first.
    pub findings: Vec<Finding>,
    /// Every rule, and what came of it.
    pub rules: Vec<Checked>,
    /// What was not seen, and what would show it.
    pub unseen: Vec<Unseen>,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The rule that found it; stable.
    pub id: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// It in one sentence.
    pub title: String,
    /// How much memory it is about; `null` where it is not about an amount.
    pub bytes: Option<Bytes>,
    /// What it stands on.
    pub evidence: Vec<Evidence>,
    /// What it means.
    pub means: String,
    /// What to do, the nearest first.
    pub remedies: Vec<Remedy>,
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing suffers yet.
    Note,
    /// It costs something now, or will when memory is short.
    Warning,
    /// Programs stall or are killed, or will be soon.
    Critical,
}

/// What can be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// In words.
    pub what: String,
    /// As a command; `null` where there is none.
    pub command: Option<String>,
    /// The command that takes it back; `null` where nothing needs taking back, or there is no command.
    pub undo: Option<String>,
}

impl Remedy {
    fn advice(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            command: None,
            undo: None,
        }
    }

    fn command(what: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            command: Some(command.into()),
            undo: None,
        }
    }

    fn undone_by(self, undo: impl Into<String>) -> Self {
        Self {
            undo: Some(undo.into()),
            ..self
        }
    }
}

/// What came of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The rule; stable.
    pub id: &'static str,
    /// What it looks for.
    pub looks_for: &'static str,
    /// Whether it was there.
    pub outcome: Outcome,
    /// What it would have needed; `null` unless it could not be seen.
    pub why: Option<&'static str>,
}

/// Whether a thing was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is among the findings.
    Found,
    /// It was looked for and is not there.
    Nothing,
    /// It could not be looked for.
    NotSeen,
}

/// One rule: what it looks for, and how.
#[derive(Debug)]
pub struct Rule {
    /// Stable.
    pub id: &'static str,
    /// What it looks for.
    pub looks_for: &'static str,
    find: fn(&Scene<'_>) -> Answer,
}

/// What a rule finds, or what it would need to see.
type Answer = Result<Vec<Finding>, NotSeen>;

/// What a rule would need to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NotSeen(&'static str);

/// All findings of a scene.
#[must_use]
pub fn find(scene: &Scene<'_>) -> Document {
    let mut findings = Vec::new();
    let mut checked = Vec::new();
    for rule in RULES {
        let (outcome, why) = match (rule.find)(scene) {
            Ok(found) if found.is_empty() => (Outcome::Nothing, None),
            Ok(found) => {
                findings.extend(found);
                (Outcome::Found, None)
            }
            Err(NotSeen(why)) => (Outcome::NotSeen, Some(why)),
        };
        checked.push(Checked {
            id: rule.id,
            looks_for: rule.looks_for,
            outcome,
            why,
        });
    }
    findings.sort_by_key(|found| std::cmp::Reverse((found.severity, found.bytes)));
    Document {
        schema: SCHEMA,
        between_s: scene.before.map(|before| before.seconds),
        findings,
        rules: checked,
        unseen: scene.now.look.unseen.clone(),
    }
}
