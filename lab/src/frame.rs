//! What travels over the lab's serial port: frames of a kind, a length and that many bytes.
//!
//! ```text
//!  0      1                 5
//! +------+-----------------+---------------------+
//! | kind | length, u32 LE  | length bytes        |
//! +------+-----------------+---------------------+
//! ```
//!
//! A run is `Hello`, then `Stdout` and `Stderr` as they come, then for each file asked for `File` and as many
//! `Contents` as it takes, or `Missing`, and `Exit` last. `Fault` is the agent's own trouble. The port is not
//! the console, so nothing that a kernel prints can be taken for a frame.

use std::io::{self, Read, Write};

/// No frame is longer. What is longer is sent in pieces.
pub const LIMIT_BYTES: usize = 64 << 10;

/// What a frame is. Zero is no kind, so that an empty line of zeros is not a run of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The agent is up; the kernel's release.
    Hello = 1,
    /// Output of the command.
    Stdout = 2,
    /// Errors of the command.
    Stderr = 3,
    /// A file begins; its path in the guest.
    File = 4,
    /// A piece of the file that began last.
    Contents = 5,
    /// A path that was asked for and could not be read; the path and why.
    Missing = 6,
    /// The command ended: its exit code, or 128 and the signal, as `i32` LE.
    Exit = 7,
    /// The agent itself could not go on; why.
    Fault = 8,
    /// Host to guest: one argument of the command.
    Argument = 16,
    /// Host to guest: a path whose files are wanted back.
    CopyOut = 17,
    /// Host to guest: a module to load, by its path in the guest, in order.
    Module = 18,
    /// Host to guest: make the first disk a swap area and use it.
    Swap = 19,
    /// Host to guest: the command talks to the console.
    Interactive = 20,
}

/// Every kind, for reading one back from its number.
const KINDS: [Kind; 13] = [
    Kind::Hello,
    Kind::Stdout,
    Kind::Stderr,
    Kind::File,
    Kind::Contents,
    Kind::Missing,
    Kind::Exit,
    Kind::Fault,
    Kind::Argument,
    Kind::CopyOut,
    Kind::Module,
    Kind::Swap,
    Kind::Interactive,
];

/// Which of the command's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// What it says, at most [`LIMIT_BYTES`].
    pub payload: Vec<u8>,
}

impl Frame {
    /// Sends one frame.
    ///
    /// # Errors
    /// The port's, and `InvalidInput` where the payload is over the limit.
    pub fn send(kind: Kind, payload: &[u8], port: &mut impl Write) -> io::Result<()> {
        let length = u32::try_from(payload.len()).ok();
        let Some(length) = length.filter(|_| payload.len() <= LIMIT_BYTES) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "frame over the limit",
            ));
        };
        // One write, so that two threads behind one lock are enough to keep frames whole.
        let mut frame = Vec::with_capacity(payload.len().saturating_add(5));
        frame.push(kind as u8);
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(payload);
        port.write_all(&frame)
    }

    /// Receives one frame, or `None` where the port ended between two.
    ///
    /// # Errors
    /// The port's; `InvalidData` for an unknown kind or an excessive length; `UnexpectedEof` inside a frame.
    pub fn receive(port: &mut impl Read) -> io::Result<Option<Self>> {
        let mut number = [0];
        if read_or_end(port, &mut number)? == 0 {
            return Ok(None);
        }
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let [number] = number;
        let kind = KINDS.into_iter().find(|kind| *kind as u8 == number);
        let kind = kind.ok_or_else(|| invalid(format!("no frame has kind {number}")))?;
        let mut length = [0; 4];
        port.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > LIMIT_BYTES {
            return Err(invalid(format!("a frame of {length} bytes")));
        }
        let mut payload = vec![0; length];
        port.read_exact(&mut payload)?;
        Ok(Some(Self { kind, payload }))
    }
}

/// `read`, again after an interruption.
fn read_or_end(port: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match port.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_over_the_limit_is_neither_sent_nor_received() {
        let mut port = Vec::new();
        assert!(Frame::send(Kind::Stdout, &vec![0; LIMIT_BYTES + 1], &mut port).is_err());
        assert!(port.is_empty());
        let mut hostile: &[u8] = &[2, 0xff, 0xff, 0xff, 0xff, 0];
        let error = Frame::receive(&mut hostile).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_port_may_end_between_frames_and_not_inside_one() {
        let mut port = Vec::new();
        Frame::send(Kind::Exit, &7i32.to_le_bytes(), &mut port).unwrap();
        for cut in 1..port.len() {
            let error = Frame::receive(&mut &port[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
        assert_eq!(Frame::receive(&mut &port[..0]).unwrap(), None);
    }

    proptest! {
        #[test]
        fn what_is_sent_is_received(
            frames in prop::collection::vec((0..KINDS.len(), prop::collection::vec(any::<u8>(), 0..99)), 0..9),
        ) {
            let mut port = Vec::new();
            for (kind, payload) in &frames {
                Frame::send(KINDS[*kind], payload, &mut port).unwrap();
            }
            let mut port = port.as_slice();
            for (kind, payload) in frames {
                let frame = Frame::receive(&mut port).unwrap();
                prop_assert_eq!(frame, Some(Frame { kind: KINDS[kind], payload }));
            }
            prop_assert_eq!(Frame::receive(&mut port).unwrap(), None);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut port = bytes.as_slice();
            while let Ok(Some(_)) = Frame::receive(&mut port) {}
        }
    }
}
