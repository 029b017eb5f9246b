//! `plimsoll guard`: the daemon, its helpers, and what tells of it.

pub(crate) mod args;
mod log;
mod status;

use crate::failure::{Failure, Kind};
use crate::interrupt::Interrupt;
use crate::park::{json_line, place};
use crate::terminal;
use anyhow::Context;
use args::{GuardArgs, What};
use plimsoll_cgroup::mount;
use plimsoll_guard::config::ConfigError;
use plimsoll_guard::hand::crew::packets;
use plimsoll_guard::hand::work::Tools;
use plimsoll_guard::hand::{release, serve};
use plimsoll_guard::notify::Manager;
use plimsoll_guard::replay::ReplayError;
use plimsoll_guard::watch::WatchError;
use plimsoll_guard::{Guard, GuardError, Policy, Setup, replay, scribe};
use plimsoll_hold::record::Records;
use plimsoll_park::ParkError;
use plimsoll_park::runtime::Runtime;
use plimsoll_proc::Root;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::setpriority_process;
use serde::Serialize;
use std::io::{self, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where the configuration is looked for when nobody says.
const DEFAULT_CONFIG: &str = "/etc/plimsoll/guard.toml";

pub(crate) fn run(args: &GuardArgs) -> Result<(), Failure> {
    let policy = policy(args)?;
    match &args.what {
        None => guard(args, policy),
        Some(What::Status { json }) => status::run(&policy, *json),
        Some(What::Log { json }) => log::run(&policy, *json),
        Some(What::Replay { recording, json }) => replayed(&policy, recording, *json),
        Some(What::Thaw) => thaw(policy),
        Some(What::Hand { thaws }) => hand(policy, *thaws),
        Some(What::Scribe) => {
            Ok(scribe::write_down(io::stdin(), &policy.files).map_err(io::Error::from)?)
        }
    }
}

/// That of the file that was named, or of the usual one where it is there.
fn policy(args: &GuardArgs) -> Result<Policy, Failure> {
    let usual = Path::new(DEFAULT_CONFIG);
    match &args.config {
        Some(path) => Ok(Policy::read(path)?),
        None if usual.exists() => Ok(Policy::read(usual)?),
        None => Ok(Policy::default()),
    }
}

fn guard(args: &GuardArgs, policy: Policy) -> Result<(), Failure> {
    let end = Interrupt::catch().context("cannot wait for signals");
    let end = end.map_err(|error| Failure::new(Kind::Fault, error))?;
    let root = Root::live();
    let hierarchy = mount::memory(&root)
        .ok()
        .and_then(|all| all.into_iter().next());
    if hierarchy.is_none() {
        eprintln!(
            "plimsoll: note: there is no memory controller: only single processes are guarded"
        );
    }
    let runtime = Runtime::of_this_user().map_err(ParkError::from)?;
    let holds = Records::of_this_user()
        .inspect_err(|error| eprintln!("plimsoll: note: holds are not known: {error}"))
        .ok();
    let (pen, theirs) = packets().map_err(io::Error::from)?;
    let mut scribe = helper(args, &["scribe"], theirs)?;
    let hire = |socket: OwnedFd, thaws: bool| {
        let words: &[&str] = if thaws {
            &["hand", "--thaws"]
        } else {
            &["hand"]
        };
        helper(args, words, socket)
    };
    let setup = Setup {
        policy,
        dry_run: args.dry_run,
        hierarchy,
        parked: runtime.dir(),
        holds: holds.as_ref().map(Records::dir),
        hire: Box::new(hire),
        scribe: (pen, scribe.id()),
        manager: Manager::at(std::env::var_os("NOTIFY_SOCKET").as_deref()),
    };
    let mut note =
        |what: &str, why: &dyn std::fmt::Display| eprintln!("plimsoll: note: {what}: {why}");
    let guard = Guard::prepare(setup, &mut note)?;
    eprintln!(
        "plimsoll guard: at work{}",
        if args.dry_run {
            ", and only saying what it would do"
        } else {
            ""
        }
    );
    guard.run(end.as_fd())?;
    scribe.wait()?; // the last lines are written
    Ok(())
}

/// One of the guard's helpers: this program, which finds its socket where others have stdin.
fn helper(args: &GuardArgs, words: &[&str], socket: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("plimsoll").arg("guard");
    if let Some(config) = &args.config {
        command.arg("--config").arg(config);
    }
    // Ctrl-C is for the guard; its helpers end when it has.
    command
        .args(words)
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
}

fn tools(policy: Policy) -> Result<Tools, Failure> {
    Ok(Tools {
        policy,
        hierarchy: mount::memory(&Root::live())
            .ok()
            .and_then(|all| all.into_iter().next()),
        runtime: Runtime::of_this_user().map_err(ParkError::from)?,
        place: place(&[]),
        program: "/proc/self/exe".into(),
    })
}

fn hand(policy: Policy, thaws: bool) -> Result<(), Failure> {
    let tools = tools(policy)?;
    // What it touches stays, so that it can go on while memory is short. Without the right to, it may still do.
    let touched = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    let _ = mlockall(touched);
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    // The quick one must not wait its turn behind what it is to freeze. The others, and what they start, take their turn, also
    // where the loop hired them while it had more right than others.
    let _ = setpriority_process(None, if thaws { -20 } else { 0 });
    Ok(serve(io::stdin(), &tools, thaws).map_err(io::Error::from)?)
}

fn thaw(policy: Policy) -> Result<(), Failure> {
    let (released, failed) = release(&tools(policy)?);
    terminal::print(&format!("{released} workloads run again\n"))?;
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(Failure::message(
            Kind::Failed,
            format!("cannot thaw {first}"),
        )),
    }
}

