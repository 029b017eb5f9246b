//! The words of `plimsoll guard`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Answer memory pressure by a ladder, that kills only last, and say why
///
/// Watches the host and every workload: control groups, and large processes outside of any. Under pressure it drops caches,
/// pages out, freezes, parks, and at the very end asks to end and kills, whom its configuration allows; what was taken down
/// comes back when memory is there again. Workloads named so are parked when they are idle, and wake on input. Without a
/// configuration (/etc/plimsoll/guard.toml) it has sane defaults. docs/manual/guard.md tells each key.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
pub(crate) struct GuardArgs {
    #[command(subcommand)]
    pub(crate) what: Option<What>,

    /// The configuration
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,

    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  plimsoll guard --dry-run             say what would be done, and do nothing
  plimsoll guard --config guard.toml   hold to a configuration
  plimsoll guard status                how things stand, and what stands still
  plimsoll guard log                   what was done, and why
  plimsoll guard replay FILE           decide a recording anew
  plimsoll guard thaw                  let everything run again that a guard that is gone has frozen";

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Ask the guard that is at work how things stand
    Status {
        /// Print its JSON document, schema plimsoll.guard-status/1
        #[arg(long)]
        json: bool,
    },
    /// Show what was done, and why
    Log {
        /// Print the records as they are, a JSON document a line, schema plimsoll.guard-log/1
        #[arg(long)]
        json: bool,
    },
    /// Decide a recording anew: the same configuration gives the same acts, another shows what it would have done
    Replay {
        /// What the guard wrote to `recording`
        recording: PathBuf,
        /// Print the acts as JSON, one a line, schema plimsoll.guard-replay/1
        #[arg(long)]
        json: bool,
    },
    /// Let everything run again that a guard that is gone has frozen
    Thaw,
    /// A helper of the guard's that acts
    #[command(hide = true)]
    Hand {
        /// It lets everything run again when the guard is gone
        #[arg(long)]
        thaws: bool,
    },
    /// A helper of the guard's that writes
    #[command(hide = true)]
    Scribe,
}
