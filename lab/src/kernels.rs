//! The kernels that guests boot, and the busybox that they run: Debian's packages, fetched once and cached.
//!
//! ```text
//! $XDG_CACHE_HOME/plimsoll/lab/
//!   kernel-6.1/        a kernel package, unpacked: boot/vmlinuz-RELEASE, lib/modules/RELEASE
//!   busybox/           likewise
//!   kvm-6.1            `yes` or `no`: whether KVM booted this kernel here
//! ```
//!
//! A directory is written aside and renamed when it is complete, so what is there is whole.

use crate::apt::Apt;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// One of the kernels that the lab knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// What people call it: `6.1`.
    pub name: &'static str,
    /// The Debian suite that it comes from.
    pub suite: &'static str,
    /// The package that stands for the newest of its flavour there.
    meta_package: &'static str,
}

/// Small, with what a virtual machine needs.
const CLOUD: &str = "linux-image-cloud-amd64";

/// Three times as large; with zswap.
const GENERAL: &str = "linux-image-amd64";

/// All of them, oldest first.
const KERNELS: [Kernel; 3] = [
    Kernel {
        name: "6.1",
        suite: "bookworm",
        meta_package: CLOUD,
    },
    Kernel {
        name: "6.12",
        suite: "bookworm-backports",
        meta_package: CLOUD,
    },
    Kernel {
        name: "6.12-general",
        suite: "bookworm-backports",
        meta_package: GENERAL,
    },
];

/// The suite that busybox is taken from.
const BUSYBOX_SUITE: &str = "bookworm";

impl Kernel {
    /// All kernels, oldest first.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &KERNELS
    }

    /// The kernel of this name.
    ///
    /// # Errors
    /// Names those that there are.
    pub fn named(name: &str) -> Result<Self> {
        let names: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
        let found = KERNELS.into_iter().find(|kernel| kernel.name == name);
        found.with_context(|| {
            format!(
                "no kernel {name:?} in the lab; there are {}",
                names.join(", ")
            )
        })
    }

    /// Whether it lies in the cache.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        cache_dir().is_ok_and(|cache| cache.join(self.directory()).exists())
    }

    fn directory(&self) -> String {
        format!("kernel-{}", self.name)
    }

    /// The kernel's files, fetched if they are not there yet.
    pub(crate) fn files(&self) -> Result<KernelFiles> {
        let dir = cached(&self.directory(), |into| {
            let scratch = tempfile::tempdir()?;
            let apt = Apt::update(scratch.path(), self.suite)?;
            apt.unpack(&apt.stands_for(self.meta_package)?, into)
        })?;
        let image = only_entry(&dir.join("boot"), "vmlinuz-")?;
        let modules = only_entry(&dir.join("lib/modules"), "")?;
        Ok(KernelFiles { image, modules })
    }
}

/// The parts of an unpacked kernel package.
pub(crate) struct KernelFiles {
    /// What the emulator boots.
    pub(crate) image: PathBuf,
    /// `/lib/modules/RELEASE`.
    pub(crate) modules: PathBuf,
}

/// A statically linked busybox, fetched if it is not there yet.
pub(crate) fn busybox() -> Result<PathBuf> {
    let dir = cached("busybox", |into| {
        let scratch = tempfile::tempdir()?;
        Apt::update(scratch.path(), BUSYBOX_SUITE)?.unpack("busybox-static", into)
    })?;
    Ok(dir.join("bin/busybox"))
}

/// Where the lab keeps what it fetched.
///
/// # Errors
/// Where neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    let lab = cache
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("plimsoll/lab");
    fs::create_dir_all(&lab).with_context(|| lab.display().to_string())?;
    Ok(lab)
}

/// The cached directory `name`, made by `fill` where it is missing.
fn cached(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let dir = cache.join(name);
    if dir.exists() {
        return Ok(dir);
    }
    let aside = tempfile::tempdir_in(&cache)?;
    fill(aside.path()).with_context(|| format!("fetching {name} for the lab"))?;
    let aside = aside.keep();
    if let Err(error) = fs::rename(&aside, &dir) {
        fs::remove_dir_all(&aside)?;
        // Another run may have filled it in the meantime.
        if !dir.exists() {
            return Err(error).with_context(|| dir.display().to_string());
        }
    }
    Ok(dir)
}

fn only_entry(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let begins = |path: &PathBuf| {
        path.file_name()
            .and_then(OsStr::to_str)
            .is_some_and(|name| name.starts_with(prefix))
    };
    let found: Vec<PathBuf> = names.filter(begins).collect();
    match <[PathBuf; 1]>::try_from(found) {
        Ok([one]) => Ok(one),
        Err(found) => bail!(
            "{} entries {prefix}* in {}, not one",
            found.len(),
            dir.display()
        ),
    }
}
