//! A set in another form: raw, as CRIU reads it; packed; or lazy, what a restore needs at once apart from the rest.
//!
//! Images other than pages are copied byte for byte, so a set that went from raw to packed and back is the set that it was. The new
//! directory is written beside its place, made durable, and renamed: it is whole or not there. A set is verified first, and one
//! with faults is not converted.

use crate::directory::{Directory, OnDisk, PARENT_LINK};
use crate::kind::Kind;
use crate::lazy::LazyPlan;
use crate::manifest::{self, MANIFEST, Manifest};
use crate::packed::{Codec, PackedError, PackedWriter, Part, Run, Source};
use crate::pagemap::{PE_PRESENT, PageSpan, Pagemap, X86_64_PAGE_BYTES};
use crate::pages::{PagesError, SetPages};
use crate::proto::{CoreEntry, MmEntry, PstreeEntry};
use crate::verify::verify;
use crate::{read_all, read_one};
use serde::Serialize;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// How pages lie in the new set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One after another, for CRIU.
    Raw,
    /// Zero pages dropped, equal ones once, packed.
    Packed(Codec),
    /// The same, with what may come later in a file of its own.
    Lazy(Codec),
}

/// What a conversion did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Converted {
    /// Pages that the set stores, wherever.
    pub pages: u64,
    /// Of them, pages of zeros.
    pub zero_pages: u64,
    /// Of them, pages that were there already, in this set or a parent.
    pub repeated_pages: u64,
    /// Of them, pages that may come later.
    pub later_pages: u64,
    /// Bytes of the new set, without its later part.
    pub bytes: u64,
    /// Bytes of its later part.
    pub later_bytes: u64,
}

/// Why a set was not converted. Nothing is left of the new one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A file can't be read or written.
    #[error("could not {operation} {}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The set has faults.
    #[error("the set has {faults} faults; the first: {first}")]
    Faults {
        /// How many.
        faults: usize,
        /// The first of them.
        first: String,
    },
    /// A page can't be had.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// The packed pages can't be written.
    #[error("could not write packed pages")]
    Packed(#[source] PackedError),
    /// An image changed while it was read.
    #[error(transparent)]
    Image(#[from] crate::ImageError),
}

fn io_error<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> ConvertError + 'a {
    move |source| ConvertError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// Writes the set in `from` to the new directory `to`. `parent` is where the new set's parent lies, if not where the old one's does.
///
/// # Errors
/// See [`ConvertError`]; `to` must not exist.
pub fn convert(
    from: &Path,
    to: &Path,
    form: Form,
    parent: Option<&Path>,
) -> Result<Converted, ConvertError> {
    let set = OnDisk::new(from);
    let report = verify(&set).map_err(io_error("read", from))?;
    if let Some(first) = report.first_fault() {
        return Err(ConvertError::Faults {
            faults: report.faults(),
            first: format!("{}: {}", first.file, first.text),
        });
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(io_error("make", to)(io::ErrorKind::AlreadyExists.into()));
    }
    let aside = Aside::new(to)?;
    let converted = write_set(&set, &aside.path, form, parent)?;
    aside.publish(to)?;
    Ok(converted)
}

/// A directory that is removed unless it is published.
struct Aside {
    path: PathBuf,
    published: bool,
}

impl Aside {
    fn new(to: &Path) -> Result<Self, ConvertError> {
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let path = to.with_file_name(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(io_error("make", &path))?;
        Ok(Self {
            path,
            published: false,
        })
    }

    fn publish(mut self, to: &Path) -> Result<(), ConvertError> {
        sync(&self.path)?;
        fs::rename(&self.path, to).map_err(io_error("rename to", to))?;
        self.published = true;
        let above = to.parent().filter(|path| !path.as_os_str().is_empty());
        sync(above.unwrap_or(Path::new(".")))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_dir_all(&self.path); // the error that led here is the one to tell
        }
    }
}

fn sync(path: &Path) -> Result<(), ConvertError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    file.sync_all().map_err(io_error("sync", path))
}

