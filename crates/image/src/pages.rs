//! The pages of a set, wherever they lie: raw, packed, later, or in a parent.

use crate::directory::{Directory, ReadSeek};
use crate::error::ImageError;
use crate::kind::Kind;
use crate::packed::{PackedError, PackedReader, Part, Source};
use crate::pagemap::{PE_PARENT, PE_PRESENT, PageSpan, Pagemap, X86_64_PAGE_BYTES};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Seek, SeekFrom};

/// Parents are followed so far; more are taken for a circle.
const LONGEST_CHAIN: usize = 1024;

/// Why a page can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PagesError {
    /// The set or one of its parents can't be read.
    #[error("could not read {what}")]
    Io {
        /// The file.
        what: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A pagemap of the set or of a parent is broken.
    #[error("{file}")]
    Image {
        /// The file.
        file: String,
        /// What is wrong with it.
        #[source]
        source: ImageError,
    },
    /// A file of packed pages is broken.
    #[error("{file}")]
    Packed {
        /// The file.
        file: &'static str,
        /// What is wrong with it.
        #[source]
        source: PackedError,
    },
    /// No file of the set knows the page; if the set was made lazy, its later part is elsewhere.
    #[error("page {page} of pages file {pages_id} is not here{}", if *.lazy { ": pages.later is elsewhere" } else { "" })]
    Absent {
        /// Which pages file.
        pages_id: u32,
        /// Its place there.
        page: u64,
        /// Whether a part of the set is known to be elsewhere.
        lazy: bool,
    },
    /// The files of packed pages belong to different sets.
    #[error("pages.packed and pages.later belong to different sets")]
    Mixed,
    /// An address of which a pagemap says neither that it is stored nor that a parent has it.
    #[error("the page at {address:#x} is neither here nor in a parent")]
    Nowhere {
        /// The address.
        address: u64,
    },
    /// An address that a pagemap says is in a parent, and is not.
    #[error("the page at {address:#x} is in no parent")]
    NotInParent {
        /// The address.
        address: u64,
    },
}

/// Where a page lies: equal places are the same page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// So many parents up.
    pub level: u32,
    /// In which pages file there.
    pub pages_id: u32,
    /// How many pages are before it.
    pub page: u64,
}

/// Pages that lie one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The first address, of a process or an object.
    pub start: u64,
    /// The first behind it.
    pub end: u64,
    /// Where the first of them lies.
    pub place: Place,
}

impl Stored {
    /// The part of it between two addresses; `None` where that is nothing.
    pub fn part(self, start: u64, end: u64) -> Option<Self> {
        let (start, end) = (self.start.max(start), self.end.min(end));
        let before = start.saturating_sub(self.start) / X86_64_PAGE_BYTES;
        let page = self.place.page.saturating_add(before);
        (start < end).then_some(Self {
            start,
            end,
            place: Place { page, ..self.place },
        })
    }
}

/// The pages of a set and of the sets it builds on.
pub struct SetPages {
    directory: Box<dyn Directory>,
    packed: Vec<PackedReader<Box<dyn ReadSeek>>>,
    raw: BTreeMap<u32, Box<dyn ReadSeek>>,
    maps: BTreeMap<(Kind, u64), Placed>,
    parent: Option<Box<SetPages>>,
}

impl std::fmt::Debug for SetPages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SetPages")
            .field("packed", &self.packed.len())
            .finish_non_exhaustive()
    }
}

impl SetPages {
    /// Opens the packed files of a set and of its parents. Raw files are opened when they are read.
    ///
    /// # Errors
    /// One of them is broken, or a link to a parent leads nowhere.
    pub fn open(directory: Box<dyn Directory>) -> Result<Self, PagesError> {
        Self::open_chain(directory, LONGEST_CHAIN)
    }

    fn open_chain(directory: Box<dyn Directory>, left: usize) -> Result<Self, PagesError> {
        let mut packed: Vec<PackedReader<Box<dyn ReadSeek>>> = Vec::new();
        for part in Part::ALL {
            let file = part.file_name();
            match directory.open(OsStr::new(file)) {
                Ok(opened) => {
                    let reader = PackedReader::open(opened)
                        .map_err(|source| PagesError::Packed { file, source })?;
                    if reader.part() != part
                        || packed
                            .first()
                            .is_some_and(|first| first.set() != reader.set())
                    {
                        return Err(PagesError::Mixed);
                    }
                    packed.push(reader);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    let what = file.to_owned();
                    return Err(PagesError::Io { what, source });
                }
            }
        }
        let circle =
            || io::Error::other("there are too many parents, or they go round in a circle");
        let parent = directory.parent().and_then(|parent| match parent {
            Some(_) if left == 0 => Err(circle()),
            parent => Ok(parent),
        });
        let parent = parent.map_err(|source| PagesError::Io {
            what: "the parent".to_owned(),
            source,
        })?;
        let parent = parent
            .map(|parent| Self::open_chain(parent, left - 1).map(Box::new))
            .transpose()?;
        Ok(Self {
            directory,
            packed,
            raw: BTreeMap::new(),
            maps: BTreeMap::new(),
            parent,
        })
    }

