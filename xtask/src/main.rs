//! `cargo xtask check | test | bench`: what CI runs is what a person runs.
//!
//! Each verb is one module; [`run`] starts programs and [`metadata`] is what cargo knows of the workspace.

mod arrows;
mod bench;
mod check;
mod deny;
mod metadata;
mod run;
mod skips;
mod tally;
mod test;
mod unsafety;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What CI runs is what a person runs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Format, clippy, docs, the arrows between crates, the homes of `unsafe`, licences: all must be clean.
    Check,
    /// Run every test, list what was skipped and why, and count.
    Test(test::Options),
    /// Run the benches in `bench/`, optimised, one after the other.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Check => check::run(),
        Verb::Test(options) => test::run(&options),
        Verb::Bench(options) => bench::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
