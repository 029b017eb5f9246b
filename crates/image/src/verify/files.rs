//! Every image by itself: it decodes to its end, and what others need of it is kept.

use super::report::{Report, Weight, chain};
use crate::directory::Directory;
use crate::dynamic;
use crate::entry::Entry;
use crate::error::ImageError;
use crate::frame::Reader;
use crate::kind::Kind;
use crate::manifest::MANIFEST;
use crate::packed::Part;
use crate::pagemap::Pagemap;
use crate::proto::{
    CgroupEntry, CoreEntry, FdinfoEntry, FileEntry, FsEntry, InventoryEntry, MemfdInodeEntry,
    MmEntry, PipeDataEntry, PstreeEntry, RemapFilePathEntry, SeccompEntry, SkPacketEntry,
    TaskKobjIdsEntry, TtyInfoEntry,
};
use prost::{Message, Name};
use std::collections::BTreeMap;
use std::io::{self, Read};

/// The decoded images of a set, as far as others refer to them. Raw bytes are left out.
#[derive(Debug, Default)]
pub(crate) struct Set {
    /// Every file that is an image, with its size in bytes.
    pub(crate) sizes: BTreeMap<(Kind, u64), u64>,
    pub(crate) inventory: Option<InventoryEntry>,
    pub(crate) pstree: Vec<PstreeEntry>,
    pub(crate) core: BTreeMap<u64, CoreEntry>,
    pub(crate) ids: BTreeMap<u64, TaskKobjIdsEntry>,
    pub(crate) mm: BTreeMap<u64, MmEntry>,
    pub(crate) fs: BTreeMap<u64, FsEntry>,
    pub(crate) fdinfo: BTreeMap<u64, Vec<FdinfoEntry>>,
    pub(crate) files: Vec<FileEntry>,
    pub(crate) remaps: Vec<RemapFilePathEntry>,
    pub(crate) memfds: Vec<MemfdInodeEntry>,
    pub(crate) ttys: Vec<TtyInfoEntry>,
    pub(crate) pipes_data: Vec<PipeDataEntry>,
    pub(crate) fifo_data: Vec<PipeDataEntry>,
    pub(crate) queues: Vec<SkPacketEntry>,
    pub(crate) seccomp: Vec<SeccompEntry>,
    pub(crate) cgroup: Vec<CgroupEntry>,
    /// Whether pages are packed; then there are no raw files of them.
    pub(crate) is_packed: bool,
    pub(crate) pagemaps: BTreeMap<u64, Pagemap>,
    pub(crate) shmem_pagemaps: BTreeMap<u64, Pagemap>,
}

impl Set {
    pub(crate) fn has(&self, kind: Kind, id: u64) -> bool {
        self.sizes.contains_key(&(kind, id))
    }
}

/// Decodes all images of a directory.
pub(crate) fn load(directory: &dyn Directory, report: &mut Report) -> io::Result<Set> {
    let mut set = Set::default();
    for (name, size) in directory.files()? {
        let shown = name.to_string_lossy().into_owned();
        set.is_packed |= Part::ALL.iter().any(|part| name == part.file_name());
        let Some((kind, id)) = Kind::of_file_name(&name) else {
            note_stranger(&shown, report);
            continue;
        };
        set.sizes.insert((kind, id), size);
        report.images += 1;
        if kind.magic().is_none() {
            continue;
        }
        let opened = directory.open(&name).map_err(ImageError::io("open"));
        let decoded = opened.and_then(|file| decode_whole(kind, file, &shown, report));
        let kept = decoded.and_then(|()| {
            let file = directory.open(&name).map_err(ImageError::io("open"))?;
            keep(&mut set, kind, id, file)
        });
        if let Err(error) = kept {
            report.add(Weight::Broken, &shown, chain(&error));
        }
    }
    Ok(set)
}