#[derive(Serialize)]
struct Replayed<'a> {
    schema: &'static str,
    #[serde(flatten)]
    act: &'a plimsoll_guard::Act,
}

fn replayed(policy: &Policy, recording: &Path, json: bool) -> Result<(), Failure> {
    let file = std::fs::File::open(recording)
        .with_context(|| format!("cannot open {}", recording.display()));
    let file = file.map_err(|error| Failure::new(Kind::Failed, error))?;
    let mut failed = None;
    let mut acts = 0;
    let count = replay(policy, BufReader::new(file), |act| {
        acts += 1;
        let document = Replayed {
            schema: "plimsoll.guard-replay/1",
            act,
        };
        let told = match json {
            true => json_line(&document),
            false => Ok(format!("{:>10.1} s  {act}\n", seconds(act.at_ms))),
        };
        let told = told.and_then(|text| Ok(terminal::print(&text)?));
        failed = failed.take().or(told.err());
    })?;
    match failed {
        Some(failure) => Err(failure),
        None if json => Ok(()),
        None => Ok(terminal::print(&format!("{count} looks, {acts} acts\n"))?),
    }
}

/// For people: a recording is of a few hours, which an f64 holds to far less than a millisecond.
fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let kind = match &error {
            ConfigError::Read { .. } => Kind::Failed,
            ConfigError::Wrong { .. } => Kind::Usage,
        };
        Self::new(kind, error)
    }
}

impl From<GuardError> for Failure {
    fn from(error: GuardError) -> Self {
        let kind = match &error {
            GuardError::Control(_, source) if source.kind() == io::ErrorKind::AddrInUse => {
                Kind::Refused
            }
            GuardError::Control(_, source) | GuardError::Watch(WatchError::Stopped(_, source))
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                return Self::new(Kind::NotPermitted, error).hint("run it as root");
            }
            GuardError::Wait(_) => Kind::Fault,
            _ => Kind::Failed,
        };
        Self::new(kind, error)
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        Self::new(Kind::Failed, error)
    }
}
