//! The `plimsoll` binary: words, tables, colours, exit codes. No kernel file is parsed here.
//!
//! `args` says what can be asked; each verb has a module of its name; `failure` says how a verb ends that could not do its
//! work. Views (`look/*.rs`) are pure: an account and a [`terminal::Terminal`] in, text out.

mod args;
mod bar;
mod capture;
mod captured;
mod check;
mod checkpoint;
mod criu;
mod explain;
mod failure;
mod gather;
mod guard;
mod hold;
mod image;
mod interrupt;
mod look;
mod manual;
mod park;
mod parked;
mod progress;
mod record;
mod resume;
mod table;
mod terminal;
mod wake;

use args::{Plimsoll, Verb};
use clap::Parser;
use failure::{Failure, Kind};
use std::panic::UnwindSafe;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    if criu::is_called(program.as_ref()) {
        return ExitCode::from(criu::run(words));
    }
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
    ExitCode::from(exit_code(|| run(args.verb)))
}

/// Runs a verb, tells how it failed, and gives the code of that.
fn exit_code(verb: impl FnOnce() -> Result<(), Failure> + UnwindSafe) -> u8 {
    // a panic is a fault of ours: its message is on stderr by now
    let outcome = std::panic::catch_unwind(verb).unwrap_or_else(|_| {
        Err(Failure::message(
            Kind::Fault,
            "a fault inside plimsoll, please report the lines above",
        ))
    });
    match outcome {
        Err(failure) if !failure.is_broken_pipe() => {
            eprintln!("{failure}");
            failure.kind as u8
        }
        _ => 0,
    }
}

fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Look(args) => look::run(&args),
        Verb::Capture(args) => capture::run(&args),
        Verb::Record(args) => record::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Park(args) => park::run(&args),
        Verb::Resume(args) => resume::run(&args),
        Verb::Parked(args) => parked::run(&args),
        Verb::Guard(args) => guard::run(&args),
        Verb::Watch => wake::watch(),
        Verb::Run(args) => end_with(hold::run(&args)?),
        Verb::Hold(args) => hold::hold(&args),
        Verb::Holds(args) => hold::holds(&args),
        Verb::Release(args) => hold::release(&args),
        Verb::Enter(args) => end_with(hold::enter(&args)?),
        Verb::Image(args) => image::run(&args),
        Verb::Checkpoint(args) => checkpoint::checkpoint(&args),
        Verb::Restore(args) => checkpoint::restore(&args),
        Verb::Criu { words } => std::process::exit(criu::run(words).into()),
        Verb::Completions { shell } => Ok(manual::completions(shell)?),
        Verb::Man { dir } => manual::man_pages(&dir),
    }
}

/// For the verbs that end as a command of the caller's does.
fn end_with(code: u8) -> ! {
    std::process::exit(code.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    #[test]
    fn each_kind_of_failure_has_its_code() {
        assert_eq!(exit_code(|| Ok(())), 0);
        assert_eq!(exit_code(|| Err(Failure::message(Kind::Refused, "x"))), 4);
        assert_eq!(
            exit_code(|| Err(Error::from(ErrorKind::BrokenPipe).into())),
            0
        );
        assert_eq!(exit_code(|| panic!("a fault, made to be seen")), 5);
    }
}
