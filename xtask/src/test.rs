//! `cargo xtask test`: every test, then what was skipped and why, then the count alone on a line.
//!
//! nextest (a process for each test) where it is installed, cargo's own runner where it is not. Tests in a
//! module named `quiet` measure the host and run alone: `.config/nextest.toml` sees to it for nextest, and a
//! second pass does for cargo. Documentation tests are cargo's either way.

use crate::run;
use crate::skips;
use crate::tally::Tally;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this package.
    #[arg(short, long)]
    package: Option<String>,
    /// Only tests whose path contains this.
    filter: Option<String>,
}

/// Runs the tests.
///
/// # Errors
/// Where a test failed, or nothing could be run at all.
pub(crate) fn run(options: &Options) -> Result<()> {
    // A directory of its own, so that two runs don't count each other's skips.
    let scratch = tempfile::tempdir()?;
    let skips_file = scratch.path().join("skips");
    let mut tally = Tally::default();
    let mut broken = None;
    for mut pass in passes(options) {
        let (counted, success) = watch(pass.env("PLIMSOLL_SKIPS", &skips_file))?;
        tally += counted;
        if !success {
            broken = Some(format!("{pass:?}"));
        }
    }
    let skips = skips::read(&read_if_there(&skips_file)?);
    println!("\n{}{}", skips::table(&skips), tally.without(&skips));
    match broken {
        Some(pass) => bail!("not all passed: {pass}"),
        None => Ok(()),
    }
}

/// The commands that together run everything once.
fn passes(options: &Options) -> Vec<Command> {
    let package = match &options.package {
        Some(package) => ["--package", package].to_vec(),
        None => vec!["--workspace"],
    };
    let filter: Vec<&str> = options.filter.iter().map(String::as_str).collect();
    let pass = |runner: &[&str], harness: &[&str]| {
        let arguments = [runner, &package, &filter, &["--"], harness].concat();
        run::cargo(&arguments)
    };
    if run::cargo_has("nextest") {
        let nextest = ["nextest", "run", "--no-tests=pass"];
        vec![
            pass(&nextest, &[]),
            pass(&["test", "--doc", "--quiet"], &[]),
        ]
    } else {
        let test = ["test", "--no-fail-fast", "--quiet"];
        let quiet = [
            "test",
            "--no-fail-fast",
            "--quiet",
            "--lib",
            "--bins",
            "--tests",
        ];
        vec![
            pass(&test, &["--skip", "quiet::"]),
            pass(&quiet, &["quiet::", "--test-threads=1"]),
        ]
    }
}

/// Runs one pass, shows all that it says, and counts.
fn watch(command: &mut Command) -> Result<(Tally, bool)> {
    if io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let stdout = child.stdout.take().context("its output")?;
    let stderr = child.stderr.take().context("its errors")?;
    let tally = std::thread::scope(|scope| -> Result<Tally> {
        let errors = scope.spawn(|| relay(stderr, io::stderr()));
        let mut tally = relay(stdout, io::stdout())?;
        match errors.join() {
            Ok(counted) => tally += counted?,
            Err(_) => bail!("the thread that relays errors died"),
        }
        Ok(tally)
    })?;
    Ok((tally, child.wait()?.success()))
}

/// Copies line by line, counting.
fn relay(from: impl Read, mut to: impl Write) -> Result<Tally> {
    let mut from = BufReader::new(from);
    let mut tally = Tally::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        tally += Tally::of_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(tally)
}

fn read_if_there(file: &Path) -> Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text.with_context(|| format!("reading {}", file.display())),
    }
}
