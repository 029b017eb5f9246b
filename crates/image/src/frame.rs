//! Framing: an image as a row of messages, each perhaps with raw bytes behind it.
//!
//! ```text
//! file    = [first magic] magic { message }
//! message = length (u32, little-endian), protobuf, raw bytes as the message announces them
//! ```
//!
//! Three kinds change the type on the way: a `pagemap` begins with a head, a ghost file goes on with chunks, and a System V
//! queue is followed by its messages. All of that is in [`Next`] and [`payload`]; the rest of the crate sees [`Frame`]s.
//!
//! Files are hostile: a length makes us read, never allocate ahead, and there is a limit to it.

use crate::error::ImageError;
use crate::kind::Kind;
use crate::proto::{
    BpfmapDataEntry, GhostChunkEntry, GhostFileEntry, IpcMsg, IpcMsgEntry, IpcSemEntry,
    IpcShmEntry, PipeDataEntry, SkPacketEntry, TcpStreamEntry,
};
use prost::{DecodeError, Message};
use std::io::{self, Read, Write};

/// The largest message that is read. The largest that a kernel's limits allow is an `mm_entry` with 65530 mappings: 6 MiB.
pub const MESSAGE_LIMIT_BYTES: u32 = 64 << 20;

/// Raw bytes behind a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// So many bytes, and zeros up to a multiple of `align` (a power of two).
    Bytes {
        /// The bytes that count.
        length: u64,
        /// 1 where nothing is padded.
        align: u64,
    },
    /// All that the file still holds.
    Rest,
}

impl Payload {
    const NONE: Self = Self::plain(0);

    const fn plain(length: u64) -> Self {
        Self::Bytes { length, align: 1 }
    }

    /// With its padding; `None` for the rest of a file, and for lengths that no file can have.
    fn padded_length(self) -> Option<u64> {
        match self {
            Self::Bytes { length, align } => length.checked_next_multiple_of(align),
            Self::Rest => None,
        }
    }
}

/// A message as it lies in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type, by CRIU's name: `core_entry`.
    pub message: &'static str,
    /// The protobuf bytes.
    pub bytes: Vec<u8>,
    /// Where its length stands, in bytes from the start of the file.
    pub offset: u64,
    /// What comes behind it.
    pub payload: Payload,
}

/// Which type comes next in a file.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// The one of the table, always.
    Same,
    /// The head of a pagemap, then its entries.
    Head,
    /// A ghost file, then its chunks if it has any.
    Ghost,
    Chunks,
    /// A queue; so many of its messages are still to come.
    Queue(u32),
}

impl Next {
    fn first(kind: Kind) -> Self {
        match kind {
            Kind::Pagemap | Kind::ShmemPagemap => Self::Head,
            Kind::GhostFile => Self::Ghost,
            Kind::IpcMsg => Self::Queue(0),
            _ => Self::Same,
        }
    }

    fn message(self, kind: Kind) -> &'static str {
        match self {
            Self::Head => "pagemap_head",
            Self::Chunks => "ghost_chunk_entry",
            Self::Queue(left) if left > 0 => "ipc_msg",
            Self::Same | Self::Ghost | Self::Queue(_) => kind.row().message,
        }
    }

    fn after(self, bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(match self {
            Self::Same | Self::Head => Self::Same,
            Self::Ghost | Self::Chunks => Self::Chunks,
            Self::Queue(0) => Self::Queue(IpcMsgEntry::decode(bytes)?.qnum),
            Self::Queue(left) => Self::Queue(left.saturating_sub(1)),
        })
    }
}

/// What a message announces behind it.
fn payload(message: &str, bytes: &[u8]) -> Result<Payload, DecodeError> {
    Ok(match message {
        "pipe_data_entry" => Payload::plain(PipeDataEntry::decode(bytes)?.bytes.into()),
        "sk_packet_entry" => Payload::plain(SkPacketEntry::decode(bytes)?.length.into()),
        "tcp_stream_entry" => {
            let entry = TcpStreamEntry::decode(bytes)?;
            Payload::plain(u64::from(entry.inq_len) + u64::from(entry.outq_len))
        }
        "bpfmap_data_entry" => {
            let entry = BpfmapDataEntry::decode(bytes)?;
            Payload::plain(u64::from(entry.keys_bytes) + u64::from(entry.values_bytes))
        }
        "ghost_file_entry" => match GhostFileEntry::decode(bytes)?.chunks {
            Some(true) => Payload::NONE,
            _ => Payload::Rest,
        },
        "ghost_chunk_entry" => Payload::plain(GhostChunkEntry::decode(bytes)?.len),
        "ipc_shm_entry" => {
            let entry = IpcShmEntry::decode(bytes)?;
            match entry.in_pagemaps {
                Some(true) => Payload::NONE,
                _ => Payload::Bytes {
                    length: entry.size,
                    align: 4,
                },
            }
        }
        "ipc_sem_entry" => Payload::Bytes {
            length: u64::from(IpcSemEntry::decode(bytes)?.nsems) * 2,
            align: 8,
        },
        "ipc_msg" => Payload::Bytes {
            length: IpcMsg::decode(bytes)?.msize.into(),
            align: 8,
        },
        _ => Payload::NONE,
    })
}

