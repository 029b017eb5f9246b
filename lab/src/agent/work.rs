//! The command itself: started, listened to, waited for, and its files sent.

use crate::port::Port;
use anyhow::{Context, Result};
use plimsoll_lab::frame::Kind;
use plimsoll_lab::request::Request;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) fn run(request: &Request, port: &Port) -> Result<()> {
    let (program, arguments) = request.command.split_first().context("no command")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PATH", "/bin")
        .env("HOME", "/root")
        .current_dir("/root");
    let status = if request.interactive {
        status_of(&command.spawn()?)?
    } else {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        listen(child, port)?
    };
    for path in &request.copy_out {
        send(path, port)?;
    }
    port.exit(status)
}

/// Relays both outputs until the command ends and no one holds them any more.
fn listen(mut child: Child, port: &Port) -> Result<i32> {
    let stdout = child.stdout.take().context("its output")?;
    let stderr = child.stderr.take().context("its errors")?;
    std::thread::scope(|scope| {
        let errors = scope.spawn(|| port.relay(Kind::Stderr, stderr));
        let output = scope.spawn(|| port.relay(Kind::Stdout, stdout));
        let status = status_of(&child)?;
        for relay in [output, errors] {
            relay
                .join()
                .map_err(|_| anyhow::anyhow!("a relay died"))??;
        }
        Ok(status)
    })
}

/// Waits for the command and, as the first process must, for every orphan meanwhile.
fn status_of(child: &Child) -> Result<i32> {
    let awaited = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        if let Some((pid, status)) = wait(WaitOptions::empty())?
            && Some(pid) == awaited
        {
            return Ok(exit_code(status));
        }
    }
}

/// As a shell puts it.
fn exit_code(status: WaitStatus) -> i32 {
    let signal = || status.terminating_signal().unwrap_or_default();
    status
        .exit_status()
        .unwrap_or_else(|| signal().saturating_add(128))
}

/// Sends a file, or all files below a directory. What can't be read is said and does not end the run.
fn send(path: &Path, port: &Port) -> Result<()> {
    let children = match fs::symlink_metadata(path) {
        Ok(kind) if kind.is_dir() => fs::read_dir(path),
        Ok(_) => return send_file(path, port),
        Err(error) => Err(error),
    };
    match children {
        Err(error) => port.missing(path, &error),
        Ok(children) => {
            for child in children {
                send(&child?.path(), port)?;
            }
            Ok(())
        }
    }
}

fn send_file(path: &Path, port: &Port) -> Result<()> {
    match File::open(path) {
        Err(error) => port.missing(path, &error),
        Ok(file) => {
            port.file(path)?;
            port.relay(Kind::Contents, file)
        }
    }
}
