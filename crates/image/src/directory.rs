//! Where a set of images lies: a directory, or memory.
//!
//! What looks at whole sets (`verify`, `convert`, `diff`) sees names, sizes and bytes only, so that tests and fuzzers can
//! hand it sets that never were on a disk.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// The name of the link to the set that this one builds on.
pub const PARENT_LINK: &str = "parent";

/// What can be read and sought.
pub trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

/// A set of images.
pub trait Directory: Send {
    /// Regular files, with their sizes in bytes, in order of their names.
    ///
    /// # Errors
    /// The directory can't be read.
    fn files(&self) -> io::Result<Vec<(OsString, u64)>>;

    /// Opens a file.
    ///
    /// # Errors
    /// There is none, or it can't be read.
    fn open(&self, name: &OsStr) -> io::Result<Box<dyn ReadSeek>>;

    /// The set that this one builds on; `None` if it stands alone.
    ///
    /// # Errors
    /// There is a link, and it leads nowhere.
    fn parent(&self) -> io::Result<Option<Box<dyn Directory>>>;
}

/// A directory of the file system.
#[derive(Debug, Clone)]
pub struct OnDisk {
    path: PathBuf,
}

impl OnDisk {
    /// The set in this directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Directory for OnDisk {
    fn files(&self) -> io::Result<Vec<(OsString, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?; // does not follow links
            if metadata.is_file() {
                files.push((entry.file_name(), metadata.len()));
            }
        }
        files.sort();
        Ok(files)
    }

    fn open(&self, name: &OsStr) -> io::Result<Box<dyn ReadSeek>> {
        let path = self.path.join(name);
        // A FIFO or a device under an image's name must not make us wait.
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Box::new(BufReader::with_capacity(
            64 << 10,
            File::open(path)?,
        )))
    }

    fn parent(&self) -> io::Result<Option<Box<dyn Directory>>> {
        let link = self.path.join(PARENT_LINK);
        match fs::symlink_metadata(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(_) if fs::metadata(&link)?.is_dir() => Ok(Some(Box::new(Self::new(link)))),
            Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }
}

/// A set in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InMemory {
    /// Files by name.
    pub files: BTreeMap<OsString, Vec<u8>>,
    /// The set that this one builds on.
    pub parent: Option<Box<InMemory>>,
}

impl InMemory {
    /// Reads a whole directory, without its parent.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for (name, _) in OnDisk::new(path).files()? {
            let bytes = fs::read(path.join(&name))?;
            files.insert(name, bytes);
        }
        Ok(Self {
            files,
            parent: None,
        })
    }
}

impl Directory for InMemory {
    fn files(&self) -> io::Result<Vec<(OsString, u64)>> {
        let sizes = self.files.iter();
        Ok(sizes
            .map(|(name, bytes)| (name.clone(), bytes.len() as u64))
            .collect())
    }

    fn open(&self, name: &OsStr) -> io::Result<Box<dyn ReadSeek>> {
        let bytes = self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(bytes.clone())))
    }

    fn parent(&self) -> io::Result<Option<Box<dyn Directory>>> {
        let parent = self.parent.as_deref();
        Ok(parent.map(|parent| Box::new(parent.clone()) as Box<dyn Directory>))
    }
}
