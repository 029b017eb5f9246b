//! A thread with a root and a working directory of its own (`unshare(2)`, `CLONE_FS`): what it does to them, nobody else
//! sees.
//!
//! # Safety
//! `CLONE_FS` gives the calling thread a copy of its root, working directory and umask. That takes nothing away from any other
//! thread, and the thread is one that we made and that ends with its work.
#![allow(unsafe_code)]

use rustix::io::Errno;

/// Runs `work` in such a thread, and waits for it.
///
/// # Errors
/// As `unshare(2)`, and whatever `work` gives; `EIO` for a thread that could not be made or ended badly.
pub fn with_own_fs<T: Send>(work: impl FnOnce() -> Result<T, Errno> + Send) -> Result<T, Errno> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            // SAFETY: the call takes no pointers, and only this thread sees what it changes.
            match unsafe { libc::unshare(libc::CLONE_FS) } {
                0 => work(),
                _ => {
                    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
                }
            }
        });
        let thread = thread.map_err(|_| Errno::IO)?;
        thread.join().unwrap_or(Err(Errno::IO))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_changed_to_in_there_is_left_again() {
        let before = std::env::current_dir().unwrap();
        let inside = with_own_fs(|| {
            rustix::process::chdir("/")?;
            rustix::process::getcwd(Vec::new())
        });
        assert_eq!(inside.unwrap().as_c_str(), c"/");
        assert_eq!(std::env::current_dir().unwrap(), before);
        assert_eq!(
            with_own_fs(|| Err::<(), _>(Errno::NOENT)),
            Err(Errno::NOENT)
        );
    }
}
