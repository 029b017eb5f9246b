//! Terminals: pseudoterminals with what waits in them, `/dev/tty`, consoles. The same terminal may be open many times; its
//! settings are kept once, in an entry of its own.

use super::{Files, Open, entry};
use crate::coverage::{CONTROLLED_OUTSIDE, TERMINAL_NUMBER, TERMINAL_OUTSIDE, TERMINAL_TWICE};
use crate::error::Error;
use crate::obstacle::Obstacle;
use crate::tty::{self, Device, Waiting};
use plimsoll_image::proto::{
    FdTypes, FileEntry, RegFileEntry, TtyDataEntry, TtyFileEntry, TtyInfoEntry, TtyPtyEntry,
    WinsizeEntry,
};
use plimsoll_proc::Root;
use plimsoll_proc::process::stat::{self, Stat};
use plimsoll_proc::text::number;
use plimsoll_sys::terminal;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::collections::BTreeMap;

/// The terminals of a tree.
#[derive(Debug, Default)]
pub(super) struct Terminals {
    /// By the number of their entry.
    known: BTreeMap<u32, Known>,
    /// Who is controlled by one.
    controlled: Vec<Controlled>,
}

#[derive(Debug)]
struct Known {
    info: TtyInfoEntry,
    /// Who has it open: process, descriptor.
    by: (u32, u32),
    file: OwnedFd,
}

#[derive(Debug)]
struct Controlled {
    pid: u32,
    session: u32,
    /// The device's number, as `/proc/PID/stat` has it.
    terminal: u32,
    foreground: u32,
}

/// An open terminal; `None` where a file is none.
pub(super) fn file(
    files: &mut Files,
    open: &Open<'_>,
    id: u32,
) -> Result<Option<FileEntry>, Error> {
    let Some(device) = Device::of(open.stat.st_rdev) else {
        return Ok(None);
    };
    let failed = |errno: Errno| open.failed("ask the terminal behind", errno);
    let index = match device {
        Device::Master => terminal::index(&open.file).map_err(failed)?,
        Device::Slave(index) => index,
        _ => 0,
    };
    if index > tty::LAST_INDEX {
        return Err(Error::refused(
            TERMINAL_NUMBER.of(open.pid, &[&open.fd, &index]),
        ));
    }
    let number = tty::number(device, index);
    files.terminals.learn(open, device, index)?;
    let path = files.new_id();
    let name = open.link.strip_suffix(b" (deleted)").unwrap_or(open.link);
    let reg = RegFileEntry {
        id: path,
        flags: open.flags(),
        fown: open.owner()?,
        name: name.to_vec(),
        mode: Some(open.stat.st_mode),
        ..RegFileEntry::default()
    };
    files.entries.insert(
        path,
        FileEntry {
            reg: Some(reg),
            ..entry(FdTypes::Reg, path)
        },
    );
    Ok(Some(FileEntry {
        tty: Some(TtyFileEntry {
            id,
            tty_info_id: number,
            flags: open.flags(),
            fown: open.owner()?,
            regf_id: Some(path),
        }),
        ..entry(FdTypes::Tty, id)
    }))
}

fn info(open: &Open<'_>, device: Device, index: u32) -> Result<TtyInfoEntry, Errno> {
    let file = &open.file;
    let low = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
    let kind = device.kind();
    let info = TtyInfoEntry {
        id: tty::number(device, index),
        r#type: kind.into(),
        rdev: low(open.stat.st_rdev),
        dev: Some(low(open.stat.st_dev)),
        uid: Some(open.stat.st_uid),
        gid: Some(open.stat.st_gid),
        pty: (kind == plimsoll_image::proto::TtyType::Pty).then_some(TtyPtyEntry { index }),
        ..TtyInfoEntry::default()
    };
    let settings = match terminal::settings(file) {
        Err(Errno::IO) => return Ok(info), // hung up
        settings => settings?,
    };
    let size = rustix::termios::tcgetwinsize(file)?;
    let master = device == Device::Master;
    Ok(TtyInfoEntry {
        locked: master && terminal::is_locked(file)?,
        packet_mode: master && terminal::is_in_packet_mode(file)?,
        exclusive: terminal::is_exclusive(file)?,
        termios: Some(tty::to_entry(&settings)),
        termios_locked: Some(tty::to_entry(&terminal::locked_settings(file)?)),
        winsize: Some(WinsizeEntry {
            ws_row: size.ws_row.into(),
            ws_col: size.ws_col.into(),
            ws_xpixel: size.ws_xpixel.into(),
            ws_ypixel: size.ws_ypixel.into(),
        }),
        ..info
    })
}

