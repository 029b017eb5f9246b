//! `cargo xtask bench`: the programs in `bench/`, optimised, one after the other.
//!
//! Each binary of a package below `bench/` is one bench: it says what it measured and beside what, and fails
//! only where it could not measure.

use crate::metadata::Metadata;
use crate::run;
use anyhow::{Result, bail};

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only benches whose name contains this.
    filter: Option<String>,
}

/// Builds all that will run, then runs it.
///
/// # Errors
/// Where a bench fails, or none has such a name.
pub(crate) fn run(options: &Options) -> Result<()> {
    let metadata = Metadata::read()?;
    let filter = options.filter.as_deref().unwrap_or_default();
    let home = run::root().join("bench");
    let mut benches = Vec::new();
    for package in metadata.members() {
        if package.manifest_path.starts_with(&home) {
            let bins = package
                .targets
                .iter()
                .filter(|t| t.kind.iter().any(|k| k == "bin"));
            let wanted = bins.filter(|target| target.name.contains(filter));
            benches.extend(wanted.map(|target| (package.name.as_str(), target.name.as_str())));
        }
    }
    if benches.is_empty() {
        bail!("no bench in {} is named {filter:?}", home.display());
    }
    let command = |verb, (package, bench): &(&str, &str)| {
        run::cargo(&[
            verb,
            "--release",
            "--quiet",
            "--package",
            package,
            "--bin",
            bench,
        ])
    };
    // Everything is built before anything is measured, the binary that is measured first of all.
    run::succeed(&mut run::cargo(&[
        "build",
        "--release",
        "--quiet",
        "--bin",
        "plimsoll",
    ]))?;
    for bench in &benches {
        run::succeed(&mut command("build", bench))?;
    }
    for bench in &benches {
        println!("== {}", bench.1);
        run::succeed(&mut command("run", bench))?;
    }
    Ok(())
}