fn write_set(
    set: &OnDisk,
    to: &Path,
    form: Form,
    parent: Option<&Path>,
) -> Result<Converted, ConvertError> {
    let mut out = Output::new(to);
    for (name, _) in set.files().map_err(io_error("read", set.path()))? {
        if !is_of_pages(&name) {
            let path = set.path().join(&name);
            let mut file = set.open(&name).map_err(io_error("open", &path))?;
            out.write(&name, |to| {
                manifest::copy(&mut file, to)
                    .map(drop)
                    .map_err(io_error("copy", &path))
            })?;
        }
    }
    link_parent(set, to, parent)?;
    let inner = set.path().join(PARENT_LINK);
    let mut converted = Converted::default();
    if is_inside(&inner) && parent.is_none() {
        let to = to.join(PARENT_LINK);
        let made = DirBuilder::new().mode(0o700).create(&to);
        made.map_err(io_error("make", &to))?;
        // What comes later is decided by mappings, which are not there.
        let form = match form {
            Form::Lazy(codec) => Form::Packed(codec),
            form => form,
        };
        converted = write_set(&OnDisk::new(inner), &to, form, None)?;
        sync(&to)?;
    }
    let mut pages = SetPages::open(Box::new(set.clone()))?;
    let maps = pagemaps(set)?;
    match form {
        Form::Raw => write_raw(&mut pages, &maps, &mut out, &mut converted)?,
        Form::Packed(codec) => {
            write_packed(&mut pages, &maps, &mut out, codec, None, &mut converted)?
        }
        Form::Lazy(codec) => {
            let plans = plans(set)?;
            write_packed(
                &mut pages,
                &maps,
                &mut out,
                codec,
                Some(&plans),
                &mut converted,
            )?;
        }
    }
    let later = out.lengths.get(OsStr::new(Part::Later.file_name()));
    converted.later_bytes = later.copied().unwrap_or(0);
    out.finish()?;
    converted.bytes += out.lengths.values().sum::<u64>() - converted.later_bytes;
    Ok(converted)
}

/// Whether what a set builds on lies inside of it.
fn is_inside(parent: &Path) -> bool {
    fs::symlink_metadata(parent).is_ok_and(|it| it.is_dir())
}

/// Files that hold pages, or say what was said of them: they are made anew.
fn is_of_pages(name: &OsStr) -> bool {
    let packed = Part::ALL.iter().any(|part| name == part.file_name());
    let raw = Kind::of_file_name(name).is_some_and(|(kind, _)| kind == Kind::Pages);
    packed || raw || name == MANIFEST
}

/// The new set's directory: its files so far, with their digests and lengths.
struct Output<'a> {
    dir: &'a Path,
    manifest: Manifest,
    lengths: HashMap<OsString, u64>,
}

impl<'a> Output<'a> {
    fn new(dir: &'a Path) -> Self {
        Self {
            dir,
            manifest: Manifest::default(),
            lengths: HashMap::new(),
        }
    }

    /// Writes one file, durably.
    fn write<T>(
        &mut self,
        name: &OsStr,
        fill: impl FnOnce(&mut Digesting<BufWriter<File>>) -> Result<T, ConvertError>,
    ) -> Result<T, ConvertError> {
        let path = self.dir.join(name);
        let mut file = Digesting::create(&path)?;
        let value = fill(&mut file)?;
        self.add(name, file)?;
        Ok(value)
    }

    fn add(&mut self, name: &OsStr, file: Digesting<BufWriter<File>>) -> Result<(), ConvertError> {
        let path = self.dir.join(name);
        let (digest, length) = (file.hasher.finalize(), file.length);
        let inner = file
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error);
        let file = inner.map_err(io_error("write", &path))?;
        file.sync_all().map_err(io_error("sync", &path))?;
        self.manifest.files.push((name.to_owned(), digest));
        self.lengths.insert(name.to_owned(), length);
        Ok(())
    }

    /// Writes the list of digests.
    fn finish(&mut self) -> Result<(), ConvertError> {
        self.manifest.files.sort_by(|(a, _), (b, _)| a.cmp(b));
        let text = self.manifest.to_bytes();
        let path = self.dir.join(MANIFEST);
        let mut file = create(&path)?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(io_error("write", &path))?;
        self.lengths.insert(MANIFEST.into(), text.len() as u64);
        Ok(())
    }
}

fn create(path: &Path) -> Result<File, ConvertError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.map_err(io_error("make", path))
}

/// A file whose bytes are digested as they are written.
struct Digesting<W> {
    file: W,
    hasher: blake3::Hasher,
    length: u64,
}

