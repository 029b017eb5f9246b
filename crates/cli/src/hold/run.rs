//! `plimsoll run`: a command in a hold of its own, from its first instruction to its end.
//!
//! We wait for the command, pass signals on, and end as it ended. What the terminal sends (Ctrl-C, Ctrl-\) it sends to
//! the command too, so that is not passed on a second time.

use super::args::Run;
use super::words;
use crate::failure::{Failure, Kind};
use plimsoll_cgroup::mount::Version;
use plimsoll_hold::holding::{self, Held};
use plimsoll_hold::host::Host;
use plimsoll_hold::record::Records;
use plimsoll_hold::{HoldError, show};
use plimsoll_proc::Root;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

/// Gives the command's exit code; where a signal ended it, the same signal ends us.
pub(crate) fn run(args: &Run) -> Result<u8, Failure> {
    let root = Root::live();
    let records = Records::of_this_user()?;
    holding::living(&root, &records)?;
    let host = Host::read(&root)?;
    let name = args
        .name
        .clone()
        .unwrap_or_else(|| default_name(&args.command));
    let numbers = args.numbers.numbers();
    let (held, mut command) = if host.systemd && host.memory.version == Version::V2 {
        let user = !rustix::process::geteuid().is_root();
        let (held, words) =
            holding::start_scope(&root, &records, &host, &name, numbers, user, &args.command)?;
        (held, of_words(&words))
    } else {
        let new = holding::start(&root, &records, &host, &name, numbers)?;
        let command = entering(&new.held, &args.command)?;
        (new.held, command)
    };
    if !args.quiet {
        for remark in &held.remarks {
            eprintln!("plimsoll: {}", words::of(remark));
        }
    }
    let status = Signals::catch().and_then(|signals| {
        let child = command.spawn()?;
        signals.pass_to(child)
    });
    let done = finish(&root, &records, &host, &held, args.quiet);
    let status = status.map_err(|error| Failure::new(Kind::Failed, error))?;
    done?;
    Ok(end_like(status))
}

/// The command's name and our process id.
fn default_name(command: &[OsString]) -> String {
    let program = command.first().map_or(OsStr::new(""), OsString::as_os_str);
    let base = super::name_of(&program.to_string_lossy());
    format!("{base}-{}", std::process::id())
}

/// This program again, which enters the groups and becomes the command.
fn entering(held: &Held, command: &[OsString]) -> Result<Command, Failure> {
    let mut again = Command::new(std::env::current_exe()?);
    again.arg("enter");
    let option = match held.record.interface() {
        Version::V1 => "--v1",
        Version::V2 => "--v2",
    };
    again.arg(option).arg(&held.record.group);
    if let Some(pressure) = &held.record.pressure {
        again.arg("--v2").arg(pressure);
    }
    again.arg("--").args(command);
    Ok(again)
}

fn of_words(words: &[OsString]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().cloned().unwrap_or_default());
    command.args(words);
    command
}

/// Signals that are passed on, each with where it is told.
struct Signals(Vec<(Signal, UnixStream)>);

impl Signals {
    fn catch() -> io::Result<Self> {
        let all = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];
        let caught = all.into_iter().filter_map(|number| {
            let signal = Signal::from_named_raw(number)?;
            Some(tell(number).map(|told| (signal, told)))
        });
        Ok(Self(caught.collect::<io::Result<_>>()?))
    }

    /// Waits for the child's end, and passes on what comes meanwhile.
    fn pass_to(&self, mut child: Child) -> io::Result<ExitStatus> {
        let pid = Pid::from_child(&child);
        let end = pidfd_open(pid, PidfdFlags::empty())?;
        loop {
            let mut waited: Vec<PollFd<'_>> = vec![PollFd::new(&end, PollFlags::IN)];
            waited.extend(
                self.0
                    .iter()
                    .map(|(_, told)| PollFd::new(told, PollFlags::IN)),
            );
            match poll(&mut waited, None) {
                Err(Errno::INTR) => continue,
                polled => polled?,
            };
            let mut ready = waited.iter().map(|fd| !fd.revents().is_empty());
            if ready.next().unwrap_or(false) {
                return child.wait();
            }
            let came: Vec<bool> = ready.collect();
            for ((signal, told), _) in self.0.iter().zip(came).filter(|(_, came)| *came) {
                let mut told: &UnixStream = told;
                let _ = told.read(&mut [0; 64])?;
                if !(is_of_terminal(*signal) && is_in_foreground()) {
                    let _ = kill_process(pid, *signal); // it may have ended
                }
            }
        }
    }
}

fn tell(number: i32) -> io::Result<UnixStream> {
    let (told, teller) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(number, teller)?;
    Ok(told)
}

fn is_of_terminal(signal: Signal) -> bool {
    matches!(signal, Signal::INT | Signal::QUIT | Signal::WINCH)
}

/// Whether what a terminal sends, it sends to us and the command alike.
fn is_in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    let group = terminal.and_then(|terminal| Ok(rustix::termios::tcgetpgrp(terminal)?));
    group.is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Removes the group, unless somebody stayed behind in it, and says what happened in it.
fn finish(
    root: &Root,
    records: &Records,
    host: &Host,
    held: &Held,
    quiet: bool,
) -> Result<(), HoldError> {
    let record = &held.record;
    let shown = show::show(root, &host.memory, record)?;
    let Some(shown) = shown else {
        return records.remove(&record.name);
    };
    let count = |event: &str| {
        let events = shown.counters.iter().flat_map(|counter| &counter.events);
        let of_event = events.filter(|one| one.event == event);
        of_event.map(|one| one.count).sum::<u64>()
    };
    let kills = count("oom_kill");
    if kills > 0 && !quiet {
        eprintln!(
            "plimsoll: the kernel killed {kills} time(s) in {}: {} of RAM and {} of swap were not enough",
            record.name, record.numbers.ram, record.numbers.swap
        );
    }
    match shown.processes {
        Some(left) if left > 0 => {
            if !quiet {
                eprintln!(
                    "plimsoll: {left} process(es) run on, held as {}; end the hold: plimsoll release {0}",
                    record.name
                );
            }
            Ok(())
        }
        _ => holding::release(records, record),
    }
}

/// Ends by the signal that ended the command; else gives its exit code.
fn end_like(status: ExitStatus) -> u8 {
    let by_signal = status.signal();
    if let Some(number) = by_signal {
        // No second core dump: that of the command is the one that is wanted.
        let none = rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        let _ = signal_hook::low_level::emulate_default_handler(number);
        if let Some(signal) = Signal::from_named_raw(number) {
            let _ = kill_process(rustix::process::getpid(), signal);
        }
    }
    // A signal that ends nobody twice: what a shell would say.
    let code = status
        .code()
        .or_else(|| by_signal.map(|number| 128 + number));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
