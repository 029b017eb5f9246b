//! The file: read, checked, and told what is wrong with it by line and key.

use super::{Policy, Rung};
use std::io;
use std::path::{Path, PathBuf};

/// A configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Of the file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is wrong. The message shows the line.
    #[error("{}: {message}", path.display())]
    Wrong {
        /// Of the file.
        path: PathBuf,
        /// With line and column, the line itself, and what is wrong there.
        message: String,
    },
}

impl Policy {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, or has anything in it that is not understood.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|message| ConfigError::Wrong {
            path: path.to_owned(),
            message,
        })
    }

    /// Reads a text; says in words what is wrong with it, and in which line.
    ///
    /// # Errors
    /// When anything in it is not understood, or can't be meant.
    pub fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        policy.check()?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), String> {
        let pace = &self.pace;
        let looks = [
            ("calm-look", pace.calm_look),
            ("pressed-look", pace.pressed_look),
        ];
        for (key, time) in looks {
            if !(10..=60_000).contains(&time.0) {
                return Err(format!("pace.{key}: from 10ms to 60s, not {} ms", time.0));
            }
        }
        for rule in &self.rules {
            let pattern = &rule.pattern;
            let is_last = |rung: &Rung| rung.loses_work();
            let first_loss = rule
                .ladder
                .iter()
                .position(is_last)
                .unwrap_or(rule.ladder.len());
            let behind = rule.ladder.get(first_loss..).unwrap_or_default();
            if let Some(gentle) = behind.iter().find(|rung| !rung.loses_work()) {
                return Err(format!(
                    "workload {pattern:?}: in its ladder `{}` comes behind a rung that ends it",
                    gentle.name()
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Policy::parse(text).unwrap_err()
    }

    #[test]
    fn nothing_is_all_defaults() {
        assert_eq!(Policy::parse("").unwrap(), Policy::default());
    }

    #[test]
    fn a_key_that_is_not_known_is_told_with_its_line() {
        let told = error("[pressure]\nlow = \"10%\"\nflor = \"4%\"\n");
        assert!(told.contains("line 3") && told.contains("flor"), "{told}");
        assert!(told.contains("`floor`"), "what there is instead: {told}");
    }

    #[test]
    fn a_value_that_makes_no_sense_is_told_with_its_line() {
        let told = error("[pace]\n\nsettle = \"soon\"\n");
        assert!(
            told.contains("line 3") && told.contains("`soon` is not a time"),
            "{told}"
        );
        let told = error("[[workload]]\nmatch = \"*\"\nladder = [\"park\", \"pray\"]\n");
        assert!(told.contains("line 3") && told.contains("pray"), "{told}");
        let told = error("[[workload]]\npriority = 1\n");
        assert!(told.contains("`match`"), "{told}");
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        let told = error("[[workload]]\nmatch = \"/x\"\nladder = [\"kill\", \"park\"]\n");
        assert!(told.contains("`park` comes behind"), "{told}");
        assert!(error("[pace]\ncalm-look = \"1ms\"\n").contains("calm-look"));
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let text = "[[workload]]\nmatch = \"/a/*\"\nidle = \"10m\"\n\
                    [[workload]]\nmatch = \"*\"\nladder = []\n";
        let policy = Policy::parse(text).unwrap();
        assert_eq!(policy.rule_for("/a/b"), Some(0));
        assert_eq!(policy.rule_for("/b"), Some(1));
        assert!(policy.ladder(Some(1)).is_empty());
        assert_eq!(policy.ladder(Some(0)), super::super::DEFAULT_LADDER);
    }
}
