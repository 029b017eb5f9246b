//! `plimsoll checkpoint` and `plimsoll restore`: a tree into a directory, and out of it.

mod lazily;

use crate::failure::{Failure, Kind};
use crate::park::json_line;
use crate::terminal;
use clap::Args;
use plimsoll_checkpoint::{
    After, Dump, Dumped, Error, GroupRoots, Kinship, ManageGroups, Obstacle, Options, Place,
    Restore, Restored,
};
use plimsoll_proc::Root;
use plimsoll_units::Bytes;
use rustix::process::{Pid, WaitOptions, waitpid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Write a process tree down, to start it again later
///
/// DIR becomes a set of images that `plimsoll restore`, CRIU and its tools read. It appears complete or not at
/// all, is readable by its owner only, and holds the memory of the processes: treat it as a secret. The tree
/// stands still meanwhile, and ends when the images are durable, unless it is to run on. What can't be
/// checkpointed yet is refused, and the tree runs on.
#[derive(Debug, Args)]
#[command(after_long_help = CHECKPOINT_EXAMPLES)]
pub(crate) struct CheckpointArgs {
    /// The process; all its descendants go with it
    pub(crate) pid: u32,

    /// A directory that does not exist yet
    pub(crate) dir: PathBuf,

    /// Let the tree run on
    #[arg(long)]
    pub(crate) leave_running: bool,

    /// Build on an earlier set of the same tree: pages that it has alike are not written again, and it must stay
    #[arg(long, value_name = "DIR")]
    pub(crate) parent: Option<PathBuf>,

    /// Pack the pages: zeros dropped, equal ones kept once, compressed, with checksums; CRIU can't read them then
    #[arg(long)]
    pub(crate) pack: bool,

    /// Its session and terminal are the shell's, and are found there again
    #[arg(long)]
    pub(crate) shell_job: bool,

    /// Give open files whose name is gone, but which another name keeps, a new name beside the old one
    #[arg(long)]
    pub(crate) link_remap: bool,

    /// Take TCP connections along whose other end is outside of the tree: it hears nothing until the restore
    #[arg(long)]
    pub(crate) tcp_established: bool,

    /// Let TCP connections come back closed
    #[arg(long, conflicts_with = "tcp_established")]
    pub(crate) tcp_close: bool,

    /// Print one JSON document, schema plimsoll.checkpoint/1
    #[arg(long)]
    pub(crate) json: bool,
}

const CHECKPOINT_EXAMPLES: &str = "\
Examples:
  plimsoll checkpoint 4711 /var/tmp/job         the tree ends once it is written down
  plimsoll checkpoint --leave-running 4711 /var/tmp/job
  plimsoll checkpoint --parent /var/tmp/job 4711 /var/tmp/job2      only what has changed since
  plimsoll restore /var/tmp/job                 start it again, with its pids";

/// Start a process tree again that was written down
///
/// The tree gets its old pids, so they must be free. It runs as a child of this command, which waits for
/// its root and ends as that did, or on its own. If anything fails nothing of it stays.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A directory that `plimsoll checkpoint` or CRIU wrote
    pub(crate) dir: PathBuf,

    /// Let it run at once, whatever its size: its memory comes behind, what is touched first
    ///
    /// A process that stays behind brings it out of DIR, and ends when all is there. Should it be killed, who touches what is
    /// not there yet waits; `plimsoll resume` brings the rest, `plimsoll parked` shows the tree. DIR must stay that long.
    #[arg(long)]
    pub(crate) lazy: bool,

    /// Restore and be the one that brings the memory
    #[arg(long, hide = true, requires = "lazy")]
    pub(crate) stay: bool,

    /// Do not wait for the tree: it runs on its own
    #[arg(long)]
    pub(crate) detach: bool,

    /// Print one JSON document, schema plimsoll.restore/1, once it runs
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long the tree may take to come to a stand.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn checkpoint(args: &CheckpointArgs) -> Result<(), Failure> {
    let root = Root::live();
    let parent = args.parent.as_ref().map(|parent| {
        let found = parent.canonicalize();
        found.map_err(|source| Error::File {
            operation: "find",
            path: parent.clone(),
            source,
        })
    });
    let parent = parent.transpose()?;
    let dump = Dump {
        root: &root,
        pid: args.pid,
        directory: &args.dir,
        place: Place::Fresh,
        parent: parent.as_deref(),
        pack: args.pack,
        after: if args.leave_running {
            After::Run
        } else {
            After::End
        },
        timeout: STOP_TIMEOUT,
        options: Options {
            shell_job: args.shell_job,
            file_locks: true,
            link_remap: args.link_remap,
            tcp_established: args.tcp_established,
            tcp_close: args.tcp_close,
            ..Options::default()
        },
        group_roots: &BTreeMap::new(),
    };
    let dumped = dump.run()?;
    terminal::print(&told(args, &dumped)?)?;
    Ok(())
}

#[derive(Serialize)]
struct Told {
    schema: &'static str,
    pid: u32,
    processes: usize,
    pages: u64,
    stood_still_ms: u64,
}

fn told(args: &CheckpointArgs, dumped: &Dumped) -> Result<String, Failure> {
    let told = Told {
        schema: "plimsoll.checkpoint/1",
        pid: args.pid,
        processes: dumped.processes,
        pages: dumped.pages,
        stood_still_ms: u64::try_from(dumped.stood_still.as_millis()).unwrap_or(u64::MAX),
    };
    if args.json {
        return json_line(&told);
    }
    Ok(format!(
        "Checkpointed {}: {} processes, {} pages; it stood still for {} ms\nStart it again: plimsoll restore {}\n",
        told.pid,
        told.processes,
        told.pages,
        told.stood_still_ms,
        args.dir.display(),
    ))
}

/// `plimsoll check --checkpoint`: everything that stands in the way; nothing is stopped.
pub(crate) fn check(pids: &[u32], json: bool) -> Result<(), Failure> {
    let root = Root::live();
    let mut refused = false;
    for pid in pids {
        let obstacles = plimsoll_checkpoint::obstacles(&root, *pid)?;
        refused |= !obstacles.is_empty();
        terminal::print(&if json {
            json_line(&Checked::of(*pid, &obstacles))?
        } else {
            checked(*pid, &obstacles)
        })?;
    }
    if refused {
        return Err(Failure::message(
            Kind::Refused,
            "not everything can be checkpointed",
        ));
    }
    Ok(())
}

#[derive(Serialize)]
struct Checked<'c> {
    schema: &'static str,
    pid: u32,
    obstacles: Vec<InTheWay<'c>>,
}

