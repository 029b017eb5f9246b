//! What the host wants of a guest: a file in its root that the agent reads first.
//!
//! It is written in the frames of the port, so that arguments and paths may hold any byte.

use crate::frame::{Frame, Kind};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Where the request lies in the guest.
pub const PATH: &str = "/lab/request";

/// The name of the port, as the guest finds it in `/sys/class/virtio-ports`.
pub const PORT_NAME: &str = "lab";

/// One run's wishes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Request {
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// Files and directories to send back when the command has ended.
    pub copy_out: Vec<PathBuf>,
    /// Modules to load before anything else, in this order.
    pub modules: Vec<PathBuf>,
    /// Whether the first disk becomes a swap area.
    pub swap: bool,
    /// Whether the command talks to the console, and nothing is relayed.
    pub interactive: bool,
}

impl Request {
    /// The request as the file that the agent reads.
    ///
    /// # Errors
    /// Where an argument or path is longer than a frame.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let mut file = Vec::new();
        for argument in &self.command {
            Frame::send(Kind::Argument, argument.as_bytes(), &mut file)?;
        }
        for (kind, paths) in [
            (Kind::CopyOut, &self.copy_out),
            (Kind::Module, &self.modules),
        ] {
            for path in paths {
                Frame::send(kind, path.as_os_str().as_bytes(), &mut file)?;
            }
        }
        for (kind, wanted) in [
            (Kind::Swap, self.swap),
            (Kind::Interactive, self.interactive),
        ] {
            if wanted {
                Frame::send(kind, &[], &mut file)?;
            }
        }
        Ok(file)
    }

    /// Reads the file back.
    ///
    /// # Errors
    /// Where it holds something else than a request.
    pub fn decode(mut file: &[u8]) -> io::Result<Self> {
        let mut request = Self::default();
        while let Some(Frame { kind, payload }) = Frame::receive(&mut file)? {
            let text = OsString::from_vec(payload);
            match kind {
                Kind::Argument => request.command.push(text),
                Kind::CopyOut => request.copy_out.push(text.into()),
                Kind::Module => request.modules.push(text.into()),
                Kind::Swap => request.swap = true,
                Kind::Interactive => request.interactive = true,
                other => {
                    let what = format!("{other:?} has no place in a request");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let request = Request {
            command: vec!["sh".into(), OsString::from_vec(vec![b'a', 0xff, b'\n', 0])],
            copy_out: vec!["/tmp/a b".into()],
            modules: vec!["/lab/one.ko".into(), "/lab/two.ko".into()],
            swap: true,
            interactive: false,
        };
        let file = request.encode().unwrap();
        assert_eq!(Request::decode(&file).unwrap(), request);
    }

    #[test]
    fn frames_of_the_other_direction_are_refused() {
        let mut file = Vec::new();
        Frame::send(Kind::Exit, &[0; 4], &mut file).unwrap();
        assert!(Request::decode(&file).is_err());
    }
}