    /// Whether its pages are packed.
    pub fn is_packed(&self) -> bool {
        !self.packed.is_empty()
    }

    /// The set it builds on.
    pub fn parent(&mut self) -> Option<&mut SetPages> {
        self.parent.as_deref_mut()
    }

    /// Its packed files.
    pub(crate) fn packed(&mut self) -> &mut [PackedReader<Box<dyn ReadSeek>>] {
        &mut self.packed
    }

    /// Reads the page at this place of this pages file, as a pagemap counts those that are `PE_PRESENT`.
    ///
    /// # Errors
    /// It is not there, or what holds it is broken.
    pub fn read(&mut self, pages_id: u32, page: u64, into: &mut [u8]) -> Result<(), PagesError> {
        if self.packed.is_empty() {
            return self.read_raw(pages_id, page, into);
        }
        let found = self.packed.iter().enumerate().find_map(|(at, packed)| {
            let (source, _) = packed.find(pages_id, page)?;
            Some((at, source))
        });
        let lazy = self.packed.len() == 1;
        let absent = PagesError::Absent {
            pages_id,
            page,
            lazy,
        };
        match found {
            None => Err(absent),
            Some((_, Source::Zeros)) => {
                into.fill(0);
                Ok(())
            }
            Some((at, Source::Here(number))) => match self.packed.get_mut(at) {
                Some(packed) => read_packed(packed, number, into),
                None => Err(absent),
            },
            Some((_, Source::Parent { level, part, page })) => self
                .read_above(level, part, page, into)
                .unwrap_or(Err(absent)),
        }
    }

    /// A page of a packed file so many parents up; `None` if there is none.
    fn read_above(
        &mut self,
        level: u32,
        part: Part,
        page: u64,
        into: &mut [u8],
    ) -> Option<Result<(), PagesError>> {
        let mut set = self;
        for _ in 0..level {
            set = set.parent.as_deref_mut()?;
        }
        let packed = set.packed.iter_mut().find(|packed| packed.part() == part)?;
        Some(read_packed(packed, page, into))
    }

    fn open_raw(&mut self, pages_id: u32) -> Result<(), PagesError> {
        if !self.raw.contains_key(&pages_id) {
            let what = Kind::Pages.file_name(pages_id.into());
            let opened = self.directory.open(OsStr::new(&what));
            let file = opened.map_err(|source| PagesError::Io { what, source })?;
            self.raw.insert(pages_id, file);
        }
        Ok(())
    }

    fn read_raw(&mut self, pages_id: u32, page: u64, into: &mut [u8]) -> Result<(), PagesError> {
        self.open_raw(pages_id)?;
        let failed = |source| PagesError::Io {
            what: Kind::Pages.file_name(pages_id.into()),
            source,
        };
        let lazy = false;
        let absent = PagesError::Absent {
            pages_id,
            page,
            lazy,
        };
        let (Some(file), Some(at)) = (
            self.raw.get_mut(&pages_id),
            page.checked_mul(X86_64_PAGE_BYTES),
        ) else {
            return Err(absent);
        };
        let seek = file.stream_position().and_then(|position| {
            let forward = i64::try_from(at).ok().zip(i64::try_from(position).ok());
            match forward {
                Some((at, position)) if at == position => Ok(()), // what is buffered is kept
                _ => file.seek(SeekFrom::Start(at)).map(drop),
            }
        });
        seek.and_then(|()| file.read_exact(into)).map_err(failed)
    }

    /// Reads the page at an address of a process, or at an offset of a shared memory object: from this set, or from
    /// whichever parent has it. `Ok(false)`: no pagemap has it.
    ///
    /// # Errors
    /// A pagemap says that it is there, and it is not.
    pub fn read_address(
        &mut self,
        kind: Kind,
        id: u64,
        address: u64,
        into: &mut [u8],
    ) -> Result<bool, PagesError> {
        if !self.maps.contains_key(&(kind, id)) {
            let map = self.load(kind, id)?;
            self.maps.insert((kind, id), map);
        }
        let Some((span, place, pages_id)) =
            self.maps.get(&(kind, id)).and_then(|map| map.find(address))
        else {
            return Ok(false);
        };
        if span.flags & PE_PRESENT != 0 {
            return self.read(pages_id, place, into).map(|()| true);
        }
        if span.flags & PE_PARENT == 0 {
            return Ok(false);
        }
        let found = match &mut self.parent {
            Some(parent) => parent.read_address(kind, id, address, into)?,
            None => false,
        };
        if found {
            Ok(true)
        } else {
            Err(PagesError::NotInParent { address })
        }
    }

