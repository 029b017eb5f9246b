//! What verification has to say.

use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// A file is not what it must be.
    Broken,
    /// Something that is needed is not there.
    Missing,
    /// Two files say different things.
    Contradiction,
    /// Nothing that stands in the way.
    Note,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// The file that it is about.
    pub file: String,
    /// What it is.
    pub text: String,
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Image files that were looked at.
    pub images: u64,
    /// Processes in the tree.
    pub processes: u64,
    /// Pages that the set stores itself.
    pub stored_pages: u64,
    /// Faults first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether it can be restored from, as far as can be seen.
    pub fn is_complete(&self) -> bool {
        self.faults() == 0
    }

    /// How many findings are more than notes.
    pub fn faults(&self) -> usize {
        let faults = self.findings.iter();
        faults
            .filter(|finding| finding.weight != Weight::Note)
            .count()
    }

    /// The first finding that is more than a note.
    pub fn first_fault(&self) -> Option<&Finding> {
        self.findings
            .iter()
            .find(|finding| finding.weight != Weight::Note)
    }

    pub(crate) fn add(&mut self, weight: Weight, file: impl Into<String>, text: impl Into<String>) {
        self.findings.push(Finding {
            weight,
            file: file.into(),
            text: text.into(),
        });
    }

    pub(crate) fn sort(&mut self) {
        self.findings.sort();
        self.findings.dedup();
    }
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
