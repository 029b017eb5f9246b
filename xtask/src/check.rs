//! `cargo xtask check`: everything that must be clean before a change is taken.

use crate::metadata::Metadata;
use crate::{arrows, deny, run, unsafety};
use anyhow::Result;

/// Runs every check, and ends at the first that is not clean.
///
/// # Errors
/// What that check found.
pub(crate) fn run() -> Result<()> {
    step("format", || {
        run::succeed(&mut run::cargo(&["fmt", "--all", "--check"]))
    })?;
    step("clippy", || {
        let arguments = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-Dwarnings",
        ];
        run::succeed(&mut run::cargo(&arguments))
    })?;
    step("documentation", || {
        let arguments = [
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--quiet",
        ];
        // Private items are documented too, so links to them hold.
        let flags = "-Dwarnings -Arustdoc::private_intra_doc_links";
        run::succeed(run::cargo(&arguments).env("RUSTDOCFLAGS", flags))
    })?;
    let metadata = Metadata::read()?;
    step("arrows between crates", || arrows::check(&metadata))?;
    step("homes of unsafe", || unsafety::check(&metadata))?;
    step("dependencies", || deny::check(&metadata))
}

fn step(name: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    check()?;
    println!("clean: {name}");
    Ok(())
}
