//! Typed entries, with what their types don't know kept beside them.
//!
//! An entry read from a file is written back byte for byte as long as nobody changes it. When its known fields are changed,
//! the unknown ones keep their place: a newer CRIU's images lose nothing by passing through here.

use crate::dynamic;
use crate::error::ImageError;
use crate::frame::{Frame, Reader, Writer};
use crate::kind::Kind;
use prost::{Message, Name};
use std::io::{Read, Write};
use std::ops::{Deref, DerefMut};

/// One message of an image and the raw bytes behind it. Stands for its message: `entry.pid`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Entry<T> {
    /// The fields that we know.
    pub message: T,
    /// Raw bytes behind the message, without padding; empty for most kinds.
    pub payload: Vec<u8>,
    /// How it was read, where writing `message` would give other bytes.
    original: Option<Vec<u8>>,
}

impl<T> From<T> for Entry<T> {
    fn from(message: T) -> Self {
        Self::with_payload(message, Vec::new())
    }
}

impl<T> Entry<T> {
    /// A message and the raw bytes behind it.
    pub fn with_payload(message: T, payload: Vec<u8>) -> Self {
        Self {
            message,
            payload,
            original: None,
        }
    }
}

impl<T> Deref for Entry<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.message
    }
}

impl<T> DerefMut for Entry<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.message
    }
}

impl<T: Message + Name + Default + PartialEq> Entry<T> {
    /// Decodes a message; refuses one that lacks a required field.
    ///
    /// # Errors
    /// See [`ImageError::Decode`] and [`ImageError::Missing`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        let message = T::decode(bytes).map_err(|source| ImageError::Decode {
            message: T::NAME,
            offset: 0,
            source,
        })?;
        let same = message.encoded_len() == bytes.len() && message.encode_to_vec() == bytes;
        if !same {
            // It holds something that we don't know, lacks something, or is written in another order.
            dynamic::decode(T::NAME, bytes)?;
        }
        Ok(Self {
            message,
            payload: Vec::new(),
            original: (!same).then(|| bytes.to_vec()),
        })
    }

    /// The protobuf bytes: as they were read if nothing was changed since.
    ///
    /// # Errors
    /// None for what was decoded by [`Entry::decode`].
    pub fn encode(&self) -> Result<Vec<u8>, ImageError> {
        let Some(original) = &self.original else {
            return Ok(self.message.encode_to_vec());
        };
        if T::decode(original.as_slice()).is_ok_and(|message| message == self.message) {
            return Ok(original.clone());
        }
        let mut merged = dynamic::decode(T::NAME, original)?;
        let changed = dynamic::decode(T::NAME, &self.message.encode_to_vec())?;
        dynamic::overlay(&mut merged, &changed);
        Ok(dynamic::encode(&merged))
    }

    /// The fields of this entry that nothing here knows: the type they were found in, and their number.
    pub fn unknown_fields(&self) -> Vec<(String, u32)> {
        let original = self.original.as_deref();
        let decoded = original.and_then(|bytes| dynamic::decode(T::NAME, bytes).ok());
        decoded.as_ref().map_or(Vec::new(), dynamic::unknown_fields)
    }
}

impl<R: Read> Reader<R> {
    /// The next message, as this type, with its raw bytes; `None` at the end.
    ///
    /// # Errors
    /// The file is broken, or the next message is of another type.
    pub fn next_entry<T: Message + Name + Default + PartialEq>(
        &mut self,
    ) -> Result<Option<Entry<T>>, ImageError> {
        let Some(frame) = self.next_frame()? else {
            return Ok(None);
        };
        let mut entry = typed(&frame, self.kind())?;
        entry.payload = self.read_payload(frame.payload)?;
        Ok(Some(entry))
    }
}

fn typed<T: Message + Name + Default + PartialEq>(
    frame: &Frame,
    kind: Kind,
) -> Result<Entry<T>, ImageError> {
    if frame.message != T::NAME {
        return Err(ImageError::WrongMessage {
            kind,
            message: T::NAME,
        });
    }
    Entry::decode(&frame.bytes).map_err(|error| match error {
        ImageError::Decode {
            message, source, ..
        } => ImageError::Decode {
            message,
            offset: frame.offset,
            source,
        },
        other => other,
    })
}

impl<W: Write> Writer<W> {
    /// Writes a message with the raw bytes that it announces.
    ///
    /// # Errors
    /// It is of the wrong type for this place, its raw bytes are not as many as it says, or the file can't be written.
    pub fn push<T: Message + Name + Default + PartialEq>(
        &mut self,
        entry: &Entry<T>,
    ) -> Result<(), ImageError> {
        let announced = self.push_bytes(T::NAME, &entry.encode()?)?;
        self.push_payload(T::NAME, announced, &mut entry.payload.as_slice())
    }
}

/// All entries of an image whose entries are of one type.
///
/// # Errors
/// See [`Reader::next_entry`].
pub fn read_all<T: Message + Name + Default + PartialEq>(
    kind: Kind,
    file: impl Read,
) -> Result<Vec<Entry<T>>, ImageError> {
    let mut reader = Reader::open_as(file, kind)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

/// The only entry of an image that holds one: `core`, `mm`, `ids`, `inventory`...
///
/// # Errors
/// See [`Reader::next_entry`]; an empty file is cut.
pub fn read_one<T: Message + Name + Default + PartialEq>(
    kind: Kind,
    file: impl Read,
) -> Result<Entry<T>, ImageError> {
    let mut reader = Reader::open_as(file, kind)?;
    reader.next_entry()?.ok_or(ImageError::Cut {
        what: "the first message",
        offset: 8,
    })
}

/// An image with these entries, as bytes.
///
/// # Errors
/// See [`Writer::push`].
pub fn write_all<'a, T: Message + Name + Default + PartialEq + 'a>(
    kind: Kind,
    entries: impl IntoIterator<Item = &'a Entry<T>>,
) -> Result<Vec<u8>, ImageError> {
    let mut writer = Writer::new(Vec::new(), kind)?;
    for entry in entries {
        writer.push(entry)?;
    }
    Ok(writer.into_inner())
}
