//! Swap for the length of a run, on a machine that uses none.

use super::undo::{Undo, run};
use anyhow::{Context, Result, ensure};
use plimsoll_proc::swaps;
use plimsoll_units::Bytes;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A swap area that is gone when this is dropped.
pub struct SwapArea {
    device: PathBuf,
    _undo: Undo,
}

/// Whatever happens, pages of other programs must not get into our area.
fn ensure_alone() -> Result<()> {
    let used = swaps::parse(&fs::read("/proc/swaps")?).count();
    ensure!(used == 0, "the machine has swap of its own");
    Ok(())
}

impl SwapArea {
    /// A swap file in a directory.
    pub fn file(dir: &Path, size: Bytes) -> Result<Self> {
        ensure_alone()?;
        let path = dir.join("swap");
        let undo = Undo::by(r#"swapoff "$1"; rm -f "$1""#, &[path.as_os_str()])?;
        let file = File::create_new(&path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size.get())?;
        drop(file);
        Self::on(path, undo)
    }

    /// A compressed area in memory: a device of its own.
    pub fn zram(size: Bytes) -> Result<Self> {
        ensure_alone()?;
        let number = fs::read_to_string("/sys/class/zram-control/hot_add")
            .context("this kernel has no zram to add")?;
        let device = PathBuf::from(format!("/dev/zram{}", number.trim()));
        let undo = Undo::by(
            r#"swapoff "$1"; echo "$2" > /sys/class/zram-control/hot_remove"#,
            &[device.as_os_str(), number.trim().as_ref()],
        )?;
        let settings = PathBuf::from(format!("/sys/block/zram{}", number.trim()));
        // The kernel's own first choice packs worse and no faster.
        let _ = fs::write(settings.join("comp_algorithm"), "lz4");
        fs::write(settings.join("disksize"), size.get().to_string())?;
        Self::on(device, undo)
    }

    fn on(device: PathBuf, undo: Undo) -> Result<Self> {
        run("mkswap", &[device.as_os_str()])?;
        run("swapon", &[device.as_os_str()])?;
        Ok(Self {
            device,
            _undo: undo,
        })
    }

    /// Bytes that what was paged out takes: of the disk, or of memory where it is packed there.
    pub fn stored(&self) -> Result<Bytes> {
        let name = self.device.file_name().unwrap_or_default();
        let packed = Path::new("/sys/block").join(name).join("mm_stat");
        if let Ok(numbers) = fs::read_to_string(packed) {
            let used = numbers.split_whitespace().nth(2).context("mm_stat")?;
            return Ok(Bytes(used.parse()?));
        }
        let text = fs::read("/proc/swaps")?;
        Ok(swaps::parse(&text).map(|area| area.used).sum())
    }
}
