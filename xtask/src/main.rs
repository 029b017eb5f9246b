//! `cargo xtask check | test | lab | bench`: what CI runs is what a person runs.
//!
//! Each verb is one module; [`run`] starts programs and [`metadata`] is what cargo knows of the workspace.

mod arrows;
mod bench;
mod check;
mod deny;
mod fuzz;
mod lab;
mod metadata;
mod rounds;
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
    /// Boot a guest with another kernel and run something in it.
    #[command(subcommand)]
    Lab(lab::Verb),
    /// Run the benches in `bench/`, optimised, one after the other.
    Bench(bench::Options),
    /// Feed hostile bytes to every parser and decoder.
    Fuzz(fuzz::Options),
    /// Park and resume self-checking victims at random, round after round, killed at any instant.
    Rounds(rounds::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Check => check::run(),
        Verb::Test(options) => test::run(&options),
        Verb::Lab(verb) => return lab::run(verb).unwrap_or_else(|error| fail(&error)),
        Verb::Bench(options) => bench::run(&options),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Rounds(options) => rounds::run(&options),
    };
    outcome.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("xtask: {error:#}");
    ExitCode::FAILURE
}
