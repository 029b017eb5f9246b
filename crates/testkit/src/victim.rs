//! Victims: programs started for a test, that check themselves (see the binary `victim`).

use crate::OwnGroup;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// A running victim. Dropped without [`Victim::end`], it is killed; one that holds memory ends by itself instead, since it
/// has to give back what would outlive it, unless it can't: a test that fails leaves it parked, stopped or frozen.
#[derive(Debug)]
pub struct Victim {
    child: Child,
    held_bytes: Option<u64>,
}

impl Victim {
    /// Builds the program, unless that has been done: for who measures what a victim takes.
    ///
    /// # Errors
    /// When it can't be built.
    pub fn build() -> io::Result<()> {
        binary().map(drop)
    }

    /// Starts a victim of this kind and waits until it is ready.
    ///
    /// # Errors
    /// When it can't be built or started, or refuses.
    pub fn start(kind: &str) -> io::Result<Self> {
        Self::start_with(&mut Command::new(binary()?), kind)
    }

    /// Starts one that holds memory, one part in so many of its full size.
    ///
    /// # Errors
    /// As [`Victim::start`].
    pub fn start_part(kind: &str, part: u32) -> io::Result<Self> {
        let mut command = Command::new(binary()?);
        Self::start_with(command.arg(kind), &part.to_string())
    }

    /// The same as [`Victim::start`], in a network namespace of its own (`unshare(1)`).
    ///
    /// # Errors
    /// As [`Victim::start`]; where `unshare` fails, nothing gets ready.
    pub fn start_in_own_network(kind: &str) -> io::Result<Self> {
        Self::start_with(Command::new("unshare").arg("--net").arg(binary()?), kind)
    }

    /// Starts one in a control group, so that all its memory is charged there.
    ///
    /// # Errors
    /// As [`Victim::start`]; where the group takes nobody, nothing gets ready.
    pub fn start_in(group: &OwnGroup, kind: &str, part: u32) -> io::Result<Self> {
        const ENTER: &str = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        let mut command = Command::new("sh");
        command.args(["-c", ENTER]).arg(group.path());
        Self::start_with(command.arg(binary()?).arg(kind), &part.to_string())
    }

    fn start_with(command: &mut Command, kind: &str) -> io::Result<Self> {
        let mut child = command
            .arg(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = &mut child.stdout {
            BufReader::with_capacity(1, stdout).read_line(&mut line)?;
        }
        let Some(held) = line.strip_prefix("ready") else {
            return Err(io::Error::other(format!("the victim said {line:?}")));
        };
        let held_bytes = held.trim().parse().ok();
        Ok(Self { child, held_bytes })
    }

    /// How much memory it took, in bytes, where it is one that holds memory.
    #[must_use]
    pub fn held_bytes(&self) -> Option<u64> {
        self.held_bytes
    }

    /// Says a line to one that answers lines, and gives its answer.
    ///
    /// # Errors
    /// When it has ended.
    pub fn ask(&mut self, line: &str) -> io::Result<String> {
        let (Some(stdin), Some(stdout)) = (&mut self.child.stdin, &mut self.child.stdout) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        writeln!(stdin, "{line}")?;
        let mut answer = String::new();
        BufReader::with_capacity(1, stdout).read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether it still runs; one that saw anything amiss has ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Lets it come to its end and gives its last words: `ok`, how often it acted, signals it saw.
    ///
    /// # Errors
    /// When it saw anything amiss, or was killed.
    pub fn end(mut self) -> io::Result<String> {
        drop(self.child.stdin.take());
        let mut words = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            stdout.read_to_string(&mut words)?;
        }
        let status = self.child.wait()?;
        if !status.success() || !words.starts_with("ok ") {
            return Err(io::Error::other(format!(
                "the victim ended with {status}: {words:?}"
            )));
        }
        Ok(words)
    }
}

/// How long one that is dropped may take to give back what it holds, and who is killed to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if self.held_bytes.is_none() || !self.comes_to_its_end(Self::is_stopped) {
            let _ = self.child.kill();
            if !self.comes_to_its_end(|_| false) {
                eprintln!("victim {} stays: it is frozen", self.child.id());
            }
        }
    }
}

impl Victim {
    /// Waits for its end, unless it `can_not` come there.
    fn comes_to_its_end(&mut self, can_not: impl Fn(&Self) -> bool) -> bool {
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if can_not(self) || begun.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        stat.is_ok_and(|stat| stat.contains(") T "))
    }
}

/// The program, built once by each test process: cargo builds no other package's binaries for a test.
fn binary() -> io::Result<&'static PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| build().map_err(|error| error.to_string()));
    built
        .as_ref()
        .map_err(|error| io::Error::other(error.clone()))
}

fn build() -> io::Result<PathBuf> {
    // Without cargo, in a guest of the lab for one, it lies where it was copied to.
    if let Some(cargo) = std::env::var_os("CARGO") {
        let built = Command::new(cargo)
            .args(["build", "-q", "-p", "plimsoll-testkit", "--bin", "victim"])
            // Where the test looks for it: beside itself.
            .args((!cfg!(debug_assertions)).then_some("--release"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()?;
        if !built.success() {
            return Err(io::Error::other("the victim can't be built"));
        }
    }
    // Tests run from target/debug/deps.
    let test = std::env::current_exe()?;
    let places = test.ancestors().skip(1).take(2);
    let binary = places
        .map(|dir| dir.join("victim"))
        .find(|path| path.is_file());
    binary.ok_or_else(|| io::Error::other("no victim beside the test, and no cargo to build it"))
}

#[cfg(test)]
mod tests {
    use super::Victim;
    use rustix::process::{Signal, kill_process, test_kill_process};

    #[test]
    fn one_that_holds_memory_and_is_stopped_does_not_hold_up_its_drop() {
        let victim = Victim::start_part("anon", 64).unwrap();
        let pid = victim.pid();
        assert!(victim.held_bytes().is_some());
        kill_process(pid, Signal::STOP).unwrap();
        drop(victim);
        assert!(test_kill_process(pid).is_err());
    }
}
