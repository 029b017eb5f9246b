//! Packages of any Debian suite, fetched and unpacked aside: nothing of the machine's own apt is changed.
//!
//! apt runs with a state directory and a list of sources of its own. It fetches from the archive that the
//! machine itself is configured for, and checks signatures and sums as always.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A private apt, for one suite.
pub(crate) struct Apt {
    dir: PathBuf,
}

impl Apt {
    /// Prepares `dir` and fetches the suite's list of packages.
    pub(crate) fn update(dir: &Path, suite: &str) -> Result<Self> {
        let dir = fs::canonicalize(dir).with_context(|| dir.display().to_string())?;
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(directory))?;
        }
        // No package is installed as far as this apt knows.
        fs::write(dir.join("status"), "")?;
        let source = format!("deb {} {suite} main\n", archive()?);
        fs::write(dir.join("sources.list"), source)?;
        let apt = Self { dir };
        apt.ask("apt-get", &["--quiet", "update"])?;
        Ok(apt)
    }

    /// The first dependency of a meta-package: the package that it stands for today.
    pub(crate) fn stands_for(&self, meta_package: &str) -> Result<String> {
        let depends = self.ask("apt-cache", &["depends", meta_package])?;
        let first = depends
            .lines()
            .find_map(|l| l.trim().strip_prefix("Depends: "));
        let first = first.with_context(|| format!("{meta_package} depends on nothing"))?;
        Ok(first.to_owned())
    }

    /// Fetches a package and unpacks it into `into`.
    pub(crate) fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        self.ask("apt-get", &["--quiet", "download", package])?;
        let is_deb = |path: &PathBuf| path.extension().is_some_and(|e| e == "deb");
        let found = fs::read_dir(&self.dir)?.filter_map(|entry| Some(entry.ok()?.path()));
        let deb = found.filter(is_deb).find(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&format!("{package}_")))
        });
        let deb = deb.with_context(|| format!("apt-get left no file of {package}"))?;
        output(Command::new("dpkg-deb").arg("-x").arg(deb).arg(into))?;
        Ok(())
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        for (option, value) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "no-such-directory"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            command
                .arg("-o")
                .arg(format!("{option}={}", self.dir.join(value).display()));
        }
        // The usual user `_apt` can't write into a directory that is ours.
        command.args(["-o", "APT::Sandbox::User="]);
        output(command.args(arguments).current_dir(&self.dir))
    }
}

/// The archive that this machine takes Debian from.
fn archive() -> Result<String> {
    let mut command = Command::new("apt-get");
    command.args([
        "indextargets",
        "--format",
        "$(LABEL) $(REPO_URI)",
        "Created-By: Packages",
    ]);
    let targets = output(&mut command)?;
    let uri = targets
        .lines()
        .find_map(|line| line.strip_prefix("Debian "));
    Ok(uri
        .context("apt is configured for no Debian archive")?
        .to_owned())
}

/// What a program wrote, if it ended well; else what it complained about.
fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
