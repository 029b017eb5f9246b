//! The `plimsoll` binary: words, tables, colours, exit codes. No kernel file is parsed here.
//!
//! `args` says what can be asked; each verb has a module of its name; `failure` says how a verb ends that could not do its
//! work. Views (`look/*.rs`) are pure: an account and a [`terminal::Terminal`] in, text out.

mod args;
mod bar;
mod capture;
mod failure;
mod gather;
mod look;
mod manual;
mod park;
mod parked;
mod resume;
mod table;
mod terminal;

use args::{Plimsoll, Verb};
use clap::Parser;
use failure::{Failure, Kind};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match Plimsoll::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print(); // help whose reader has gone away is no failure
            let usage = error.use_stderr();
            return if usage {
                ExitCode::from(Kind::Usage as u8)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    // a panic is a fault of ours: its message is on stderr by now
    let outcome = std::panic::catch_unwind(|| run(args.verb)).unwrap_or_else(|_| {
        Err(Failure::message(
            Kind::Fault,
            "a fault inside plimsoll, please report the lines above",
        ))
    });
    match outcome {
        Err(failure) if !failure.is_broken_pipe() => {
            eprintln!("{failure}");
            ExitCode::from(failure.kind as u8)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Look(args) => look::run(&args),
        Verb::Capture(args) => capture::run(&args),
        Verb::Park(args) => park::run(&args),
        Verb::Resume(args) => resume::run(&args),
        Verb::Parked(args) => parked::run(&args),
        Verb::Completions { shell } => Ok(manual::completions(shell)?),
        Verb::Man { dir } => manual::man_pages(&dir),
    }
}
