//! What wakes a parked tree: the watcher is started where one is missing, and told of in words.

use crate::failure::Failure;
use crate::terminal;
use plimsoll_park::ParkError;
use plimsoll_park::runtime::{Record, Runtime};
use plimsoll_park::wake::{self, Wait, WakeOn};
use plimsoll_proc::Root;
use serde::Serialize;
use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// `plimsoll watch`: the watcher itself.
pub(crate) fn watch() -> Result<(), Failure> {
    let runtime = Runtime::of_this_user().map_err(ParkError::from)?;
    // Who waits for the line may have gone away.
    let ready = || drop(terminal::print(&format!("{}\n", wake::READY)));
    wake::watch(&Root::live(), &runtime, ready)?;
    Ok(())
}

/// Sees to it that what is parked to wake for input is watched: every verb that has to do with parking does.
pub(crate) fn ensure(runtime: &Runtime) {
    let mut watcher = Command::new("/proc/self/exe");
    if let Err(error) = wake::ensure(runtime, watcher.arg0("plimsoll").arg("watch")) {
        eprintln!(
            "{}\nhint: the next plimsoll tries again",
            Failure::from(error)
        );
    }
}

/// What wakes a tree, for programs.
#[derive(Serialize)]
pub(crate) struct Told<'r> {
    wake: WakeOn,
    /// Whether somebody watches; of one that wakes for nothing, no.
    watched: bool,
    waits_on: &'r [Wait],
    /// Until the end of its sleep wakes it, in milliseconds.
    wakes_in_ms: Option<u64>,
    /// Its shortest sleep that is too short to wake it.
    housekeeping_ms: Option<u64>,
    unwatched_threads: u32,
}

impl<'r> Told<'r> {
    pub(crate) fn of(runtime: &Runtime, record: &'r Record) -> Result<Self, ParkError> {
        let waits = &record.waits;
        Ok(Self {
            wake: record.wake,
            watched: record.wake == WakeOn::Input && runtime.is_watched()?,
            waits_on: &waits.descriptors,
            wakes_in_ms: waits.deadline.map(|deadline| ms(deadline.left())),
            housekeeping_ms: waits.housekeeping_ms,
            unwatched_threads: waits.unwatched_threads,
        })
    }

    /// In one sentence.
    pub(crate) fn words(&self) -> String {
        let mut text = match (self.wake, self.watched) {
            (WakeOn::Never, _) => "wakes for nothing but plimsoll resume; sleeps on ",
            (WakeOn::Input, true) => "wakes for ",
            (WakeOn::Input, false) => "not watched; would wake for ",
        }
        .to_owned();
        text += &things(self.waits_on, self.wakes_in_ms);
        if let (WakeOn::Input, Some(shortest)) = (self.wake, self.housekeeping_ms) {
            let most = wake::HOUSEKEEPING.as_secs();
            let _ = write!(
                text,
                "; not for its own ticks of less than {most} s (the shortest: {shortest} ms)"
            );
        }
        if let (WakeOn::Input, at_work @ 1..) = (self.wake, self.unwatched_threads) {
            let threads = if at_work == 1 {
                "thread was"
            } else {
                "threads were"
            };
            let _ = write!(
                text,
                "; {at_work} {threads} at work, and nobody knows what for: resume it by hand"
            );
        }
        text
    }
}

fn things(waits: &[Wait], wakes_in_ms: Option<u64>) -> String {
    let mut things: Vec<String> = waits.iter().map(thing).collect();
    things.sort_unstable();
    things.dedup();
    things
        .extend(wakes_in_ms.map(|left| format!("the end of a sleep in {} s", left.div_ceil(1000))));
    if things.is_empty() {
        "signals only".to_owned()
    } else {
        things.join(", ")
    }
}

fn thing(wait: &Wait) -> String {
    match &wait.unwatched {
        None => wait.what.clone(),
        Some(why) => format!("(not {}: {why})", wait.what),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// For the command line's word.
impl From<crate::args::Wake> for WakeOn {
    fn from(asked: crate::args::Wake) -> Self {
        match asked {
            crate::args::Wake::Input => Self::Input,
            crate::args::Wake::Never => Self::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(what: &str, unwatched: Option<&str>) -> Wait {
        Wait {
            pid: 1,
            fd: 0,
            events: 1,
            what: what.to_owned(),
            unwatched: unwatched.map(str::to_owned),
        }
    }

    fn told(wake: WakeOn, watched: bool, waits_on: &[Wait]) -> String {
        let told = Told {
            wake,
            watched,
            waits_on,
            wakes_in_ms: None,
            housekeeping_ms: Some(100),
            unwatched_threads: 0,
        };
        told.words()
    }

    #[test]
    fn what_wakes_in_words() {
        let terminal = wait("terminal /dev/pts/3", None);
        let all = [terminal.clone(), terminal, wait("x", Some("why"))];
        assert_eq!(
            told(WakeOn::Input, true, &all),
            "wakes for (not x: why), terminal /dev/pts/3; not for its own ticks of less than 10 s (the shortest: 100 ms)"
        );
        assert_eq!(
            told(WakeOn::Never, false, &all[..1]),
            "wakes for nothing but plimsoll resume; sleeps on terminal /dev/pts/3"
        );
        assert!(
            told(WakeOn::Input, false, &[]).starts_with("not watched; would wake for signals only")
        );
        assert_eq!(things(&[], Some(61_500)), "the end of a sleep in 62 s");
    }
}
