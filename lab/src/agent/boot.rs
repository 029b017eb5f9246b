//! From a bare kernel to a system that programs can live in.

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};
use std::ffi::CStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// What is mounted: type, where, options. In this order.
const MOUNTS: [(&str, &str, Option<&CStr>); 7] = [
    ("proc", "/proc", None),
    ("sysfs", "/sys", None),
    ("devtmpfs", "/dev", None),
    ("devpts", "/dev/pts", Some(c"mode=620,ptmxmode=666")),
    ("tmpfs", "/dev/shm", None),
    ("tmpfs", "/tmp", None),
    ("cgroup2", "/sys/fs/cgroup", None),
];

pub(crate) fn mount_all() -> Result<()> {
    for (kind, place, options) in MOUNTS {
        fs::create_dir_all(place).with_context(|| place.to_owned())?;
        mount(kind, place, kind, MountFlags::NOSUID, options)
            .with_context(|| format!("mounting {kind} on {place}"))?;
    }
    Ok(())
}

pub(crate) fn load(module: &Path) -> Result<()> {
    let name = || format!("loading {}", module.display());
    let object = File::open(module).with_context(name)?;
    rustix::system::finit_module(&object, c"", 0).with_context(name)
}

pub(crate) fn install_busybox() -> Result<()> {
    // The kernel starts the first process with next to no environment, and all others inherit ours.
    let status = Command::new("/bin/busybox")
        .args(["--install", "-s", "/bin"])
        .status();
    ensure!(status?.success(), "busybox could not install its links");
    Ok(())
}

/// Offers every controller that the kernel has to the groups below the root.
pub(crate) fn open_all_controllers() -> Result<()> {
    let offered = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")?;
    let wanted: Vec<String> = offered
        .split_whitespace()
        .map(|name| format!("+{name}"))
        .collect();
    fs::write("/sys/fs/cgroup/cgroup.subtree_control", wanted.join(" "))
        .context("opening the controllers of control groups")
}

pub(crate) fn swap_on_first_disk() -> Result<()> {
    for program in ["mkswap", "swapon"] {
        let status = Command::new("/bin/busybox")
            .args([program, "/dev/vda"])
            .status()?;
        ensure!(status.success(), "{program} of the swap disk: {status}");
    }
    Ok(())
}
