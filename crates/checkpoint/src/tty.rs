//! Terminals, as images know them: kinds, numbers, and what waits in a pseudoterminal (`pty(7)`, `devpts` of the kernel).
//!
//! What waits can only be read away, so it is put back at once ([`put_back`]): with echo, signals and translation off for
//! that moment, since all of it has been through the line discipline once.

use plimsoll_image::proto::{TermiosEntry, TtyInfoEntry, TtyType};
use plimsoll_sys::terminal::{self, Settings};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// What a device number says of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    /// `/dev/ptmx`
    Master,
    /// `/dev/pts/N`
    Slave(u32),
    /// `/dev/tty`: whichever terminal controls who opens it.
    Current,
    Console,
    Virtual,
    Serial,
}

impl Device {
    /// A character device that is a terminal.
    pub(crate) fn of(number: u64) -> Option<Self> {
        const VIRTUAL: u32 = 4;
        const AUXILIARY: u32 = 5;
        const LAST_VIRTUAL: u32 = 63;
        const MASTERS: std::ops::RangeInclusive<u32> = 128..=135;
        const SLAVES: u32 = 136;
        const USB_SERIAL: u32 = 188;
        const LOW_DENSITY_SERIAL: u32 = 204;
        match (rustix::fs::major(number), rustix::fs::minor(number)) {
            (AUXILIARY, 0) => Some(Self::Current),
            (AUXILIARY, 1) => Some(Self::Console),
            (AUXILIARY, 2) => Some(Self::Master),
            (major, _) if MASTERS.contains(&major) => Some(Self::Master),
            (SLAVES, index) => Some(Self::Slave(index)),
            (VIRTUAL, minor) if minor <= LAST_VIRTUAL => Some(Self::Virtual),
            (VIRTUAL | USB_SERIAL | LOW_DENSITY_SERIAL, _) => Some(Self::Serial),
            _ => None,
        }
    }

    pub(crate) fn kind(self) -> TtyType {
        match self {
            Self::Master | Self::Slave(_) => TtyType::Pty,
            Self::Current => TtyType::Ctty,
            Self::Console => TtyType::Console,
            Self::Virtual => TtyType::Vt,
            Self::Serial => TtyType::Serial,
        }
    }
}

/// Pseudoterminals with a larger number have no number in images.
pub(crate) const LAST_INDEX: u32 = 1000;

/// The number of a terminal's entry: both ends of a pseudoterminal have one each, other kinds one for all.
pub(crate) fn number(device: Device, index: u32) -> u32 {
    match device {
        Device::Master => index * 2 + 1,
        Device::Slave(index) => index * 2,
        Device::Console => 1002 * 2,
        Device::Virtual => 1004 * 2,
        Device::Current => 1006 * 2,
        Device::Serial => 1010 * 2,
    }
}

/// Whether an entry is a master's.
pub(crate) fn is_master(info: &TtyInfoEntry) -> bool {
    info.r#type() == TtyType::Pty && info.id % 2 == 1
}

/// One that nobody is behind any more has no settings.
pub(crate) fn is_hung_up(info: &TtyInfoEntry) -> bool {
    info.termios.is_none()
}

pub(crate) fn to_entry(settings: &Settings) -> TermiosEntry {
    TermiosEntry {
        c_iflag: settings.input,
        c_oflag: settings.output,
        c_cflag: settings.control,
        c_lflag: settings.local,
        c_line: settings.line.into(),
        c_ispeed: 0, // `c_cflag` tells it
        c_ospeed: 0,
        c_cc: settings.characters.map(u32::from).to_vec(),
    }
}

pub(crate) fn from_entry(entry: &TermiosEntry) -> Settings {
    let mut characters = [0; 19];
    for (place, value) in characters.iter_mut().zip(&entry.c_cc) {
        *place = u8::try_from(*value).unwrap_or(0);
    }
    Settings {
        input: entry.c_iflag,
        output: entry.c_oflag,
        control: entry.c_cflag,
        local: entry.c_lflag,
        line: u8::try_from(entry.c_line).unwrap_or(0),
        characters,
    }
}

/// What waits to be read at either end of a pseudoterminal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// At the slave: what was typed.
    pub(crate) typed: Vec<u8>,
    /// At the master: what was printed.
    pub(crate) printed: Vec<u8>,
}

/// Takes what waits at both ends, and puts it back. The slave must not block.
pub(crate) fn look(master: impl AsFd, slave: impl AsFd) -> Result<Waiting, Errno> {
    let waiting = Waiting {
        typed: take(&slave, false)?,
        printed: take(&master, terminal::is_in_packet_mode(&master)?)?,
    };
    put_back(master, slave, &waiting)?;
    Ok(waiting)
}

/// Reads as long as something is there.
fn take(end: impl AsFd, packets: bool) -> Result<Vec<u8>, Errno> {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        // Poll waits for what is still on its way from the other end; the number says that a read won't block.
        let mut ready = [rustix::event::PollFd::new(
            &end,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut ready, Some(&rustix::time::Timespec::default()))?;
        if rustix::io::ioctl_fionread(&end)? == 0 {
            return Ok(all);
        }
        let done = match rustix::io::read(&end, &mut piece) {
            Err(Errno::AGAIN) => return Ok(all),
            done => done?,
        };
        let got = piece.get(usize::from(packets)..done).unwrap_or_default();
        all.extend(got);
    }
}