    /// All pages of a process or an object in order, wherever they lie.
    ///
    /// # Errors
    /// A pagemap is missing or broken, or says that a parent has what it has not.
    pub fn stored(&mut self, kind: Kind, id: u64) -> Result<Vec<Stored>, PagesError> {
        let map = self.load(kind, id)?;
        let is_above =
            |(span, _): &(PageSpan, u64)| span.flags & (PE_PRESENT | PE_PARENT) == PE_PARENT;
        let above = match &mut self.parent {
            Some(parent) if map.runs.iter().any(is_above) => parent.stored(kind, id)?,
            _ => Vec::new(),
        };
        let mut stored = Vec::new();
        for run @ (span, page) in &map.runs {
            let address = span.start;
            if span.flags & PE_PRESENT != 0 {
                let place = Place {
                    level: 0,
                    pages_id: map.pages_id,
                    page: *page,
                };
                stored.push(Stored {
                    start: span.start,
                    end: span.end,
                    place,
                });
            } else if is_above(run) {
                let mut at = span.start;
                let first = above.partition_point(|run| run.end <= span.start);
                let parts = above.iter().skip(first);
                for mut part in parts.map_while(|run| run.part(span.start, span.end)) {
                    if part.start != at {
                        break;
                    }
                    at = part.end;
                    part.place.level += 1;
                    stored.push(part);
                }
                if at < span.end {
                    return Err(PagesError::NotInParent { address: at });
                }
            } else {
                return Err(PagesError::Nowhere { address });
            }
        }
        Ok(stored)
    }

    /// Whether pages of this set or of one that it builds on are packed.
    pub fn any_packed(&self) -> bool {
        let above = self.parent.as_deref();
        self.is_packed() || above.is_some_and(Self::any_packed)
    }

    /// Opens everything that the pages of a process or object may be read from, here and in parents: what is open can be
    /// read even when its name is gone.
    ///
    /// # Errors
    /// Something of it is missing or broken.
    pub fn hold(&mut self, kind: Kind, id: u64) -> Result<(), PagesError> {
        let map = self.load(kind, id)?;
        let has = |flag: u32| map.runs.iter().any(|(span, _)| span.flags & flag != 0);
        let (present, in_parent, pages_id) = (has(PE_PRESENT), has(PE_PARENT), map.pages_id);
        self.maps.insert((kind, id), map);
        if present && self.packed.is_empty() {
            self.open_raw(pages_id)?;
        }
        match &mut self.parent {
            Some(parent) if in_parent => parent.hold(kind, id),
            _ => Ok(()),
        }
    }

    fn load(&self, kind: Kind, id: u64) -> Result<Placed, PagesError> {
        let file = kind.file_name(id);
        let opened = self
            .directory
            .open(OsStr::new(&file))
            .map_err(|source| PagesError::Io {
                what: file.clone(),
                source,
            })?;
        let map = Pagemap::read(opened).map_err(|source| PagesError::Image { file, source })?;
        Ok(Placed::new(&map))
    }
}

/// A pagemap with the place of each run in its pages file.
struct Placed {
    pages_id: u32,
    runs: Vec<(PageSpan, u64)>,
}

impl Placed {
    fn new(map: &Pagemap) -> Self {
        let mut before = 0u64;
        let mut runs = Vec::new();
        for span in map
            .entries
            .iter()
            .filter_map(|entry| PageSpan::of(entry, X86_64_PAGE_BYTES))
        {
            runs.push((span, before));
            if span.flags & PE_PRESENT != 0 {
                before = before.saturating_add((span.end - span.start) / X86_64_PAGE_BYTES);
            }
        }
        Self {
            pages_id: map.head.pages_id,
            runs,
        }
    }

    /// The run that holds an address, the page's place in the pages file, and that file's id.
    fn find(&self, address: u64) -> Option<(PageSpan, u64, u32)> {
        let after = self.runs.partition_point(|(span, _)| span.start <= address);
        let (span, before) = *self.runs.get(after.checked_sub(1)?)?;
        let skip = (address - span.start) / X86_64_PAGE_BYTES;
        (address < span.end).then(|| (span, before.saturating_add(skip), self.pages_id))
    }
}

fn read_packed(
    packed: &mut PackedReader<Box<dyn ReadSeek>>,
    number: u64,
    into: &mut [u8],
) -> Result<(), PagesError> {
    let file = packed.part().file_name();
    packed
        .read_page(number, into)
        .map_err(|source| PagesError::Packed { file, source })
}
