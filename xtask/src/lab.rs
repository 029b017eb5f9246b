//! `cargo xtask lab`: a command in a guest with another kernel, from the command line.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use plimsoll_lab::{Guest, Kernel, Outcome, Stream, cache_dir};
use plimsoll_units::Bytes;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// What can be done in the lab.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Boot a guest, run a command in it, and exit as it did.
    Run {
        #[command(flatten)]
        guest: GuestOptions,
        /// Send back this file, or all files of this directory; repeatable.
        #[arg(long, value_name = "GUEST:HOST", value_parser = pair)]
        copy_out: Vec<(PathBuf, PathBuf)>,
        /// Give up after so many seconds.
        #[arg(long, default_value_t = 300)]
        deadline_s: u64,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Boot a guest into a shell on this terminal.
    Shell {
        #[command(flatten)]
        guest: GuestOptions,
    },
    /// List the kernels that guests can boot.
    List,
}

/// What a guest is made of.
#[derive(Args)]
pub(crate) struct GuestOptions {
    /// One of the kernels of `cargo xtask lab list`.
    #[arg(long)]
    kernel: String,
    /// The guest's memory; its file system lies in there too.
    #[arg(long, default_value = "512M")]
    memory: Bytes,
    /// The guest's processors.
    #[arg(long, default_value_t = 1)]
    cpus: u32,
    /// Split its memory into so many NUMA nodes.
    #[arg(long, default_value_t = 1)]
    nodes: u32,
    /// Give it a swap disk of this size.
    #[arg(long)]
    swap: Option<Bytes>,
    /// Load this kernel module and those it needs; repeatable.
    #[arg(long)]
    module: Vec<String>,
    /// Add to the kernel's command line.
    #[arg(long, default_value = "")]
    append: String,
    /// Let its clock count instructions, so that a busy machine does not show in what is measured inside.
    #[arg(long)]
    steady: bool,
    /// Build this program of the workspace statically into the guest's `/bin`, beside `plimsoll`; repeatable.
    #[arg(long, value_name = "PACKAGE/NAME", value_parser = program)]
    program: Vec<(String, String)>,
    /// Copy this file or directory into the guest; repeatable.
    #[arg(long, value_name = "HOST:GUEST", value_parser = pair)]
    copy_in: Vec<(PathBuf, PathBuf)>,
}

fn pair(text: &str) -> Result<(PathBuf, PathBuf)> {
    let (from, to) = text
        .split_once(':')
        .context("two paths with a colon between them")?;
    Ok((from.into(), to.into()))
}

fn program(text: &str) -> Result<(String, String)> {
    let (package, name) = text
        .split_once('/')
        .context("a package and a program with a slash between them")?;
    Ok((package.to_owned(), name.to_owned()))
}

impl GuestOptions {
    fn guest(self) -> Result<Guest> {
        let mut programs = self.program;
        programs.push(("plimsoll-cli".to_owned(), "plimsoll".to_owned()));
        Ok(Guest {
            memory: self.memory,
            cpus: self.cpus,
            nodes: self.nodes,
            swap: self.swap,
            modules: self.module,
            programs,
            copy_in: self.copy_in,
            kernel_arguments: self.append,
            steady: self.steady,
            ..Guest::new(Kernel::named(&self.kernel)?)
        })
    }
}

/// Does it. A command in a guest gives us its own exit code.
///
/// # Errors
/// Where the guest could not be made, or did not come to its end.
pub(crate) fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::List => list(),
        Verb::Shell { guest } => {
            have_the_emulator()?;
            guest.guest()?.shell()?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Run {
            guest,
            copy_out,
            deadline_s,
            command,
        } => {
            have_the_emulator()?;
            let guest = Guest {
                copy_out: copy_out.iter().map(|(inside, _)| inside.clone()).collect(),
                deadline: Duration::from_secs(deadline_s),
                ..guest.guest()?
            };
            let outcome = guest.run(&command, |stream, bytes| match stream {
                Stream::Stdout => io::stdout().write_all(bytes),
                Stream::Stderr => io::stderr().write_all(bytes),
            })?;
            io::stdout().flush()?;
            take(&outcome, &copy_out)?;
            Ok(ExitCode::from(
                u8::try_from(outcome.status).unwrap_or(u8::MAX),
            ))
        }
    }
}

fn list() -> Result<ExitCode> {
    for kernel in Kernel::all() {
        let state = if kernel.is_cached() {
            "cached"
        } else {
            "fetched when first used"
        };
        println!("{:13} Debian {:20} {state}", kernel.name, kernel.suite);
    }
    println!("cache: {}", cache_dir()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Installs the emulator where it is missing and we may; else says what is missing.
fn have_the_emulator() -> Result<()> {
    let there = || {
        Command::new("qemu-system-x86_64")
            .arg("--version")
            .output()
            .is_ok()
    };
    if there() {
        return Ok(());
    }
    let package = "qemu-system-x86";
    eprintln!("lab: installing {package}");
    for arguments in [
        &["--quiet", "update"][..],
        &[
            "--quiet",
            "--yes",
            "--no-install-recommends",
            "install",
            package,
        ],
    ] {
        let status = Command::new("apt-get")
            .args(arguments)
            .stdout(io::stderr())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            bail!(
                "the lab needs {package}, and `apt-get install {package}` can't be done here as this user"
            );
        }
    }
    Ok(())
}

/// Writes what came back to where it was wanted.
fn take(outcome: &Outcome, copy_out: &[(PathBuf, PathBuf)]) -> Result<()> {
    for missing in &outcome.missing {
        eprintln!("lab: not copied out: {missing}");
    }
    for (inside, contents) in &outcome.files {
        let (from, to) = copy_out
            .iter()
            .find(|(from, _)| inside.starts_with(from))
            .with_context(|| format!("{} was not asked for", inside.display()))?;
        let place = place(inside.strip_prefix(from)?, to)?;
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&place, contents).with_context(|| place.display().to_string())?;
    }
    Ok(())
}

/// Where a file goes: a guest must not write outside the directory that was meant for it.
fn place(below: &Path, to: &Path) -> Result<PathBuf> {
    if below
        .components()
        .any(|part| !matches!(part, Component::Normal(_)))
    {
        bail!("the guest sent a file for {}", below.display());
    }
    // Joining with nothing would add a slash to the name of a single file.
    Ok(if below.as_os_str().is_empty() {
        to.to_owned()
    } else {
        to.join(below)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lands_where_it_was_meant_to() {
        let place = |below: &str| place(Path::new(below), Path::new("/out")).ok();
        assert_eq!(place("").as_deref(), Some(Path::new("/out")));
        assert_eq!(place("a/b").as_deref(), Some(Path::new("/out/a/b")));
        assert_eq!(place("../b"), None);
        assert_eq!(place("/etc/passwd"), None);
    }
}
