//! A program under test: started in a process group of its own, ended with all of it.

use super::{Client, resume};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a program may take to end, or to get ready.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// A program that runs until this is dropped.
pub(super) struct Running {
    pub(super) child: Child,
    ending: Signal,
}

impl Running {
    pub(super) fn start(command: &mut Command) -> Self {
        Self {
            child: command.process_group(0).spawn().unwrap(),
            ending: Signal::KILL,
        }
    }

    /// One that has to be told to end by this signal: its processes are in several groups.
    pub(super) fn ended_by(mut self, ending: Signal) -> Self {
        self.ending = ending;
        self
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = resume(self.pid()); // nothing to do, unless a round failed
            let _ = kill_process(group, self.ending);
            until(|| !matches!(self.child.try_wait(), Ok(None)));
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Ends one process.
pub(super) fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _ = kill_process(pid.unwrap(), Signal::KILL);
}

/// Waits until something is so; gives whether it came to be.
pub(super) fn until(mut so: impl FnMut() -> bool) -> bool {
    let pauses = PATIENCE.as_millis() / PAUSE.as_millis();
    (0..pauses).any(|_| {
        let is = so();
        if !is {
            std::thread::sleep(PAUSE);
        }
        is
    })
}

/// A program that answers lines on its standard output to lines on its standard input.
pub(super) struct Lines {
    pub(super) running: Running,
    pub(super) ready: String,
    ticks: u64,
}

impl Lines {
    /// Starts it and waits for its first line, which begins with `ready`.
    pub(super) fn start(command: &mut Command) -> Self {
        Self::begin(command, "")
    }

    /// The same, for one that has to be asked this first.
    pub(super) fn begin(command: &mut Command, question: &str) -> Self {
        let running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut lines = Self {
            running,
            ready: String::new(),
            ticks: 0,
        };
        lines.ready = match question {
            "" => lines.read(),
            question => lines.answer(question),
        };
        assert!(lines.ready.starts_with("ready"), "{:?}", lines.ready);
        lines
    }

    fn read(&mut self) -> String {
        let mut line = String::new();
        let output = self.running.child.stdout.as_mut().unwrap();
        // It says nothing unasked, so a buffer loses nothing.
        BufReader::new(output).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(super) fn answer(&mut self, question: &str) -> String {
        let input = self.running.child.stdin.as_mut().unwrap();
        input.write_all(format!("{question}\n").as_bytes()).unwrap();
        self.read()
    }
}

impl Client for Lines {
    fn ask(&mut self) {
        let answer = self.answer("ping");
        let ticks = answer.strip_prefix("ticks ").unwrap().parse().unwrap();
        assert!(ticks > self.ticks, "its threads stand: {answer}");
        self.ticks = ticks;
    }

    fn check(&mut self) {
        assert_eq!(self.answer("check"), "right");
    }
}
