//! `plimsoll restore --lazy`: the tree runs before its memory is there. A program that stays behind restores it, says one line, and
//! is the pager until all has come.

use super::{RestoreArgs, Running};
use crate::failure::{Failure, Kind};
use crate::park::{catch_signals, json_line};
use crate::terminal;
use plimsoll_checkpoint::{GroupRoots, Kinship, ManageGroups, Restore};
use plimsoll_park::back::Manner;
use plimsoll_park::runtime::Runtime;
use plimsoll_park::{ParkError, own_memory};
use plimsoll_proc::Root;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Starts a restorer that stays behind, and waits until the tree runs: as a child of ours.
pub(super) fn leave_to_a_pager(args: &RestoreArgs) -> Result<Running, Failure> {
    let mut pager = Command::new("/proc/self/exe");
    let mut pager = pager
        .arg0("plimsoll")
        .args(["restore", "--lazy", "--stay"])
        .arg(&args.dir)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(says) = pager.stdout.take() {
        BufReader::new(says).read_line(&mut line)?;
    }
    match serde_json::from_str(&line) {
        Ok(running) => Ok(running),
        // It has said why.
        Err(_) => std::process::exit(pager.wait()?.code().unwrap_or(Kind::Fault as i32)),
    }
}

/// Restores a tree as a child of who started us, says so, and brings its memory.
pub(super) fn restore_and_stay(args: &RestoreArgs) -> Result<(), Failure> {
    let root = Root::live();
    let runtime = Runtime::of_this_user().map_err(ParkError::from)?;
    let restore = Restore {
        root: &root,
        directory: &args.dir,
        kinship: Kinship::Sibling,
        stopped: false,
        tcp_close: false,
        groups: ManageGroups::default(),
        group_roots: &GroupRoots::new(),
    };
    let (restored, promised) = restore.run_lazily(&runtime)?;
    let Some(promised) = promised else {
        return Ok(terminal::print(&json_line(&Running::of(&restored, 0))?)?);
    };
    let later_bytes = promised.bytes();
    let mut manner = Manner {
        lazy: false,
        room: None,
        running: &mut |_| {
            // Who waited for the line may have gone away.
            let said = json_line(&Running::of(&restored, later_bytes));
            let _ = said.map(|words| terminal::print(&words));
            leave_the_terminal();
        },
        progress: &mut |_, _| {},
    };
    // A pager that ended now would leave waiting threads: it works on to the end.
    let _interrupted = catch_signals()?;
    own_memory::spare();
    promised.keep(&root, &runtime, &mut manner)?;
    Ok(())
}

/// Nothing that is closed, hung up or waited for the end of is ours from now on. What can't be brought, the next `resume` tells.
fn leave_the_terminal() {
    let _ = rustix::process::setsid();
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
}
