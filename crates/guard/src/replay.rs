//! A recording of observations, decided anew: policies are tried on what has happened, and bugs are found again.

use crate::config::Policy;
use crate::decider::{Act, MOST_ACTS, State, decide};
use crate::observation::Observation;
use std::io::{self, BufRead};

/// A recording can't be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It can't be read.
    #[error("cannot read the recording")]
    Read(#[from] io::Error),
    /// A line of it is no observation.
    #[error("line {line} of the recording is no observation")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// Decides on each observation of a recording, and gives every act to `acted`. A last line that was cut short is passed
/// over: whoever wrote it may have been killed.
///
/// # Errors
/// When the recording can't be read, or holds something else.
pub fn replay(
    policy: &Policy,
    recording: impl BufRead,
    mut acted: impl FnMut(&Act),
) -> Result<usize, ReplayError> {
    let mut state = State::default();
    let mut acts = Vec::with_capacity(MOST_ACTS);
    let mut count = 0;
    let mut lines = recording.lines().enumerate().peekable();
    while let Some((place, line)) = lines.next() {
        let seen: Observation = match serde_json::from_str(&line?) {
            Ok(seen) => seen,
            Err(source) if source.is_eof() && lines.peek().is_none() => break,
            Err(source) => {
                let line = place.saturating_add(1);
                return Err(ReplayError::Line { line, source });
            }
        };
        decide(policy, &mut state, &seen, &mut acts);
        acts.iter().for_each(&mut acted);
        count += 1;
    }
    Ok(count)
}
