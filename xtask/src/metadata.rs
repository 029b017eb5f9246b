//! What `cargo metadata` says of the workspace, cut down to what the checks ask.

use crate::run;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::PathBuf;

/// The packages of the workspace and all that they bring in on Linux.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    workspace_members: Vec<String>,
}

/// One package; `source` is absent for our own.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    id: String,
    pub(crate) license: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

/// A dependency as a manifest declares it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `null` for an ordinary one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// The directory of a path dependency: one of our own.
    pub(crate) path: Option<PathBuf>,
}

/// Something that a package builds.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

impl Metadata {
    /// Asks cargo.
    ///
    /// # Errors
    /// Where cargo fails or says something else than it did.
    pub(crate) fn read() -> Result<Self> {
        let mut command = run::cargo(&[
            "metadata",
            "--format-version=1",
            "--filter-platform=x86_64-unknown-linux-gnu",
        ]);
        let output = command.stderr(std::process::Stdio::inherit()).output()?;
        anyhow::ensure!(output.status.success(), "{command:?}: {}", output.status);
        serde_json::from_slice(&output.stdout).context("reading cargo metadata")
    }

    /// Our own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }
}

impl Package {
    /// The name without the house's prefix: `plimsoll-proc` is `proc` on the map.
    pub(crate) fn room(&self) -> &str {
        room(&self.name)
    }
}

/// See [`Package::room`].
pub(crate) fn room(name: &str) -> &str {
    name.strip_prefix("plimsoll-").unwrap_or(name)
}
