//! The hidden verb that `plimsoll run` starts: it enters the groups of the hold, then becomes the command.
//!
//! So the command is in them from its first instruction, and this program makes no process that runs anything but its own
//! code between fork and exec.

use super::args::Enter;
use crate::failure::Failure;
use plimsoll_cgroup::mount::Version;
use plimsoll_cgroup::write::Group;
use plimsoll_hold::HoldError;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Does not come back where the command could be started; else gives the exit code that shells have for that.
pub(crate) fn enter(args: &Enter) -> Result<u8, Failure> {
    let us = std::process::id();
    for (version, paths) in [(Version::V1, &args.v1), (Version::V2, &args.v2)] {
        for path in paths {
            let entered = Group::open(version, path).and_then(|group| group.enter(us));
            entered.map_err(HoldError::from)?;
        }
    }
    let mut words = args.command.iter();
    let program = words.next().cloned().unwrap_or_default();
    let error = Command::new(&program).args(words).exec();
    eprintln!("plimsoll: cannot run {}: {error}", program.display());
    Ok(if error.kind() == ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    })
}

/// As in `env(1)` and every shell.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