impl Terminals {
    /// Keeps what a terminal is, when it is met first.
    fn learn(&mut self, open: &Open<'_>, device: Device, index: u32) -> Result<(), Error> {
        let failed = |errno: Errno| open.failed("ask the terminal behind", errno);
        let number = tty::number(device, index);
        let Some(known) = self.known.get(&number) else {
            let known = Known {
                info: info(open, device, index).map_err(failed)?,
                by: (open.pid, open.fd),
                file: open
                    .file
                    .try_clone()
                    .map_err(|source| open.failed("duplicate", source))?,
            };
            self.known.insert(number, known);
            return Ok(());
        };
        let is_hung_up = terminal::settings(&open.file) == Err(Errno::IO);
        if is_hung_up == tty::is_hung_up(&known.info) {
            return Ok(());
        }
        // Images have one entry for both.
        Err(Error::refused(TERMINAL_TWICE.of(open.pid, &[&index])))
    }

    /// Which terminal controls a process.
    pub(super) fn note(&mut self, root: &Root, pid: u32) -> Result<(), Error> {
        let line = root.read(format!("proc/{pid}/stat"))?;
        let stat = Stat::parse(&line).map_err(|_| Error::NoProcess(pid))?;
        let foreground = stat::field(&line, 8).and_then(number);
        if stat.tty_nr != 0 {
            self.controlled.push(Controlled {
                pid,
                session: stat.session,
                terminal: stat.tty_nr.unsigned_abs(),
                foreground: foreground
                    .and_then(|pid| u32::try_from(pid).ok())
                    .unwrap_or(0),
            });
        }
        Ok(())
    }

    /// All entries, once every process has been looked at; first of all what stands in the way.
    pub(super) fn finish(
        mut self,
        shell_job: bool,
    ) -> Result<(Vec<TtyInfoEntry>, Vec<TtyDataEntry>), Error> {
        self.control();
        if !shell_job {
            let foreign = self.foreign();
            if !foreign.is_empty() {
                return Err(Error::Refused(foreign));
            }
        }
        let data = self.waiting()?;
        let infos = self.known.into_values().map(|known| known.info);
        Ok((infos.collect(), data))
    }

    /// Says of each terminal which session it controls.
    fn control(&mut self) {
        for known in self.known.values_mut() {
            let session = match known.info.r#type() {
                plimsoll_image::proto::TtyType::Ctty => {
                    self.controlled.iter().find(|one| one.pid == known.by.0)
                }
                plimsoll_image::proto::TtyType::Pty => {
                    let index = known.info.pty.as_ref().map_or(0, |pty| pty.index);
                    self.controlled
                        .iter()
                        .find(|one| slave(one.terminal) == Some(index))
                }
                _ => self
                    .controlled
                    .iter()
                    .find(|one| one.terminal == known.info.rdev),
            };
            if let Some(session) = session {
                (known.info.sid, known.info.pgrp) = (session.session, session.foreground);
            }
        }
    }

    /// Slaves whose master is not in the tree, open or in control of a leader of the tree.
    pub(super) fn foreign(&self) -> Vec<Obstacle> {
        let has_master = |index: u32| self.known.contains_key(&tty::number(Device::Master, index));
        let open = self.known.values().filter_map(|known| {
            let index = known.info.pty.as_ref()?.index;
            let foreign = !has_master(index) && !tty::is_hung_up(&known.info);
            let (pid, fd) = known.by;
            foreign.then(|| TERMINAL_OUTSIDE.of(pid, &[&fd]))
        });
        let leaders = self.controlled.iter().filter_map(|one| {
            let index = slave(one.terminal)?;
            let foreign = one.pid == one.session && !has_master(index);
            foreign.then(|| CONTROLLED_OUTSIDE.of(one.pid, &[]))
        });
        open.chain(leaders).collect()
    }

    /// What waits in pseudoterminals of which the tree has both ends.
    fn waiting(&self) -> Result<Vec<TtyDataEntry>, Error> {
        let mut data = Vec::new();
        for slave in self
            .known
            .values()
            .filter(|known| !tty::is_master(&known.info))
        {
            let index = slave.info.pty.as_ref().map(|pty| pty.index);
            let master = index.map(|index| tty::number(Device::Master, index));
            let Some(master) = master.and_then(|master| self.known.get(&master)) else {
                continue;
            };
            if tty::is_hung_up(&slave.info) {
                continue;
            }
            let path = format!("/proc/self/fd/{}", slave.file.as_raw_fd());
            let failed = |errno: Errno| Error::file("read what waits in", &path, errno);
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let end = open(&path, flags, Mode::empty()).map_err(failed)?;
            let Waiting { typed, printed } = tty::look(&master.file, &end).map_err(failed)?;
            let of = |tty_id, data| TtyDataEntry { tty_id, data };
            data.extend(
                [of(slave.info.id, typed), of(master.info.id, printed)]
                    .into_iter()
                    .filter(|entry| !entry.data.is_empty()),
            );
        }
        Ok(data)
    }
}

/// The N of `/dev/pts/N`, of a device number as `/proc/PID/stat` has it.
fn slave(number: u32) -> Option<u32> {
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    match Device::of(rustix::fs::makedev(major, minor)) {
        Some(Device::Slave(index)) => Some(index),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_known_by_what_stat_tells() {
        assert_eq!(slave(34816), Some(0));
        assert_eq!(slave(34816 + 7), Some(7));
        assert_eq!(slave(1024 + 1), None);
    }
}
