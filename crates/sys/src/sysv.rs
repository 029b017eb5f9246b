//! What System V objects of all kinds have in common: `struct ipc_perm` (`sysvipc(7)`).

use std::io;

/// Whose an object is, and who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// The key that it was made with; 0 for none.
    pub key: i32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// User and group of who made it.
    pub creator: (u32, u32),
    /// Permissions; of a segment `SHM_DEST` (01000), too, when it goes with the last who has it attached.
    pub mode: u32,
}

impl From<libc::ipc_perm> for Permissions {
    fn from(told: libc::ipc_perm) -> Self {
        Self {
            key: told.__key,
            uid: told.uid,
            gid: told.gid,
            creator: (told.cuid, told.cgid),
            mode: told.mode.into(),
        }
    }
}

/// Sets what `IPC_SET` reads of it.
pub(crate) fn give_to(wanted: &mut libc::ipc_perm, uid: u32, gid: u32, mode: u32) {
    wanted.uid = uid;
    wanted.gid = gid;
    wanted.mode = u16::try_from(mode & 0o777).unwrap_or(0);
}

/// The flags that make a new object which nobody else has made.
pub(crate) fn anew(mode: u32) -> libc::c_int {
    libc::IPC_CREAT | libc::IPC_EXCL | (mode & 0o777).cast_signed()
}

/// What a call answered: -1 is an error.
pub(crate) fn answer(answer: libc::c_int) -> io::Result<libc::c_int> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}
