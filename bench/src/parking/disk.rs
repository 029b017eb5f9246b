//! Where stores, images and swap files go: a directory on the machine's own disk, or a file system of its own on a loop
//! device whose rate is limited (cgroup v1, `blkio.throttle`; v2, `io.max`).

use super::undo::{Undo, run};
use anyhow::{Context, Result};
use plimsoll_units::Bytes;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory that is gone when this is dropped.
pub struct Disk {
    dir: PathBuf,
    undo: Vec<Undo>,
}

impl Disk {
    /// On the machine's own disk.
    pub fn own() -> Result<Self> {
        let dir = PathBuf::from(format!("/var/tmp/plimsoll-bench-{}", std::process::id()));
        fs::create_dir(&dir)?;
        let undo = Undo::by(r#"rm -rf --one-file-system "$1""#, &[dir.as_os_str()])?;
        Ok(Self {
            dir,
            undo: vec![undo],
        })
    }

    /// One of so many bytes that reads and writes so many a second.
    pub fn slow(size: Bytes, rate: Bytes) -> Result<Self> {
        let mut disk = Self::own()?;
        let image = disk.dir.join("image");
        File::create_new(&image)?.set_len(size.get())?;
        let flags = ["--find", "--show", "--direct-io=on"].map(AsRef::as_ref);
        let device = run("losetup", &[&flags[..], &[image.as_os_str()]].concat())?;
        disk.undo
            .push(Undo::by(r#"losetup -d "$1""#, &[device.as_ref()])?);
        run("mkfs.ext4", &["-q".as_ref(), device.as_ref()])?;
        let number = rustix::fs::stat(device.as_str())?.st_rdev;
        let name = format!(
            "{}:{}",
            rustix::fs::major(number),
            rustix::fs::minor(number)
        );
        for (file, limit, none) in limits(&name, rate) {
            disk.undo.push(Undo::by(
                r#"echo "$1" > "$2""#,
                &[none.as_ref(), file.as_os_str()],
            )?);
            fs::write(&file, limit).with_context(|| format!("writing {}", file.display()))?;
        }
        let mount = disk.dir.join("slow");
        fs::create_dir(&mount)?;
        run("mount", &[device.as_ref(), mount.as_os_str()])?;
        disk.undo
            .push(Undo::by(r#"umount -l "$1""#, &[mount.as_os_str()])?);
        disk.dir = mount;
        Ok(disk)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Files of the control groups, with what limits one device there, and what lifts it again. The limits of the topmost
/// v1 group hold for whoever is in it; v2 has them only below the top.
fn limits(device: &str, rate: Bytes) -> Vec<(PathBuf, String, String)> {
    let rate = rate.get();
    let v1 = ["read", "write"].map(|way| {
        let file = format!("/sys/fs/cgroup/blkio/blkio.throttle.{way}_bps_device");
        (
            PathBuf::from(file),
            format!("{device} {rate}"),
            format!("{device} 0"),
        )
    });
    if v1.iter().all(|(file, ..)| file.exists()) {
        return v1.to_vec();
    }
    let ours = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let ours = ours.lines().find_map(|line| line.strip_prefix("0::/"));
    let file = Path::new("/sys/fs/cgroup")
        .join(ours.unwrap_or_default())
        .join("io.max");
    let limit = format!("{device} rbps={rate} wbps={rate}");
    vec![(file, limit, format!("{device} rbps=max wbps=max"))]
}

impl Drop for Disk {
    fn drop(&mut self) {
        while let Some(undo) = self.undo.pop() {
            drop(undo);
        }
    }
}

/// Bytes of disk that all files of a directory take, and of the directories in it.
pub fn used(dir: &Path) -> Result<Bytes> {
    let mut sum = Bytes::ZERO;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sum += used(&entry.path())?;
        }
        sum += Bytes(entry.metadata()?.blocks() * 512);
    }
    Ok(sum)
}