/// Reads an image message by message.
#[derive(Debug)]
pub struct Reader<R> {
    file: R,
    kind: Kind,
    next: Next,
    offset: u64,
    /// Bytes of the last payload that nobody has read yet; `None`: all that comes.
    unread: Option<u64>,
}

impl<R: Read> Reader<R> {
    /// Opens an image of whatever kind its first words name. Two kinds share a magic number: see [`Kind::of_magic`].
    ///
    /// # Errors
    /// No image, or no file.
    pub fn open(file: R) -> Result<Self, ImageError> {
        Self::begin(file, None)
    }

    /// Opens an image of this kind.
    ///
    /// # Errors
    /// Another image, no image, or no file.
    pub fn open_as(file: R, kind: Kind) -> Result<Self, ImageError> {
        Self::begin(file, Some(kind))
    }

    fn begin(file: R, kind: Option<Kind>) -> Result<Self, ImageError> {
        let mut reader = Self {
            file,
            kind: kind.unwrap_or(Kind::Inventory),
            next: Next::Same,
            offset: 0,
            unread: Some(0),
        };
        let mut first = None;
        let mut magic = reader.word("the magic number")?;
        if matches!(
            magic,
            crate::kind::COMMON_MAGIC | crate::kind::SERVICE_MAGIC
        ) {
            first = Some(magic);
            magic = reader.word("the magic number")?;
        }
        let found = Kind::of_magic(magic).ok_or(ImageError::UnknownMagic { found: magic })?;
        let kind = kind.unwrap_or(found);
        // Version 1 of the format had one word only, so a first word may be missing, but not differ.
        if kind.magic() != Some(magic) || (first.is_some() && first != kind.first_magic()) {
            return Err(ImageError::Magic {
                expected: kind.name(),
                found: magic,
                offset: reader.offset.saturating_sub(4),
            });
        }
        reader.kind = kind;
        reader.next = Next::first(kind);
        Ok(reader)
    }

    /// What kind of image it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The next message; `None` at the end. What was not read of the last payload is skipped.
    ///
    /// # Errors
    /// The file is cut, or a message is not what it must be to find the next.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ImageError> {
        io::copy(&mut self.payload(), &mut io::sink()).map_err(ImageError::io("read"))?;
        if self.unread.is_some_and(|unread| unread > 0) {
            return Err(self.cut("raw bytes"));
        }
        let offset = self.offset;
        let Some(length) = self.word_or_end()? else {
            return if matches!(self.next, Next::Queue(1..)) {
                Err(self.cut("a message queue"))
            } else {
                Ok(None)
            };
        };
        let bytes = self.message_bytes(length, offset)?;
        let message = self.next.message(self.kind);
        let decode = |source| ImageError::Decode {
            message,
            offset,
            source,
        };
        let payload = payload(message, &bytes).map_err(decode)?;
        self.next = self.next.after(&bytes).map_err(decode)?;
        self.unread = match payload {
            Payload::Rest => None,
            Payload::Bytes { .. } => Some(
                payload
                    .padded_length()
                    .ok_or_else(|| self.cut("raw bytes"))?,
            ),
        };
        Ok(Some(Frame {
            message,
            bytes,
            offset,
            payload,
        }))
    }

    /// The raw bytes behind the last message, padding included.
    pub fn payload(&mut self) -> impl Read + '_ {
        PayloadReader { reader: self }
    }

    /// Reads the raw bytes behind the last message into memory, without their padding.
    ///
    /// # Errors
    /// The file ends before them, or can't be read.
    pub fn read_payload(&mut self, payload: Payload) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        self.payload()
            .read_to_end(&mut bytes)
            .map_err(ImageError::io("read"))?;
        if self.unread.is_some_and(|unread| unread > 0) {
            return Err(self.cut("raw bytes"));
        }
        if let Payload::Bytes { length, .. } = payload {
            bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        }
        Ok(bytes)
    }

    fn message_bytes(&mut self, length: u32, offset: u64) -> Result<Vec<u8>, ImageError> {
        if length > MESSAGE_LIMIT_BYTES {
            return Err(ImageError::TooLarge {
                bytes: length.into(),
                limit: MESSAGE_LIMIT_BYTES.into(),
                offset,
            });
        }
        let mut bytes = Vec::new();
        let read = (&mut self.file)
            .take(length.into())
            .read_to_end(&mut bytes)
            .map_err(ImageError::io("read"))?;
        if read as u64 != u64::from(length) {
            return Err(self.cut("a message"));
        }
        self.offset += read as u64;
        Ok(bytes)
    }

    fn word(&mut self, what: &'static str) -> Result<u32, ImageError> {
        self.word_or_end()?.ok_or(self.cut(what))
    }

    fn word_or_end(&mut self) -> Result<Option<u32>, ImageError> {
        let mut word = Vec::with_capacity(4);
        (&mut self.file)
            .take(4)
            .read_to_end(&mut word)
            .map_err(ImageError::io("read"))?;
        if word.is_empty() {
            return Ok(None);
        }
        let word: [u8; 4] = word.try_into().map_err(|_| self.cut("a length"))?;
        self.offset += 4;
        Ok(Some(u32::from_le_bytes(word)))
    }

    fn cut(&self, what: &'static str) -> ImageError {
        ImageError::Cut {
            what,
            offset: self.offset,
        }
    }
}

