//! `plimsoll image show`: a file field by field, or what a whole set holds.

use super::args::Show;
use super::{broken, text, unreadable};
use crate::failure::{Failure, Kind};
use crate::table::{Align, Table};
use crate::terminal::{self, Terminal};
use plimsoll_image::directory::{Directory, OnDisk};
use plimsoll_image::show::Document;
use plimsoll_image::{ImageError, Kind as ImageKind, Reader, dynamic, proto, read_all, read_one};
use plimsoll_proc::text::printable;
use plimsoll_units::Bytes;
use serde::ser::{Error, Serialize, SerializeMap, SerializeSeq, Serializer};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

/// Shows a file or a directory.
pub(crate) fn run(args: &Show) -> Result<(), Failure> {
    let path = args.path.as_path();
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, error))?;
    match (metadata.is_dir(), args.json) {
        (true, true) => write_json(&set_document(path)?),
        (true, false) => set(path),
        (false, json) => file(path, json),
    }
}

fn file(path: &Path, json: bool) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default();
    let named = ImageKind::of_file_name(name).map(|(kind, _)| kind);
    if named.is_some_and(|kind| kind.magic().is_none()) {
        let message = format!("{} holds raw bytes and no fields", path.display());
        return Err(Failure::message(Kind::Failed, message));
    }
    let open = || -> Result<Reader<BufReader<File>>, Failure> {
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        Reader::open(BufReader::new(file)).map_err(|error| broken(path, error))
    };
    count(open()?).map_err(|error| broken(path, error))?; // nothing is printed of a file that is broken further on
    let reader = open()?;
    if json {
        return write_json(&FileDocument(name, Document::new(reader)));
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    writeln!(
        out,
        "{}: {}",
        printable(name.as_encoded_bytes()),
        reader.kind()
    )?;
    text::entries(reader, &mut out)?.map_err(|error| broken(path, error))?;
    Ok(out.flush()?)
}

/// Decodes all entries, and says how many there are.
fn count(mut reader: Reader<impl Read>) -> Result<u64, ImageError> {
    let mut entries = 0;
    while let Some(frame) = reader.next_frame()? {
        dynamic::decode(frame.message, &frame.bytes)?;
        entries += 1;
    }
    Ok(entries)
}

fn write_json(document: &impl Serialize) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut out, document).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

const SCHEMA: &str = "plimsoll.image-show/1";

struct FileDocument<'a, R>(&'a OsStr, Document<R>);

impl<R: Read> Serialize for FileDocument<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", SCHEMA)?;
        map.serialize_entry("file", &self.0.to_string_lossy())?;
        self.1.serialize_into(&mut map)?;
        map.end()
    }
}

struct SetDocument<'a> {
    dir: &'a Path,
    files: Vec<(OsString, u64)>,
}

fn set_document(dir: &Path) -> Result<SetDocument<'_>, Failure> {
    let set = OnDisk::new(dir);
    let files = set.files().map_err(|error| unreadable(dir, error))?;
    for (name, _) in &files {
        if let Some((kind, _)) =
            ImageKind::of_file_name(name).filter(|(kind, _)| kind.magic().is_some())
        {
            let path = dir.join(name);
            let file = set.open(name).map_err(|error| unreadable(&path, error))?;
            let reader = Reader::open_as(file, kind).map_err(|error| broken(&path, error))?;
            count(reader).map_err(|error| broken(&path, error))?;
        }
    }
    Ok(SetDocument { dir, files })
}

impl Serialize for SetDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", SCHEMA)?;
        map.serialize_entry("dir", &self.dir.to_string_lossy())?;
        map.serialize_entry("images", &Images(self))?;
        map.end()
    }
}

struct Images<'a>(&'a SetDocument<'a>);

impl Serialize for Images<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut images = serializer.serialize_seq(None)?;
        for (name, size_bytes) in &self.0.files {
            images.serialize_element(&OneImage(self.0.dir, name, *size_bytes))?;
        }
        images.end()
    }
}

struct OneImage<'a>(&'a Path, &'a OsStr, u64);

impl Serialize for OneImage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dir, name, size_bytes) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("file", &name.to_string_lossy())?;
        map.serialize_entry("size_bytes", size_bytes)?;
        if let Some((kind, _)) =
            ImageKind::of_file_name(name).filter(|(kind, _)| kind.magic().is_some())
        {
            let set = OnDisk::new(*dir);
            let file = set.open(name).map_err(S::Error::custom)?;
            let reader = Reader::open_as(file, kind).map_err(S::Error::custom)?;
            Document::new(reader).serialize_into(&mut map)?;
        }
        map.end()
    }
}

/// The processes of a set, then its files.
fn set(dir: &Path) -> Result<(), Failure> {
    let set = OnDisk::new(dir);
    let files = set.files().map_err(|error| unreadable(dir, error))?;
    let terminal = Terminal {
        rows: None, // all of it
        ..Terminal::of_stdout()
    };
    let mut text = processes(&set)?.render(&terminal, 0);
    text.push('\n');
    text.push_str(&images(&set, &files).render(&terminal, 0));
    Ok(terminal::print(&text)?)
}

fn processes(set: &OnDisk) -> Result<Table, Failure> {
    let mut table = Table::new(&[
        ("PID", Align::Right),
        ("PARENT", Align::Right),
        ("GROUP", Align::Right),
        ("SESSION", Align::Right),
        ("THREADS", Align::Right),
        ("COMM", Align::Left),
    ]);
    let name = ImageKind::Pstree.file_name(0);
    let path = set.path().join(&name);
    let file = set
        .open(OsStr::new(&name))
        .map_err(|error| unreadable(&path, error))?;
    let tree = read_all::<proto::PstreeEntry>(ImageKind::Pstree, file)
        .map_err(|error| broken(&path, error))?;
    for task in &tree {
        table.row([
            task.pid.into(),
            task.ppid.into(),
            task.pgid.into(),
            task.sid.into(),
            task.threads.len().into(),
            comm(set, task.pid).into(),
        ]);
    }
    Ok(table)
}

/// The name of a process; a set without it is shown all the same.
fn comm(set: &OnDisk, pid: u32) -> String {
    let name = ImageKind::Core.file_name(pid.into());
    let core = set.open(OsStr::new(&name)).ok();
    let core = core.and_then(|file| read_one::<proto::CoreEntry>(ImageKind::Core, file).ok());
    let comm = core.and_then(|core| core.message.tc).map(|own| own.comm);
    comm.map_or_else(|| "?".to_owned(), |comm| printable(&comm).into_owned())
}

fn images(set: &OnDisk, files: &[(OsString, u64)]) -> Table {
    let mut table = Table::new(&[
        ("SIZE", Align::Right),
        ("ENTRIES", Align::Right),
        ("FILE", Align::Left),
    ]);
    for (name, size) in files {
        let kind = ImageKind::of_file_name(name).filter(|(kind, _)| kind.magic().is_some());
        let entries = kind.and_then(|(kind, _)| {
            let reader = Reader::open_as(set.open(name).ok()?, kind).ok()?;
            Some(count(reader).map_or_else(|_| "broken".to_owned(), |entries| entries.to_string()))
        });
        table.row([
            Bytes(*size).into(),
            entries.unwrap_or_default().into(),
            printable(name.as_encoded_bytes()).into(),
        ]);
    }
    table
}
