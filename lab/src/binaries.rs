//! Our own programs for the guest: the same sources, linked statically, since a guest has no libraries.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The only target that is built; named, so that build scripts and derive macros stay dynamic.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds a program of a package of this workspace, and says where it lies.
///
/// It goes to `target/lab`, so that it neither waits for other builds nor throws theirs away.
pub(crate) fn build(package: &str, program: &str) -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace")?;
    let into = workspace.join("target/lab");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--quiet",
            "--package",
            package,
            "--bin",
            program,
            "--target",
            TARGET,
        ])
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", &into)
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(into.join(TARGET).join("debug").join(program))
}

/// A program's bytes without its debug sections, which a guest would pay for with its memory.
pub(crate) fn stripped(program: &Path) -> Result<Vec<u8>> {
    let scratch = tempfile::NamedTempFile::new()?;
    let strip = Command::new("strip")
        .arg("-o")
        .arg(scratch.path())
        .arg(program)
        .status();
    // binutils come with every linker; without them the program is big and works all the same.
    let from = if strip.is_ok_and(|status| status.success()) {
        scratch.path()
    } else {
        program
    };
    fs::read(from).with_context(|| from.display().to_string())
}