/// Puts bytes where they wait to be read, as they are.
pub(crate) fn put_back(
    master: impl AsFd,
    slave: impl AsFd,
    waiting: &Waiting,
) -> Result<(), Errno> {
    if *waiting == Waiting::default() {
        return Ok(());
    }
    let usual = terminal::settings(&master)?;
    terminal::set_settings(&master, &silent(&usual))?;
    let mut typed = waiting.typed.clone();
    if let Some(end) = end_of_input(&usual, &typed) {
        typed.push(end);
    }
    let done = write_all(&master, &typed)
        .and_then(|()| arrive(&slave, waiting.typed.len()))
        .and_then(|()| write_all(&slave, &waiting.printed));
    terminal::set_settings(&master, &usual)?;
    done
}

/// Waits until the line discipline has taken what was typed, as the settings of this moment say.
fn arrive(slave: impl AsFd, typed: usize) -> Result<(), Errno> {
    const PATIENCE: Duration = Duration::from_secs(1);
    const ROOM: u64 = 4095; // the rest waits in front of it
    let begun = Instant::now();
    while rustix::io::ioctl_fionread(&slave)? < ROOM.min(typed as u64) {
        if begun.elapsed() > PATIENCE {
            return Err(Errno::TIME);
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Nothing is echoed, translated or taken for a command. Lines stay lines.
fn silent(usual: &Settings) -> Settings {
    let commands = [
        libc::VERASE,
        libc::VKILL,
        libc::VWERASE,
        libc::VREPRINT,
        libc::VLNEXT,
    ];
    let mut settings = Settings {
        input: usual.input & libc::IXON, // a reader in packet mode would be told of a change
        output: 0,
        local: usual.local & !(libc::ECHO | libc::ECHONL | libc::ISIG),
        ..*usual
    };
    for command in commands {
        if let Some(character) = settings.characters.get_mut(command) {
            *character = 0;
        }
    }
    settings
}

/// A last line without an end was given to its reader by the character for that.
fn end_of_input(settings: &Settings, typed: &[u8]) -> Option<u8> {
    let of = |place: usize| settings.characters.get(place).copied().unwrap_or(0);
    let last = *typed.last()?;
    let ends = last == b'\n' || last != 0 && [of(libc::VEOL), of(libc::VEOL2)].contains(&last);
    let end = of(libc::VEOF);
    (settings.local & libc::ICANON != 0 && !ends && end != 0).then_some(end)
}

fn write_all(end: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let done = rustix::io::write(&end, bytes)?;
        bytes = bytes.get(done..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::OwnedFd;
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, openpt};

    fn pair() -> (OwnedFd, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        terminal::set_locked(&master, false).unwrap();
        let path = format!("/dev/pts/{}", terminal::index(&master).unwrap());
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
        (master, open(path, flags, Mode::empty()).unwrap())
    }

    fn read(end: &OwnedFd) -> Vec<u8> {
        let mut piece = [0; 100];
        let done = rustix::io::read(end, &mut piece).unwrap();
        piece[..done].to_vec()
    }

    #[test]
    fn lines_stay_lines_and_nothing_is_echoed_twice() {
        let (master, slave) = pair();
        rustix::io::write(&master, b"one\ntwo\n").unwrap();
        arrive(&slave, 8).unwrap(); // and is echoed
        rustix::io::write(&slave, b"answer\n").unwrap();
        let before = terminal::settings(&master).unwrap();
        for _ in 0..2 {
            let waiting = look(&master, &slave).unwrap();
            assert_eq!(waiting.typed, b"one\ntwo\n");
            assert_eq!(waiting.printed, b"one\r\ntwo\r\nanswer\r\n");
        }
        assert_eq!(terminal::settings(&master).unwrap(), before);
        assert_eq!(read(&slave), b"one\n");
        assert_eq!(read(&slave), b"two\n");
        assert_eq!(read(&master), b"one\r\ntwo\r\nanswer\r\n");
    }

    #[test]
    fn what_was_given_without_an_end_of_line_is_given_again() {
        let (master, slave) = pair();
        rustix::io::write(&master, b"half\x04").unwrap();
        assert_eq!(look(&master, &slave).unwrap().typed, b"half");
        assert_eq!(read(&slave), b"half");
    }

    #[test]
    fn more_than_the_kernel_keeps_in_one_place_is_taken_whole() {
        let (master, slave) = pair();
        let mut settings = terminal::settings(&master).unwrap();
        settings.output = 0;
        terminal::set_settings(&master, &settings).unwrap();
        let long: Vec<u8> = (0..8000u32)
            .map(|i| b'a' + u8::try_from(i % 26).unwrap())
            .collect();
        rustix::io::write(&slave, &long).unwrap();
        assert_eq!(look(&master, &slave).unwrap().printed, long);
        assert_eq!(look(&master, &slave).unwrap().printed, long);
    }

    #[test]
    fn control_bytes_of_packets_are_not_data() {
        let (master, slave) = pair();
        terminal::begin_packet_mode(&master).unwrap();
        rustix::io::write(&slave, b"x").unwrap();
        assert_eq!(look(&master, &slave).unwrap().printed, b"x");
        assert_eq!(read(&master), b"\0x");
    }

    #[test]
    fn devices_are_known_by_their_numbers() {
        let of = |major, minor| Device::of(rustix::fs::makedev(major, minor));
        assert_eq!(of(5, 2), Some(Device::Master));
        assert_eq!(of(136, 7), Some(Device::Slave(7)));
        assert_eq!(of(4, 64), Some(Device::Serial));
        assert_eq!(of(1, 3), None);
        assert_eq!(number(Device::Slave(7), 0), 14);
        assert_eq!(number(Device::Master, 7), 15);
    }
}
