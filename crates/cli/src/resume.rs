//! `plimsoll resume`: parked trees run again.

use crate::args;
use crate::failure::{Failure, Kind};
use crate::park::{catch_signals, json_line, place};
use crate::progress::Progress;
use crate::terminal;
use crate::wake;
use plimsoll_park::back::{self, Manner};
use plimsoll_park::known;
use plimsoll_park::runtime::Runtime;
use plimsoll_park::{ParkError, own_memory};
use plimsoll_proc::Root;
use plimsoll_units::Bytes;
use serde::Serialize;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Resumes as asked.
pub(crate) fn run(args: &args::Resume) -> Result<(), Failure> {
    let root = Root::live();
    let runtime = Runtime::of_this_user().map_err(ParkError::from)?;
    // A pager that ended now would leave waiting threads: it works on to the end.
    let _interrupted = catch_signals()?;
    own_memory::spare();
    wake::ensure(&runtime);
    for pid in &args.pids {
        match (args.lazy, args.stay) {
            (true, false) => leave_to_a_pager(args, *pid)?,
            (true, true) => lazily(args, &root, &runtime, *pid)?,
            (false, _) => whole(args, &root, &runtime, *pid)?,
        }
    }
    known::sweep(&root, &runtime, &place(&[]))?;
    Ok(())
}

fn whole(args: &args::Resume, root: &Root, runtime: &Runtime, pid: u32) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut progress = Progress::new("resume", pid, args.progress);
    let mut manner = Manner {
        lazy: false,
        room: None,
        running: &mut |_| {},
        progress: &mut |back, all| progress.tell(back, all),
    };
    let resumed = back::resume_as(root, runtime, pid, &mut manner);
    progress.end();
    let resumed = resumed?;
    let told = Told {
        schema: "plimsoll.resume/1",
        pid,
        via: resumed.record.means.name(),
        lazy: false,
        returned_bytes: resumed.returned_bytes,
        running_after_ms: ms(resumed.running_after),
        took_ms: ms(begun.elapsed()),
        own_peak_bytes: own_memory::peak(root).map(Bytes::get),
    };
    terminal::print(&told.words(args.json)?)?;
    if let Some(why) = resumed.swap_kept.filter(|_| !args.json) {
        terminal::print(&format!("  The swap file stays for now: {why}\n"))?;
    }
    Ok(())
}

/// Is the pager of a lazily resumed tree. It says one line once the tree runs, then no more.
fn lazily(args: &args::Resume, root: &Root, runtime: &Runtime, pid: u32) -> Result<(), Failure> {
    // No terminal that is closed is ours.
    let _ = rustix::process::setsid();
    let begun = Instant::now();
    let mut manner = Manner {
        lazy: true,
        room: None,
        running: &mut |record| {
            let told = Told {
                schema: "plimsoll.resume/1",
                pid,
                via: record.means.name(),
                lazy: true,
                returned_bytes: 0,
                running_after_ms: ms(begun.elapsed()),
                took_ms: ms(begun.elapsed()),
                own_peak_bytes: own_memory::peak(root).map(Bytes::get),
            };
            // Who waited for the line may have gone away.
            let _ = told.words(args.json).map(|words| terminal::print(&words));
        },
        progress: &mut |_, _| {},
    };
    back::resume_as(root, runtime, pid, &mut manner)?;
    Ok(())
}

/// Starts a pager that stays, and waits until the tree runs.
fn leave_to_a_pager(args: &args::Resume, pid: u32) -> Result<(), Failure> {
    let mut pager = Command::new("/proc/self/exe");
    pager.arg0("plimsoll").args(["resume", "--lazy", "--stay"]);
    if args.json {
        pager.arg("--json");
    }
    let mut pager = pager
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(says) = pager.stdout.take() {
        BufReader::new(says).read_line(&mut line)?;
    }
    if !line.is_empty() {
        terminal::print(&line)?;
        return Ok(());
    }
    let mut why = String::new();
    if let Some(mut says) = pager.stderr.take() {
        says.read_to_string(&mut why)?;
    }
    eprint!("{why}");
    std::process::exit(pager.wait()?.code().unwrap_or(Kind::Fault as i32))
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
struct Told {
    schema: &'static str,
    pid: u32,
    via: &'static str,
    /// Whether memory comes back only as it is touched.
    lazy: bool,
    returned_bytes: u64,
    running_after_ms: u64,
    took_ms: u64,
    /// The most memory that this program took.
    own_peak_bytes: Option<u64>,
}

impl Told {
    fn words(&self, json: bool) -> Result<String, Failure> {
        if json {
            return json_line(self);
        }
        let behind = match self.lazy {
            true => "memory comes back as it is touched".to_owned(),
            false => format!(
                "{} brought back in {} ms",
                Bytes(self.returned_bytes),
                self.took_ms
            ),
        };
        Ok(format!(
            "Resumed {}: running after {} ms, {behind}\n",
            self.pid, self.running_after_ms
        ))
    }
}
