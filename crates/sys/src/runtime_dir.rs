//! The directory of what lasts as long as the host runs: records of what was parked, of what is held.
//!
//! Nothing in it has to outlive the host, and it must not lie on a disk that may be full. It is its owner's alone, since what
//! it says is acted on.

use rustix::process::geteuid;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// File systems without a disk (`linux/magic.h`): tmpfs, ramfs.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// That of this user: `/run/plimsoll` for root where `/run` is in memory, else below `XDG_RUNTIME_DIR`, else in
/// `/dev/shm`. It is not made.
#[must_use]
pub fn of_this_user() -> PathBuf {
    let user = geteuid();
    let run = Path::new("/run");
    let in_memory = || rustix::fs::statfs(run).is_ok_and(|fs| IN_MEMORY.contains(&fs.f_type));
    match std::env::var_os("XDG_RUNTIME_DIR") {
        _ if user.is_root() && in_memory() => run.join("plimsoll"),
        _ if user.is_root() => PathBuf::from("/dev/shm/plimsoll-0"),
        Some(dir) => Path::new(&dir).join("plimsoll"),
        None => PathBuf::from(format!("/dev/shm/plimsoll-{}", user.as_raw())),
    }
}

/// Makes a directory and those above it, for this user alone.
///
/// # Errors
/// As `mkdir(2)`.
pub fn make(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// Whether a directory is this user's alone: made by nobody else, and open to nobody else.
///
/// # Errors
/// `PermissionDenied` where it is not; as `lstat(2)`.
pub fn trust(dir: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(dir)?;
    let own = metadata.uid() == geteuid().as_raw();
    if metadata.is_dir() && own && metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "it is not this user's alone (mode must be 0700)",
    ))
}