impl Digesting<BufWriter<File>> {
    fn create(path: &Path) -> Result<Self, ConvertError> {
        Ok(Self {
            file: BufWriter::with_capacity(256 << 10, create(path)?),
            hasher: blake3::Hasher::new(),
            length: 0,
        })
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The new set's link to its parent: to a neighbour by its name, to others by their whole path.
fn link_parent(set: &OnDisk, to: &Path, parent: Option<&Path>) -> Result<(), ConvertError> {
    let old = set.path().join(PARENT_LINK);
    if is_inside(&old) && parent.is_none() {
        return Ok(()); // it has come along
    }
    let target = match parent {
        Some(parent) => parent,
        None if fs::symlink_metadata(&old).is_ok() => &old,
        None => return Ok(()),
    };
    let target = target.canonicalize().map_err(io_error("find", target))?;
    let here = to.canonicalize().map_err(io_error("find", to))?;
    let text = match target.file_name() {
        Some(name) if target.parent() == here.parent() => Path::new("..").join(name),
        _ => target,
    };
    let link = to.join(PARENT_LINK);
    symlink(text, &link).map_err(io_error("make", &link))
}

type Maps = Vec<(Kind, u64, Pagemap)>;

/// All pagemaps of a set, in order of their pages files.
fn pagemaps(set: &OnDisk) -> Result<Maps, ConvertError> {
    let mut maps = Maps::new();
    for (name, _) in set.files().map_err(io_error("read", set.path()))? {
        if let Some((kind @ (Kind::Pagemap | Kind::ShmemPagemap), id)) = Kind::of_file_name(&name) {
            let path = set.path().join(&name);
            let file = set.open(&name).map_err(io_error("open", &path))?;
            maps.push((kind, id, Pagemap::read(file)?));
        }
    }
    maps.sort_by_key(|(_, _, map)| map.head.pages_id);
    // Processes that have the same pages of a set inside of another list them alike.
    maps.dedup_by(|(_, _, one), (_, _, other)| one == other);
    Ok(maps)
}

/// What may come later, for each process.
fn plans(set: &OnDisk) -> Result<HashMap<u64, LazyPlan>, ConvertError> {
    let open = |kind: Kind, id| {
        let name = kind.file_name(id);
        let path = set.path().join(&name);
        set.open(OsStr::new(&name)).map_err(io_error("open", &path))
    };
    let tree = read_all::<PstreeEntry>(Kind::Pstree, open(Kind::Pstree, 0)?)?;
    let mut plans = HashMap::new();
    for task in &tree {
        let pid = u64::from(task.pid);
        let mut threads = Vec::new();
        for thread in &task.threads {
            let id = u64::from(*thread);
            threads.push(read_one::<CoreEntry>(Kind::Core, open(Kind::Core, id)?)?.message);
        }
        if set.path().join(Kind::Mm.file_name(pid)).exists() {
            let mm = read_one::<MmEntry>(Kind::Mm, open(Kind::Mm, pid)?)?;
            plans.insert(pid, LazyPlan::new(&mm, &threads));
        }
    }
    Ok(plans)
}

/// The stored pages of a pagemap: place in the pages file, and address.
fn stored(map: &Pagemap) -> impl Iterator<Item = (u64, u64)> + '_ {
    let present = map
        .entries
        .iter()
        .filter(|entry| entry.page_flags() & PE_PRESENT != 0);
    let spans = present.filter_map(|entry| PageSpan::of(entry, X86_64_PAGE_BYTES));
    let page = usize::try_from(X86_64_PAGE_BYTES).unwrap_or(usize::MAX);
    let addresses = spans.flat_map(move |span| (span.start..span.end).step_by(page));
    (0..).zip(addresses)
}

fn new_page() -> Vec<u8> {
    vec![0; usize::try_from(X86_64_PAGE_BYTES).unwrap_or(usize::MAX)]
}

fn write_raw(
    pages: &mut SetPages,
    maps: &Maps,
    out: &mut Output<'_>,
    converted: &mut Converted,
) -> Result<(), ConvertError> {
    let mut page = new_page();
    for (_, _, map) in maps {
        let pages_id = map.head.pages_id;
        let name = Kind::Pages.file_name(pages_id.into());
        let path = out.dir.join(&name);
        out.write(OsStr::new(&name), |file| {
            for (place, _) in stored(map) {
                pages.read(pages_id, place, &mut page)?;
                file.write_all(&page).map_err(io_error("write", &path))?;
                converted.pages += 1;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Where a page's content already is.
#[derive(Clone, Copy)]
enum Known {
    /// In one of the files that are being written.
    Here(Part, u64),
    Above(Source),
}

/// So much of a page's digest is held: two pages that differ agree in it once in 2^64 sets of 2^32 pages.
type Fingerprint = [u8; 16];

fn fingerprint(page: &[u8]) -> Fingerprint {
    let mut short = Fingerprint::default();
    let digest = blake3::hash(page);
    for (to, from) in short.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    short
}

fn write_packed(
    pages: &mut SetPages,
    maps: &Maps,
    out: &mut Output<'_>,
    codec: Codec,
    plans: Option<&HashMap<u64, LazyPlan>>,
    converted: &mut Converted,
) -> Result<(), ConvertError> {
    let set = set_number(&out.manifest);
    let parts = if plans.is_some() {
        &Part::ALL[..]
    } else {
        &[Part::Now]
    };
    let mut writers = Vec::new();
    for part in parts {
        let file = Digesting::create(&out.dir.join(part.file_name()))?;
        let writer = PackedWriter::new(file, *part, set, codec).map_err(ConvertError::Packed)?;
        writers.push((*part, writer));
    }
    let mut known = match OnDisk::new(out.dir)
        .parent()
        .map_err(io_error("follow the parent of", out.dir))?
    {
        Some(parent) => pages_above(SetPages::open(parent)?)?,
        None => HashMap::new(),
    };
    let mut page = new_page();
    for (kind, id, map) in maps {
        let plan = plans
            .and_then(|plans| plans.get(id))
            .filter(|_| *kind == Kind::Pagemap);
        let pages_id = map.head.pages_id;
        for (place, address) in stored(map) {
            pages.read(pages_id, place, &mut page)?;
            let later = plan.is_some_and(|plan| plan.may_be_later(address));
            let part = if later { Part::Later } else { Part::Now };
            let Some((_, writer)) = writers.iter_mut().find(|(of, _)| *of == part) else {
                continue;
            };
            converted.pages += 1;
            converted.later_pages += u64::from(later);
            let source = if page.iter().all(|byte| *byte == 0) {
                converted.zero_pages += 1;
                Source::Zeros
            } else {
                match known.get(&fingerprint(&page)) {
                    // A page that is needed at once may not hang on the part that is elsewhere.
                    Some(Known::Here(of, number)) if *of == part => {
                        converted.repeated_pages += 1;
                        Source::Here(*number)
                    }
                    Some(Known::Above(source)) => {
                        converted.repeated_pages += 1;
                        *source
                    }
                    _ => {
                        let number = writer.store(&page).map_err(ConvertError::Packed)?;
                        known.insert(fingerprint(&page), Known::Here(part, number));
                        Source::Here(number)
                    }
                }
            };
            writer.refer(Run {
                pages_id,
                first: place,
                count: 1,
                source,
            });
        }
    }
    for (part, writer) in writers {
        let (file, _) = writer.finish().map_err(ConvertError::Packed)?;
        out.add(OsStr::new(part.file_name()), file)?;
    }
    Ok(())
}

/// What tells this set's packed files from those of others: the digests of all its images.
fn set_number(manifest: &Manifest) -> u64 {
    let mut sorted = manifest.clone();
    sorted.files.sort_by(|(a, _), (b, _)| a.cmp(b));
    let digest = blake3::hash(&sorted.to_bytes());
    let mut number = [0; 8];
    for (to, from) in number.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    u64::from_le_bytes(number)
}

/// The pages that this set and its parents store, as far as they are packed; it is the parent of the new one.
fn pages_above(mut parent: SetPages) -> Result<HashMap<Fingerprint, Known>, ConvertError> {
    let mut known = HashMap::new();
    let mut page = new_page();
    let mut above = Some(&mut parent);
    for level in 1.. {
        let Some(set) = above else {
            break;
        };
        for packed in set.packed() {
            let part = packed.part();
            for number in 0..packed.pages() {
                let read = packed.read_page(number, &mut page);
                let file = part.file_name();
                read.map_err(|source| PagesError::Packed { file, source })?;
                let source = Source::Parent {
                    level,
                    part,
                    page: number,
                };
                known
                    .entry(fingerprint(&page))
                    .or_insert(Known::Above(source));
            }
        }
        above = set.parent();
    }
    Ok(known)
}
