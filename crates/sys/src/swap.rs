//! Swap areas switched on and off: `swapon(2)`, `swapoff(2)`.
//!
//! # Safety
//! Both take one C string, which lives through the call.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Swaps to a file or device from now on, after all that are in use already: its priority is the lowest.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; `EINVAL` where there is no swap header, or the file system can't hold a swap file.
pub fn on(path: &Path) -> Result<(), Errno> {
    let path = c_string(path)?;
    // SAFETY: `path` is a C string that lives through the call.
    done(unsafe { libc::swapon(path.as_ptr(), 0) })
}

/// Brings back everything that is in a swap area, and leaves it.
///
/// # Errors
/// `ENOMEM` when that does not fit in memory; `EINVAL` when it is none.
pub fn off(path: &Path) -> Result<(), Errno> {
    let path = c_string(path)?;
    // SAFETY: as in `on`.
    done(unsafe { libc::swapoff(path.as_ptr()) })
}

fn c_string(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)
}

fn done(result: i32) -> Result<(), Errno> {
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_swap_area_is_refused() {
        let file = tempfile_path();
        std::fs::write(&file, [0; 64]).unwrap();
        assert!(matches!(on(&file), Err(Errno::INVAL | Errno::PERM)));
        assert!(matches!(off(&file), Err(Errno::INVAL | Errno::PERM)));
        std::fs::remove_file(&file).unwrap();
    }

    fn tempfile_path() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("plimsoll-no-swap-{}", std::process::id()))
    }
}
