//! `cargo xtask rounds`: parks and resumes at random, a thousand times and five hundred times with SIGKILL, optimised; then
//! checkpoints and restores, two hundred times with SIGKILL. The tests in `crates/park/tests/rounds.rs` and
//! `crates/checkpoint/tests/killed.rs` say what a round is.

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
    /// How often who checkpoints or restores is killed.
    #[arg(long, default_value_t = 200)]
    checkpoint_kills: u64,
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
    let many = |package: &str, test: &str, rounds: u64, kills: u64| {
        let what = ["test", "--release", "--package", package];
        let which = ["--test", "main", "--", "--exact", test];
        let how = ["--ignored", "--nocapture"];
        run::succeed(
            run::cargo(&[&what[..], &which, &how].concat())
                .env("PLIMSOLL_ROUNDS", rounds.to_string())
                .env("PLIMSOLL_KILLS", kills.to_string())
                .env("PLIMSOLL_SEED", seed.to_string()),
        )
    };
    if options.rounds + options.kills > 0 {
        many(
            "plimsoll-park",
            "rounds::many",
            options.rounds,
            options.kills,
        )?;
    }
    if options.checkpoint_kills > 0 {
        let kills = options.checkpoint_kills;
        many("plimsoll-checkpoint", "killed::many", 0, kills)?;
    }
    Ok(())
}
