//! A whole image as one JSON object, written while it is read.
//!
//! ```text
//! {"magic": "PSTREE", "entries": [{"pid": 77, ...}, ...]}
//! ```
//!
//! Raw bytes behind a message are its `extra`: in base64, but for semaphores (numbers), System V messages (a list that alternates
//! between message and bytes) and TCP queues (`inq` and `outq`). `crit encode` takes all of it back.

use super::value::{BASE64_LINE_BYTES, ShownMessage};
use crate::dynamic;
use crate::error::ImageError;
use crate::frame::{Frame, Payload, Reader};
use crate::proto::{IpcMsgEntry, TcpStreamEntry};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use prost_reflect::DynamicMessage;
use serde::ser::{Error, Serialize, SerializeMap, SerializeSeq, Serializer};
use std::cell::RefCell;
use std::fmt;
use std::io::Read;

/// An image that is serialised once, from its reader. A file that turns out to be broken ends that with an error.
#[derive(Debug)]
pub struct Document<R> {
    reader: RefCell<Reader<R>>,
}

impl<R: Read> Document<R> {
    /// All that this reader has not read yet.
    pub fn new(reader: Reader<R>) -> Self {
        Self {
            reader: RefCell::new(reader),
        }
    }

    /// Its entries, as fields of a map that may get others besides.
    ///
    /// # Errors
    /// The map can't be written, or the image is broken.
    pub fn serialize_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("magic", self.reader.borrow().kind().name())?;
        map.serialize_entry("entries", &Entries(&self.reader))
    }
}

impl<R: Read> Serialize for Document<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        self.serialize_into(&mut map)?;
        map.end()
    }
}

struct Entries<'a, R>(&'a RefCell<Reader<R>>);

impl<R: Read> Serialize for Entries<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = serializer.serialize_seq(None)?;
        while let Some((frame, message)) = next(self.0).map_err(S::Error::custom)? {
            entries.serialize_element(&EntryShown {
                reader: self.0,
                frame,
                message,
            })?;
        }
        entries.end()
    }
}

fn next<R: Read>(
    reader: &RefCell<Reader<R>>,
) -> Result<Option<(Frame, DynamicMessage)>, ImageError> {
    let Some(frame) = reader.borrow_mut().next_frame()? else {
        return Ok(None);
    };
    let message = dynamic::decode(frame.message, &frame.bytes)?;
    Ok(Some((frame, message)))
}

struct EntryShown<'a, R> {
    reader: &'a RefCell<Reader<R>>,
    frame: Frame,
    message: DynamicMessage,
}

impl<R: Read> Serialize for EntryShown<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        ShownMessage::new(&self.message).serialize_into(&mut map)?;
        let bytes = |length| Base64 {
            reader: self.reader,
            length,
        };
        match (self.frame.message, self.frame.payload) {
            ("tcp_stream_entry", _) => map.serialize_entry("extra", &Queues(self))?,
            ("ipc_sem_entry", Payload::Bytes { length, .. }) => {
                map.serialize_entry("extra", &Semaphores(self.reader, length))?;
            }
            ("ipc_msg_entry", _) => map.serialize_entry("extra", &Messages(self))?,
            (_, Payload::Rest) => map.serialize_entry("extra", &bytes(u64::MAX))?,
            (_, Payload::Bytes { length, .. }) => {
                if length > 0 || always_has_extra(self.frame.message) {
                    map.serialize_entry("extra", &bytes(length))?;
                }
            }
        }
        map.end()
    }
}

/// Types whose entries have an `extra` also when it is empty.
fn always_has_extra(message: &str) -> bool {
    matches!(
        message,
        "pipe_data_entry" | "sk_packet_entry" | "bpfmap_data_entry" | "ghost_chunk_entry"
    )
}

/// The next bytes of the payload, as lines of base64.
struct Base64<'a, R> {
    reader: &'a RefCell<Reader<R>>,
    length: u64,
}

impl<R: Read> fmt::Display for Base64<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reader = self.reader.borrow_mut();
        let mut payload = reader.payload().take(self.length);
        let mut line = Vec::with_capacity(BASE64_LINE_BYTES);
        loop {
            line.clear();
            let read = (&mut payload)
                .take(BASE64_LINE_BYTES as u64)
                .read_to_end(&mut line)
                .map_err(|_| fmt::Error)?;
            if read == 0 {
                return Ok(());
            }
            writeln!(f, "{}", STANDARD.encode(&line))?;
        }
    }
}

impl<R: Read> Serialize for Base64<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct Queues<'a, R>(&'a EntryShown<'a, R>);

impl<R: Read> Serialize for Queues<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry =
            TcpStreamEntry::decode(self.0.frame.bytes.as_slice()).map_err(S::Error::custom)?;
        let mut map = serializer.serialize_map(Some(2))?;
        for (name, length) in [("inq", entry.inq_len), ("outq", entry.outq_len)] {
            let queue = Base64 {
                reader: self.0.reader,
                length: length.into(),
            };
            map.serialize_entry(name, &queue)?;
        }
        map.end()
    }
}

struct Semaphores<'a, R>(&'a RefCell<Reader<R>>, u64);

impl<R: Read> Serialize for Semaphores<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut reader = self.0.borrow_mut();
        let mut payload = reader.payload().take(self.1);
        let mut values = serializer.serialize_seq(None)?;
        let mut value = [0; 2];
        while payload.read_exact(&mut value).is_ok() {
            values.serialize_element(&u16::from_le_bytes(value))?;
        }
        values.end()
    }
}

struct Messages<'a, R>(&'a EntryShown<'a, R>);

impl<R: Read> Serialize for Messages<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let queue = IpcMsgEntry::decode(self.0.frame.bytes.as_slice()).map_err(S::Error::custom)?;
        let mut pairs = serializer.serialize_seq(None)?;
        for _ in 0..queue.qnum {
            let next = next(self.0.reader).map_err(S::Error::custom)?;
            let Some((frame, message)) = next else {
                break;
            };
            pairs.serialize_element(&super::Shown::Message(ShownMessage::new(&message)))?;
            let length = match frame.payload {
                Payload::Bytes { length, .. } => length,
                Payload::Rest => u64::MAX,
            };
            pairs.serialize_element(&Base64 {
                reader: self.0.reader,
                length,
            })?;
        }
        pairs.end()
    }
}
