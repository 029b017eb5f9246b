//! What a terminal has that rustix has no call for: its settings as the kernel keeps them (`termios` of 19 control
//! characters), the locked ones, and the state of a pseudoterminal's master (`ioctl_tty(2)`, `pty(7)`, Linux 3.8).
//!
//! # Safety
//! Each `ioctl` here gets a pointer to one structure or number of the size that its command reads or writes, which lives
//! through the call.
#![allow(unsafe_code)]

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

/// `struct termios` of the kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// `c_iflag`
    pub input: u32,
    /// `c_oflag`
    pub output: u32,
    /// `c_cflag`
    pub control: u32,
    /// `c_lflag`
    pub local: u32,
    /// `c_line`
    pub line: u8,
    /// `c_cc`
    pub characters: [u8; 19],
}

const TCGETS: libc::c_ulong = 0x5401;
const TCSETS: libc::c_ulong = 0x5402;
const TIOCPKT: libc::c_ulong = 0x5420;
const TIOCGLCKTRMIOS: libc::c_ulong = 0x5456;
const TIOCSLCKTRMIOS: libc::c_ulong = 0x5457;
const TIOCGPTN: libc::c_ulong = 0x8004_5430;
const TIOCSPTLCK: libc::c_ulong = 0x4004_5431;
const TIOCGPKT: libc::c_ulong = 0x8004_5438;
const TIOCGPTLCK: libc::c_ulong = 0x8004_5439;
const TIOCGEXCL: libc::c_ulong = 0x8004_5440;

/// Its settings; those of a pseudoterminal are the slave's, whichever end is asked.
///
/// # Errors
/// `EIO`: it was hung up; `ENOTTY`: no terminal.
pub fn settings(terminal: impl AsFd) -> Result<Settings, Errno> {
    get(terminal, TCGETS)
}

/// Changes them at once.
///
/// # Errors
/// As [`settings`].
pub fn set_settings(terminal: impl AsFd, settings: &Settings) -> Result<(), Errno> {
    set(terminal, TCSETS, settings)
}

/// Those that may not be changed.
///
/// # Errors
/// As [`settings`].
pub fn locked_settings(terminal: impl AsFd) -> Result<Settings, Errno> {
    get(terminal, TIOCGLCKTRMIOS)
}

/// Says which may not be changed.
///
/// # Errors
/// `EPERM`: without CAP_SYS_ADMIN.
pub fn lock_settings(terminal: impl AsFd, settings: &Settings) -> Result<(), Errno> {
    set(terminal, TIOCSLCKTRMIOS, settings)
}

/// The N of `/dev/pts/N`, asked of a master.
///
/// # Errors
/// `ENOTTY`: it is none.
pub fn index(master: impl AsFd) -> Result<u32, Errno> {
    get(master, TIOCGPTN)
}

/// Whether the slave of a master can't be opened yet.
///
/// # Errors
/// `ENOTTY`: no master.
pub fn is_locked(master: impl AsFd) -> Result<bool, Errno> {
    Ok(get::<libc::c_int>(master, TIOCGPTLCK)? != 0)
}

/// Lets the slave be opened, or not.
///
/// # Errors
/// `ENOTTY`: no master.
pub fn set_locked(master: impl AsFd, locked: bool) -> Result<(), Errno> {
    set(master, TIOCSPTLCK, &libc::c_int::from(locked))
}

/// Whether a master is in packet mode: what is read begins with a byte of control.
///
/// # Errors
/// `ENOTTY`: no master.
pub fn is_in_packet_mode(master: impl AsFd) -> Result<bool, Errno> {
    Ok(get::<libc::c_int>(master, TIOCGPKT)? != 0)
}

/// Puts a master into packet mode.
///
/// # Errors
/// `ENOTTY`: no master.
pub fn begin_packet_mode(master: impl AsFd) -> Result<(), Errno> {
    set::<libc::c_int>(master, TIOCPKT, &1)
}

/// Whether nobody else may open it (`TIOCEXCL`).
///
/// # Errors
/// `ENOTTY`: no terminal.
pub fn is_exclusive(terminal: impl AsFd) -> Result<bool, Errno> {
    Ok(get::<libc::c_int>(terminal, TIOCGEXCL)? != 0)
}

fn get<T: Default>(terminal: impl AsFd, command: libc::c_ulong) -> Result<T, Errno> {
    let mut value = T::default();
    // SAFETY: `value` is of the type that the command writes.
    check(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), command, &raw mut value) })?;
    Ok(value)
}

fn set<T>(terminal: impl AsFd, command: libc::c_ulong, value: &T) -> Result<(), Errno> {
    // SAFETY: `value` is of the type that the command reads.
    check(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), command, value as *const T) })
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, openpt};

    #[test]
    fn a_master_tells_its_state() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        assert!(is_locked(&master).unwrap());
        set_locked(&master, false).unwrap();
        assert!(!is_locked(&master).unwrap());
        assert!(!is_in_packet_mode(&master).unwrap());
        begin_packet_mode(&master).unwrap();
        assert!(is_in_packet_mode(&master).unwrap());
        assert!(!is_exclusive(&master).unwrap());
        assert!(std::path::Path::new(&format!("/dev/pts/{}", index(&master).unwrap())).exists());
    }

    #[test]
    fn settings_come_back_as_they_were_set() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let mut wanted = settings(&master).unwrap();
        wanted.local &= !libc::ECHO;
        wanted.characters[libc::VERASE] = b'x';
        set_settings(&master, &wanted).unwrap();
        assert_eq!(settings(&master), Ok(wanted));
        assert_eq!(locked_settings(&master), Ok(Settings::default()));
        assert_eq!(settings(std::io::pipe().unwrap().0), Err(Errno::NOTTY));
    }
}
