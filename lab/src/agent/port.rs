//! The guest's end of the port, for as many threads as want to speak.

use anyhow::{Context, Result};
use plimsoll_lab::frame::{Frame, Kind, LIMIT_BYTES};
use plimsoll_lab::request::PORT_NAME;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub(crate) struct Port(Mutex<File>);

impl Port {
    /// Finds the port by the name that the emulator gave it.
    pub(crate) fn open() -> Result<Self> {
        let ports = fs::read_dir("/sys/class/virtio-ports").context("no virtio port at all")?;
        let mut devices = ports.filter_map(|entry| {
            let entry = entry.ok()?;
            let name = fs::read_to_string(entry.path().join("name")).ok()?;
            (name.trim() == PORT_NAME).then(|| PathBuf::from("/dev").join(entry.file_name()))
        });
        let device = devices.next().context("no virtio port of the lab's")?;
        let port = File::options().write(true).open(&device);
        Ok(Self(Mutex::new(
            port.with_context(|| device.display().to_string())?,
        )))
    }

    fn send(&self, kind: Kind, payload: &[u8]) -> Result<()> {
        // A thread that died while it sent has left half a frame: nobody can speak after it.
        let Ok(mut port) = self.0.lock() else {
            anyhow::bail!("the port is broken");
        };
        Ok(Frame::send(kind, payload, &mut *port)?)
    }

    pub(crate) fn hello(&self, release: &[u8]) -> Result<()> {
        self.send(Kind::Hello, release)
    }

    pub(crate) fn exit(&self, status: i32) -> Result<()> {
        self.send(Kind::Exit, &status.to_le_bytes())
    }

    pub(crate) fn fault(&self, why: &str) -> Result<()> {
        self.send(Kind::Fault, why.as_bytes())
    }

    pub(crate) fn missing(&self, path: &Path, why: &std::io::Error) -> Result<()> {
        self.send(
            Kind::Missing,
            format!("{}: {why}", path.display()).as_bytes(),
        )
    }

    pub(crate) fn file(&self, path: &Path) -> Result<()> {
        self.send(Kind::File, path.as_os_str().as_bytes())
    }

    /// Sends all that `from` gives, piece by piece, as frames of one kind.
    pub(crate) fn relay(&self, kind: Kind, mut from: impl Read) -> Result<()> {
        let mut piece = vec![0; LIMIT_BYTES];
        loop {
            let length = from.read(&mut piece)?;
            match piece.get(..length) {
                Some([]) | None => return Ok(()),
                Some(read) => self.send(kind, read)?,
            }
        }
    }
}