struct PayloadReader<'a, R> {
    reader: &'a mut Reader<R>,
}

impl<R: Read> Read for PayloadReader<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = match self.reader.unread {
            Some(unread) => into
                .len()
                .min(usize::try_from(unread).unwrap_or(usize::MAX)),
            None => into.len(),
        };
        let read = match into.get_mut(..most) {
            Some(room) if !room.is_empty() => self.reader.file.read(room)?,
            _ => 0,
        };
        self.reader.offset += read as u64;
        self.reader.unread = self
            .reader
            .unread
            .map(|unread| unread.saturating_sub(read as u64));
        Ok(read)
    }
}

/// Writes an image message by message.
#[derive(Debug)]
pub struct Writer<W> {
    file: W,
    kind: Kind,
    next: Next,
}

impl<W: Write> Writer<W> {
    /// Begins an image: writes its magic numbers.
    ///
    /// # Errors
    /// The file can't be written. A raw kind of file has no such form: that is [`ImageError::WrongMessage`].
    pub fn new(mut file: W, kind: Kind) -> Result<Self, ImageError> {
        let magic = kind.magic().ok_or(ImageError::WrongMessage {
            kind,
            message: "magic number",
        })?;
        for word in kind.first_magic().into_iter().chain([magic]) {
            file.write_all(&word.to_le_bytes())
                .map_err(ImageError::io("write"))?;
        }
        Ok(Self {
            file,
            kind,
            next: Next::first(kind),
        })
    }

    /// Writes a message that is already in its protobuf form, and says which raw bytes have to follow it.
    ///
    /// # Errors
    /// The file can't be written; this is not the place for this type; the message does not decode.
    pub fn push_bytes(
        &mut self,
        message: &'static str,
        bytes: &[u8],
    ) -> Result<Payload, ImageError> {
        if self.next.message(self.kind) != message {
            return Err(ImageError::WrongMessage {
                kind: self.kind,
                message,
            });
        }
        let decode = |source| ImageError::Decode {
            message,
            offset: 0,
            source,
        };
        let payload = payload(message, bytes).map_err(decode)?;
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length <= MESSAGE_LIMIT_BYTES)
            .ok_or(ImageError::TooLarge {
                bytes: bytes.len() as u64,
                limit: MESSAGE_LIMIT_BYTES.into(),
                offset: 0,
            })?;
        self.next = self.next.after(bytes).map_err(decode)?;
        self.file
            .write_all(&length.to_le_bytes())
            .and_then(|()| self.file.write_all(bytes))
            .map_err(ImageError::io("write"))?;
        Ok(payload)
    }

    /// Writes the raw bytes that the last message announced, and their padding.
    ///
    /// # Errors
    /// They can't be read or written, or are not as many as announced.
    pub fn push_payload(
        &mut self,
        message: &'static str,
        announced: Payload,
        from: &mut impl Read,
    ) -> Result<(), ImageError> {
        let given = io::copy(from, &mut self.file).map_err(ImageError::io("write"))?;
        let Payload::Bytes { length, .. } = announced else {
            return Ok(());
        };
        if given != length {
            return Err(ImageError::PayloadLength {
                message,
                announced: length,
                given,
            });
        }
        let padding = announced.padded_length().unwrap_or(length) - length;
        io::copy(&mut io::repeat(0).take(padding), &mut self.file)
            .map_err(ImageError::io("write"))?;
        Ok(())
    }

    /// The file, after all that was written to it.
    pub fn into_inner(self) -> W {
        self.file
    }
}