fn note_stranger(name: &str, report: &mut Report) {
    let ours = name == MANIFEST || Part::ALL.iter().any(|part| name == part.file_name());
    let expected =
        ours || name.ends_with(".log") || name.ends_with(".pid") || name.ends_with(".sock");
    if !expected {
        report.add(Weight::Note, name, "is no image");
    }
}

/// Reads every message with every field, and skips the raw bytes.
fn decode_whole(
    kind: Kind,
    file: impl Read,
    name: &str,
    report: &mut Report,
) -> Result<(), ImageError> {
    let mut reader = Reader::open_as(file, kind)?;
    let mut entries = 0u64;
    let mut unknown = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        entries += 1;
        let message = dynamic::decode(frame.message, &frame.bytes)?;
        unknown.extend(dynamic::unknown_fields(&message));
        unknown.sort();
        unknown.dedup();
    }
    for (message, number) in unknown {
        let text = format!("a {message} has a field {number} that this version does not know");
        report.add(Weight::Note, name, text);
    }
    if entries == 0 && holds_one(kind) {
        return Err(ImageError::Cut {
            what: "the first message",
            offset: 8,
        });
    }
    Ok(())
}

/// Kinds that hold exactly one message.
fn holds_one(kind: Kind) -> bool {
    use Kind::{Core, Fs, GhostFile, Ids, Inventory, Mm, Seccomp, Stats, TcpStream, Timens};
    matches!(
        kind,
        Core | Fs | GhostFile | Ids | Inventory | Mm | Seccomp | Stats | TcpStream | Timens
    )
}

fn keep(set: &mut Set, kind: Kind, id: u64, file: impl Read) -> Result<(), ImageError> {
    match kind {
        Kind::Inventory => set.inventory = only(kind, file)?,
        Kind::Pstree => set.pstree = messages(kind, file)?,
        Kind::Core => keep_one(&mut set.core, kind, id, file)?,
        Kind::Ids => keep_one(&mut set.ids, kind, id, file)?,
        Kind::Mm => keep_one(&mut set.mm, kind, id, file)?,
        Kind::Fs => keep_one(&mut set.fs, kind, id, file)?,
        Kind::Fdinfo => {
            set.fdinfo.insert(id, messages(kind, file)?);
        }
        Kind::Files => set.files = messages(kind, file)?,
        Kind::RemapFpath => set.remaps = messages(kind, file)?,
        Kind::MemfdInode => set.memfds = messages(kind, file)?,
        Kind::TtyInfo => set.ttys = messages(kind, file)?,
        Kind::PipesData => set.pipes_data = messages(kind, file)?,
        Kind::FifoData => set.fifo_data = messages(kind, file)?,
        Kind::SkQueues => set.queues = messages(kind, file)?,
        Kind::Seccomp => set.seccomp = messages(kind, file)?,
        Kind::Cgroup => set.cgroup = messages(kind, file)?,
        Kind::Pagemap => {
            set.pagemaps.insert(id, Pagemap::read(file)?);
        }
        Kind::ShmemPagemap => {
            set.shmem_pagemaps.insert(id, Pagemap::read(file)?);
        }
        _ => {}
    }
    Ok(())
}

/// The messages of an image, without the raw bytes behind them.
fn messages<T: Message + Name + Default + PartialEq>(
    kind: Kind,
    file: impl Read,
) -> Result<Vec<T>, ImageError> {
    let mut reader = Reader::open_as(file, kind)?;
    let mut messages = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        messages.push(Entry::decode(&frame.bytes)?.message);
    }
    Ok(messages)
}

fn only<T: Message + Name + Default + PartialEq>(
    kind: Kind,
    file: impl Read,
) -> Result<Option<T>, ImageError> {
    Ok(messages(kind, file)?.into_iter().next())
}

fn keep_one<T: Message + Name + Default + PartialEq>(
    kept: &mut BTreeMap<u64, T>,
    kind: Kind,
    id: u64,
    file: impl Read,
) -> Result<(), ImageError> {
    kept.extend(only(kind, file)?.map(|message| (id, message)));
    Ok(())
}
