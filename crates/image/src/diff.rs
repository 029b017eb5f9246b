//! Two sets compared: which images only one has, which fields differ, which pages.
//!
//! Fields are named as `crit` names them, with the entry's number in front: `3.reg.pos`. Pages are compared by what they hold,
//! in whatever form each set has them. Checksums and packed files are the form, not the content, and are not compared.

use crate::directory::Directory;
use crate::dynamic;
use crate::error::ImageError;
use crate::frame::Reader;
use crate::kind::Kind;
use crate::manifest;
use crate::pagemap::{PE_PARENT, PE_PRESENT, PageSpan, Pagemap, X86_64_PAGE_BYTES};
use crate::pages::{PagesError, SetPages};
use crate::show::{Shown, ShownMessage};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;

/// So many differences of one file are listed; all are counted.
const LISTED: usize = 64;

/// How two sets differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Images that only the first has.
    pub only_in_a: Vec<String>,
    /// Images that only the second has.
    pub only_in_b: Vec<String>,
    /// Images that differ.
    pub images: Vec<ImageDifference>,
    /// Memory that differs.
    pub memory: Vec<MemoryDifference>,
}

impl Difference {
    /// Whether they hold the same.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How two images differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageDifference {
    /// Its name.
    pub file: String,
    /// How many fields differ.
    pub count: u64,
    /// The first of them.
    pub fields: Vec<FieldDifference>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldDifference {
    /// Where it is: the entry's number, then names and numbers.
    pub path: String,
    /// What the first set says, if anything.
    pub a: Option<String>,
    /// What the second says.
    pub b: Option<String>,
}

/// Pages that differ, of one process or one shared object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryDifference {
    /// The pagemap.
    pub file: String,
    /// Pages that both store, and that differ.
    pub changed_pages: u64,
    /// Pages that only the first stores.
    pub only_in_a_pages: u64,
    /// Pages that only the second stores.
    pub only_in_b_pages: u64,
    /// The first addresses that differ.
    pub addresses: Vec<u64>,
}

/// Why two sets can't be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// A directory or a file can't be read.
    #[error("could not read {what}")]
    Io {
        /// What.
        what: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// An image is broken.
    #[error("{file}")]
    Image {
        /// Which.
        file: String,
        /// What is wrong with it.
        #[source]
        source: ImageError,
    },
    /// A page can't be had.
    #[error(transparent)]
    Pages(#[from] PagesError),
}

/// Compares two sets.
///
/// # Errors
/// One of them can't be read: see [`DiffError`]. They need not be complete.
pub fn diff<D: Directory + Clone + 'static>(a: &D, b: &D) -> Result<Difference, DiffError> {
    let (in_a, in_b) = (images(a)?, images(b)?);
    let names = |names: std::collections::btree_set::Difference<'_, OsString>| {
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    };
    let mut difference = Difference {
        only_in_a: names(in_a.difference(&in_b)),
        only_in_b: names(in_b.difference(&in_a)),
        ..Difference::default()
    };
    let mut pages = (
        SetPages::open(Box::new(a.clone()))?,
        SetPages::open(Box::new(b.clone()))?,
    );
    for name in in_a.intersection(&in_b) {
        let Some((kind, id)) = Kind::of_file_name(name) else {
            continue;
        };
        if matches!(kind, Kind::Pagemap | Kind::ShmemPagemap) {
            difference
                .memory
                .extend(memory(a, b, &mut pages, (kind, id))?);
        } else {
            difference.images.extend(image(a, b, name, kind)?);
        }
    }
    Ok(difference)
}

/// Names of images that are not raw, and of raw ones that hold no pages.
fn images(set: &dyn Directory) -> Result<BTreeSet<OsString>, DiffError> {
    let files = set.files().map_err(|source| DiffError::Io {
        what: "the directory".to_owned(),
        source,
    })?;
    let names = files.into_iter().map(|(name, _)| name);
    let kind = |name: &OsStr| Kind::of_file_name(name).map(|(kind, _)| kind);
    Ok(names
        .filter(|name| kind(name).is_some_and(|kind| kind != Kind::Pages))
        .collect())
}

fn image(
    a: &dyn Directory,
    b: &dyn Directory,
    name: &OsStr,
    kind: Kind,
) -> Result<Option<ImageDifference>, DiffError> {
    let (fields_a, fields_b) = (flat(a, name, kind)?, flat(b, name, kind)?);
    let paths: BTreeSet<&String> = fields_a.keys().chain(fields_b.keys()).collect();
    let differ = paths
        .into_iter()
        .filter(|path| fields_a.get(*path) != fields_b.get(*path));
    let mut found = ImageDifference {
        file: name.to_string_lossy().into_owned(),
        count: 0,
        fields: Vec::new(),
    };
    for path in differ {
        found.count += 1;
        if found.fields.len() < LISTED {
            found.fields.push(FieldDifference {
                path: path.clone(),
                a: fields_a.get(path).cloned(),
                b: fields_b.get(path).cloned(),
            });
        }
    }
    Ok((found.count > 0).then_some(found))
}

