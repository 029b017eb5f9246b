//! The command itself: started, listened to, waited for, and its files sent.

use crate::port::Port;
use anyhow::{Context, Result};
use plimsoll_lab::frame::Kind;
use plimsoll_lab::request::Request;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
        let child = command.spawn();
        let child = child.with_context(|| format!("starting {}", program.display()))?;
        listen(child, &request.copy_out, port)?
    };
    port.exit(status)
}

/// Relays both outputs until the command ends, then sends the files.
///
/// What the command left running sees the files off and is ended then: it holds the outputs open, and would
/// keep the guest for ever.
fn listen(mut child: Child, copy_out: &[PathBuf], port: &Port) -> Result<i32> {
    let stdout = child.stdout.take().context("its output")?;
    let stderr = child.stderr.take().context("its errors")?;
    std::thread::scope(|scope| {
        let errors = scope.spawn(|| port.relay(Kind::Stderr, stderr));
        let output = scope.spawn(|| port.relay(Kind::Stdout, stdout));
        let status = status_of(&child)?;
        for path in copy_out {
            send(path, port)?;
        }
        while !(output.is_finished() && errors.is_finished()) {
            end_all_others()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        for relay in [output, errors] {
            relay
                .join()
                .map_err(|_| anyhow::anyhow!("a relay died"))??;
        }
        Ok(status)
    })
}

/// Kills every process but this one. Kernel threads are in the list too and don't mind.
fn end_all_others() -> Result<()> {
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw).filter(|pid| *pid != Pid::INIT) {
            // One that has ended meanwhile is as good as killed.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    Ok(())
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

/// Sends a file, or all files below a directory. What can't be read is said and does not end the run; a pipe, which nobody may ever
/// write to, is not even opened.
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
    let opened = match fs::metadata(path) {
        Ok(kind) if !kind.is_file() => Err(std::io::Error::other("not a regular file")),
        Ok(_) => File::open(path),
        Err(error) => Err(error),
    };
    match opened {
        Err(error) => port.missing(path, &error),
        Ok(file) => {
            port.file(path)?;
            port.relay(Kind::Contents, file)
        }
    }
}