#[derive(Serialize)]
struct InTheWay<'c> {
    pid: Option<u32>,
    what: &'c str,
    remedy: &'c str,
    privilege: bool,
}

impl<'c> Checked<'c> {
    fn of(pid: u32, obstacles: &'c [Obstacle]) -> Self {
        let one = |obstacle: &'c Obstacle| InTheWay {
            pid: obstacle.pid,
            what: &obstacle.what,
            remedy: &obstacle.remedy,
            privilege: obstacle.is_privilege,
        };
        Self {
            schema: "plimsoll.check-checkpoint/1",
            pid,
            obstacles: obstacles.iter().map(one).collect(),
        }
    }
}

fn checked(pid: u32, obstacles: &[Obstacle]) -> String {
    if obstacles.is_empty() {
        return format!("{pid} can be checkpointed, as far as can be seen without stopping it\n");
    }
    let mut text = format!("{pid} can't be checkpointed\n");
    for obstacle in obstacles {
        let whose = obstacle.pid.map_or(String::new(), |pid| format!("{pid}: "));
        text += &format!(
            "  {whose}{}\n      remedy: {}\n",
            obstacle.what, obstacle.remedy
        );
    }
    text
}

pub(crate) fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let restored = match (args.lazy, args.stay) {
        (true, true) => return lazily::restore_and_stay(args),
        (true, false) => lazily::leave_to_a_pager(args)?,
        (false, _) => restore_whole(args)?,
    };
    if args.json {
        terminal::print(&json_line(&restored)?)?;
    } else if args.detach {
        let behind = match restored.later_bytes {
            0 => String::new(),
            later => format!(", {} of memory on their way", Bytes(later)),
        };
        terminal::print(&format!(
            "Restored {}: {} processes run{behind}\n",
            restored.pid, restored.processes
        ))?;
    }
    if args.detach {
        return Ok(());
    }
    wait_for(restored.pid)
}

fn restore_whole(args: &RestoreArgs) -> Result<Running, Failure> {
    let root = Root::live();
    let restore = Restore {
        root: &root,
        directory: &args.dir,
        kinship: Kinship::Child,
        stopped: false,
        tcp_close: false,
        groups: ManageGroups::default(),
        group_roots: &GroupRoots::new(),
    };
    Ok(Running::of(&restore.run()?, 0))
}

/// What is said once a tree runs.
#[derive(Serialize, Deserialize)]
struct Running {
    schema: String,
    pid: u32,
    processes: usize,
    /// Memory that is yet to come.
    later_bytes: u64,
}

impl Running {
    fn of(restored: &Restored, later_bytes: u64) -> Self {
        Self {
            schema: "plimsoll.restore/1".to_owned(),
            pid: restored.pid,
            processes: restored.processes,
            later_bytes,
        }
    }
}

/// Ends as the root of the tree does.
fn wait_for(top: u32) -> Result<(), Failure> {
    let pid = i32::try_from(top).ok().and_then(Pid::from_raw);
    let status = rustix::io::retry_on_intr(|| waitpid(pid, WaitOptions::empty()));
    let Ok(Some((_, status))) = status else {
        return Ok(());
    };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(Failure::message(
            Kind::Failed,
            format!("process {top} ended with code {code}"),
        )),
        (_, Some(signal)) => Err(Failure::message(
            Kind::Failed,
            format!("process {top} was ended by signal {signal}"),
        )),
        _ => Ok(()),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let error = match error {
            Error::Later(error) => return error.into(),
            error => error,
        };
        let kind = match &error {
            Error::Refused(obstacles) if obstacles.iter().all(|obstacle| obstacle.is_privilege) => {
                Kind::NotPermitted
            }
            Error::Refused(_) => Kind::Refused,
            _ => Kind::Failed,
        };
        Self::new(kind, error)
    }
}
