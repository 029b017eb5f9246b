//! `cargo xtask fuzz`: hostile bytes for every parser and decoder, for half a minute each.
//!
//! The targets in `fuzz/` are those of cargo-fuzz, built here with the toolchain of the workspace: they contain
//! no `unsafe`, so a panic, an endless loop and memory without bounds are all that can be found, and no
//! sanitizer is wanted. Inputs that reach new code are kept in `fuzz/corpus-local/` and start the next run;
//! what breaks a target lies in `fuzz/artifacts/` and is named on failure.

use crate::run;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// What `cargo xtask fuzz` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only targets whose name contains this.
    filter: Option<String>,
    /// How long each target is run.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
}

/// Counts which code each input reaches: what cargo-fuzz passes to rustc, without its sanitizers.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1 \
    --cfg=fuzzing";

/// Longer inputs than this are tried by the tests, not here.
const LONGEST_INPUT: &str = "-max_len=4096";

/// Builds all targets, then runs those that are wanted.
///
/// # Errors
/// Where an input breaks a target, or none has such a name.
pub(crate) fn run(options: &Options) -> Result<()> {
    let fuzz = run::root().join("fuzz");
    let targets = targets(&fuzz, options.filter.as_deref().unwrap_or_default())?;
    let host = host()?;
    // With --target the flags don't reach build scripts, which could not be linked with them.
    run::succeed(
        run::cargo(&["build", "--release", "--bins", "--target", &host])
            .current_dir(&fuzz)
            .env("RUSTFLAGS", COVERAGE),
    )?;
    let binaries = fuzz.join("target").join(host).join("release");
    for target in &targets {
        print!("{target}: ");
        std::io::stdout().flush()?;
        run_target(&fuzz, &binaries, target, options.seconds)?;
    }
    Ok(())
}

/// Runs one target; what libFuzzer says is shown only when it found something.
fn run_target(fuzz: &Path, binaries: &Path, target: &str, seconds: u32) -> Result<()> {
    let directory = |kind: &str| {
        let path = fuzz.join(kind).join(target);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    let artifacts = directory("artifacts")?;
    let mut command = Command::new(binaries.join(target));
    command
        .args([directory("corpus-local")?, directory("corpus")?])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([LONGEST_INPUT, "-timeout=10", "-rss_limit_mb=1024"])
        .args(["-verbosity=0", "-print_final_stats=1"]);
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{target} is broken by an input:\n{said}");
    }
    let inputs = said
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    println!("{} inputs", inputs.unwrap_or_default().trim());
    Ok(())
}

/// The names of the targets that contain `filter`, sorted.
fn targets(fuzz: &Path, filter: &str) -> Result<Vec<String>> {
    let home = fuzz.join("fuzz_targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&home).with_context(|| format!("listing {}", home.display()))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        targets.extend(name.filter(|name| name.contains(filter)).map(str::to_owned));
    }
    if targets.is_empty() {
        bail!("no target in {} is named {filter:?}", home.display());
    }
    targets.sort();
    Ok(targets)
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let version = run::program("rustc", &["-vV"]).output()?;
    let version = String::from_utf8_lossy(&version.stdout);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}