/// All fields of an image by their paths; raw bytes by their digest.
fn flat(
    set: &dyn Directory,
    name: &OsStr,
    kind: Kind,
) -> Result<BTreeMap<String, String>, DiffError> {
    let file = name.to_string_lossy();
    let failed = |source| DiffError::Io {
        what: file.clone().into_owned(),
        source,
    };
    let mut opened = set.open(name).map_err(failed)?;
    let mut fields = BTreeMap::new();
    if kind.magic().is_none() {
        let (digest, _) = manifest::copy(&mut opened, &mut io::sink()).map_err(failed)?;
        fields.insert("content".to_owned(), digest.to_hex().to_string());
        return Ok(fields);
    }
    let broken = |source| DiffError::Image {
        file: file.clone().into_owned(),
        source,
    };
    let mut reader = Reader::open_as(opened, kind).map_err(broken)?;
    let mut entry = 0u64;
    while let Some(frame) = reader.next_frame().map_err(broken)? {
        let message = dynamic::decode(frame.message, &frame.bytes).map_err(broken)?;
        flatten(ShownMessage::new(&message), &entry.to_string(), &mut fields);
        let (digest, length) =
            manifest::copy(&mut reader.payload(), &mut io::sink()).map_err(failed)?;
        if length > 0 {
            fields.insert(format!("{entry}.extra"), digest.to_hex().to_string());
        }
        entry += 1;
    }
    Ok(fields)
}

fn flatten(message: ShownMessage<'_>, path: &str, fields: &mut BTreeMap<String, String>) {
    for (name, value) in message.fields() {
        flatten_value(value, format!("{path}.{name}"), fields);
    }
    for field in message.unknown_fields() {
        fields.insert(format!("{path}.unknown-{}", field.number), field.bytes);
    }
}

fn flatten_value(value: Shown<'_>, path: String, fields: &mut BTreeMap<String, String>) {
    let text = match value {
        Shown::Message(message) => return flatten(message, &path, fields),
        Shown::List(list) => {
            for (number, value) in list.values().enumerate() {
                flatten_value(value, format!("{path}.{number}"), fields);
            }
            return;
        }
        Shown::Text(text) => text,
        Shown::Number(number) => number.to_string(),
        Shown::Bool(yes) => yes.to_string(),
    };
    fields.insert(path, text);
}

fn memory(
    a: &dyn Directory,
    b: &dyn Directory,
    (pages_a, pages_b): &mut (SetPages, SetPages),
    (kind, id): (Kind, u64),
) -> Result<Option<MemoryDifference>, DiffError> {
    let spans_a = spans(a, kind, id)?;
    let spans_b = spans(b, kind, id)?;
    let mut found = MemoryDifference {
        file: kind.file_name(id),
        changed_pages: 0,
        only_in_a_pages: 0,
        only_in_b_pages: 0,
        addresses: Vec::new(),
    };
    let length = usize::try_from(X86_64_PAGE_BYTES).unwrap_or(usize::MAX);
    let (mut page_a, mut page_b) = (vec![0; length], vec![0; length]);
    for span in &spans_a {
        for address in (span.start..span.end).step_by(length) {
            if !holds(&spans_b, address) {
                found.only_in_a_pages += 1;
                continue;
            }
            pages_a.read_address(kind, id, address, &mut page_a)?;
            pages_b.read_address(kind, id, address, &mut page_b)?;
            if page_a != page_b {
                found.changed_pages += 1;
                if found.addresses.len() < LISTED {
                    found.addresses.push(address);
                }
            }
        }
    }
    for span in &spans_b {
        let addresses = (span.start..span.end).step_by(length);
        found.only_in_b_pages += addresses
            .filter(|address| !holds(&spans_a, *address))
            .count() as u64;
    }
    let differs = found.changed_pages + found.only_in_a_pages + found.only_in_b_pages > 0;
    Ok(differs.then_some(found))
}

/// The runs of a pagemap whose pages are stored, here or in a parent.
fn spans(set: &dyn Directory, kind: Kind, id: u64) -> Result<Vec<PageSpan>, DiffError> {
    let file = kind.file_name(id);
    let opened = set
        .open(OsStr::new(&file))
        .map_err(|source| DiffError::Io {
            what: file.clone(),
            source,
        })?;
    let map = Pagemap::read(opened).map_err(|source| DiffError::Image { file, source })?;
    let spans = map
        .entries
        .iter()
        .filter_map(|entry| PageSpan::of(entry, X86_64_PAGE_BYTES));
    Ok(spans
        .filter(|span| span.flags & (PE_PRESENT | PE_PARENT) != 0)
        .collect())
}

fn holds(spans: &[PageSpan], address: u64) -> bool {
    let after = spans.partition_point(|span| span.start <= address);
    let span = after.checked_sub(1).and_then(|at| spans.get(at));
    span.is_some_and(|span| address < span.end)
}
