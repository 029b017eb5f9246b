//! What was changed on the machine for a run is put back after it, however the run ends: a shell waits for the end of
//! its input, which comes when the guard is dropped or this process dies.

use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Runs a script when it is dropped, or when this process ends.
pub struct Undo(Child);

impl Undo {
    /// The script's arguments are `$1` and so on.
    pub fn by(script: &str, arguments: &[&OsStr]) -> Result<Self> {
        let child = Command::new("sh")
            .args(["-c", &format!("read -r _; {script}"), "undo"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0) // Ctrl-C is for the bench
            .spawn();
        Ok(Self(child.context("starting a shell")?))
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Runs a program to its end; its output, without blanks around it.
pub fn run(program: &str, arguments: &[&OsStr]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {program}"))?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
