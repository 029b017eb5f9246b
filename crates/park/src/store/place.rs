//! Where stores live: directories of their owner alone, on a disk, with room.

use super::StoreError;
use super::format::Identity;
use rustix::fs::{Access, Mode, OFlags};
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// File systems that keep their files in memory (`statfs(2)`).
const IN_MEMORY: [(i64, &str); 3] = [
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x9584_58f6, "hugetlbfs"),
];

/// The directories that stores may be put in, in order of preference.
#[derive(Debug, Clone)]
pub struct Place {
    roots: Vec<PathBuf>,
    /// Whether a file system that lives in memory will do; for tests, and for those who mean it.
    in_memory: bool,
}

/// What a directory has free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The directory.
    pub root: PathBuf,
    /// Bytes that this user may still write there.
    pub free_bytes: u64,
}

impl Place {
    /// The directories to try, best first.
    #[must_use]
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            roots,
            in_memory: false,
        }
    }

    /// Accepts directories on tmpfs too: their stores take the memory that parking frees.
    #[must_use]
    pub fn even_in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// The first directory, made if need be, with room for `needed_bytes`.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] names each with what it has; [`StoreError::InMemory`] and
    /// [`StoreError::NotPrivate`] where a directory may not be used at all.
    pub fn choose(&self, needed_bytes: u64) -> Result<Room, StoreError> {
        self.first(needed_bytes, |root| self.room(root))
    }

    /// The stores there are, whole or not.
    ///
    /// # Errors
    /// When a directory can't be listed.
    pub fn stores(&self) -> Result<Vec<Listed>, StoreError> {
        let mut stores = Vec::new();
        for root in &self.roots {
            stores.extend(list(root)?);
        }
        Ok(stores)
    }

    /// The directory that [`Place::choose`] would choose; nothing is made.
    ///
    /// # Errors
    /// As [`Place::choose`].
    pub fn look(&self, needed_bytes: u64) -> Result<Room, StoreError> {
        self.first(needed_bytes, |root| self.future_room(root))
    }

    fn first(
        &self,
        needed_bytes: u64,
        room: impl Fn(&Path) -> Result<Room, StoreError>,
    ) -> Result<Room, StoreError> {
        let mut rooms = Vec::new();
        for root in &self.roots {
            let room = room(root)?;
            if room.free_bytes >= needed_bytes {
                return Ok(room);
            }
            rooms.push((room.root, room.free_bytes));
        }
        Err(StoreError::NoRoom {
            needed_bytes,
            rooms,
        })
    }

    /// Where the directory does not exist yet, the one that it would be made in decides.
    fn future_room(&self, root: &Path) -> Result<Room, StoreError> {
        let there = root.ancestors().find(|dir| dir.exists()).unwrap_or(root);
        if there == root {
            check_private(root)?;
        }
        let may = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK);
        may.map_err(StoreError::io("write to", there))?;
        self.free(root, there)
    }

    fn room(&self, root: &Path) -> Result<Room, StoreError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(StoreError::io("make", root))?;
        check_private(root)?;
        self.free(root, root)
    }

    /// What is free for `root` in the file system of `there`.
    fn free(&self, root: &Path, there: &Path) -> Result<Room, StoreError> {
        let statfs = rustix::fs::statfs(there).map_err(StoreError::io("stat", there))?;
        let kind = IN_MEMORY.iter().find(|(magic, _)| *magic == statfs.f_type);
        if let Some((_, filesystem)) = kind
            && !self.in_memory
        {
            return Err(StoreError::InMemory {
                path: root.to_owned(),
                filesystem,
            });
        }
        let block = u64::try_from(statfs.f_bsize).unwrap_or(0);
        Ok(Room {
            root: root.to_owned(),
            free_bytes: statfs.f_bavail.saturating_mul(block),
        })
    }
}

/// A store that is to be made: its name is known, so that it can be written down, before anything is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Where it will be.
    pub dir: PathBuf,
    pub(crate) id: u64,
}

impl Room {
    /// Names a store for a tree.
    ///
    /// # Errors
    /// When the kernel has no random numbers.
    pub fn plan(&self, pid: u32, starttime: u64) -> Result<Planned, StoreError> {
        let mut id = [0; 8];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(StoreError::io("read", Path::new("/dev/urandom")))?;
        let id = u64::from_le_bytes(id);
        Ok(Planned {
            dir: self.root.join(format!("{pid}-{starttime}-{id:016x}")),
            id,
        })
    }
}

/// Makes the directory of a new store.
pub(crate) fn create_store(planned: &Planned) -> Result<(), StoreError> {
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&planned.dir)
        .map_err(StoreError::io("make", &planned.dir))
}

/// The directory belongs to this user and nobody else may look into it or change it.
pub(crate) fn check_private(dir: &Path) -> Result<(), StoreError> {
    let metadata = std::fs::symlink_metadata(dir).map_err(StoreError::io("stat", dir))?;
    let not_private = |what| StoreError::NotPrivate {
        path: dir.to_owned(),
        what,
    };
    if !metadata.is_dir() {
        return Err(not_private("is no directory"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(not_private("belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(not_private(
            "can be read or changed by others (mode must be 0700)",
        ));
    }
    Ok(())
}

/// A new file, mode 0600, that nobody else made.
pub(crate) fn create_private(path: &Path) -> Result<File, StoreError> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
        .map(File::from)
        .map_err(StoreError::io("make", path))
}

/// A directory that holds a store.
#[derive(Debug)]
pub struct Listed {
    /// Where it is.
    pub dir: PathBuf,
    /// Whose memory it holds; an error where the header can't be read or believed.
    pub identity: Result<Identity, StoreError>,
}

/// The stores in `root`, whole or not, with whose memory they hold. What is no store is passed over;
/// one that can't be read comes with its error.
///
/// # Errors
/// When `root` can't be listed; a root that does not exist has none.
fn list(root: &Path) -> Result<Vec<Listed>, StoreError> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", root)(error)),
    };
    let mut stores = Vec::new();
    for entry in entries {
        let dir = entry.map_err(StoreError::io("list", root))?.path();
        if dir.join("pages").exists() {
            let header = check_private(&dir).and_then(|()| super::read::header(&dir));
            let identity = header.map(|header| header.identity);
            stores.push(Listed { dir, identity });
        }
    }
    Ok(stores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn others_may_not_look_and_memory_is_no_disk() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("deep/store");
        let place = Place::new(vec![root.clone()]).even_in_memory();
        assert!(place.choose(1).is_ok());
        assert!(
            matches!(place.choose(u64::MAX), Err(StoreError::NoRoom { rooms, .. }) if rooms.len() == 1)
        );
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            place.choose(1),
            Err(StoreError::NotPrivate { .. })
        ));
        if let Ok(shm) = tempfile::tempdir_in("/dev/shm") {
            let root = shm.path().join("store");
            let refused = Place::new(vec![root.clone()]).choose(1);
            assert!(matches!(
                refused,
                Err(StoreError::InMemory {
                    filesystem: "tmpfs",
                    ..
                })
            ));
            assert!(Place::new(vec![root]).even_in_memory().choose(1).is_ok());
        }
    }
}
