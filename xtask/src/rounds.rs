//! `cargo xtask rounds`: parks and resumes at random, a thousand times and five hundred times with SIGKILL, optimised.
//! The tests in `crates/park/tests/rounds.rs` say what a round is.

use crate::run;
use anyhow::Result;

/// What `cargo xtask rounds` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds in which nothing is killed.
    #[arg(long, default_value_t = 1000)]
    rounds: u64,
    /// Rounds in which what parks or resumes is killed at a random instant.
    #[arg(long, default_value_t = 500)]
    kills: u64,
    /// Makes the same choices again; a fresh one is chosen and printed otherwise.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs them.
///
/// # Errors
/// At the first round after which anything is amiss.
pub(crate) fn run(options: &Options) -> Result<()> {
    let fresh = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| u64::from(now.subsec_nanos()))
    };
    let seed = options.seed.unwrap_or_else(fresh);
    let test = ["test", "--release", "--package", "plimsoll-park"];
    let which = ["--test", "main", "--", "--exact", "rounds::many"];
    let how = ["--ignored", "--nocapture"];
    run::succeed(
        run::cargo(&[&test[..], &which, &how].concat())
            .env("PLIMSOLL_ROUNDS", options.rounds.to_string())
            .env("PLIMSOLL_KILLS", options.kills.to_string())
            .env("PLIMSOLL_SEED", seed.to_string()),
    )
}
