//! The holds of this host (`plimsoll hold`, `plimsoll run`), so that a workload which is in one is called by its name, with its two numbers
//! and with how often it met them.
//!
//! A survey reads the records that are new (`plimsoll_hold::record`), a look what the kernel counts for the groups that they name. A hold
//! is of all that lies below its group: a container has its processes there.

use super::hits::Hits;
use super::stopped::each_entry;
use crate::name::Name;
use crate::observation::Hold;
use plimsoll_cgroup::mount::{Hierarchy, Version};
use plimsoll_hold::record::Brief;
use plimsoll_proc::kernel_text;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Of more holds than this, the rest is not known as such.
const MOST: usize = 128;

/// Longer paths are passed over.
const LONGEST_PATH: usize = 1024;

#[derive(Debug)]
pub(super) struct Holds {
    records: Option<OwnedFd>,
    hierarchy: Option<(PathBuf, Version)>,
    places: Vec<Place>,
}

/// A hold, or room for one.
#[derive(Debug, Default)]
struct Place {
    /// The inode of its record, which a later hold of the same name does not have.
    record: Option<u64>,
    /// Whether the survey under way has met it.
    met: bool,
    hold: Hold,
    /// Its group's directory.
    group: Vec<u8>,
    /// `None` until the group is there, and when it has gone.
    hits: Option<Hits>,
}

impl Holds {
    /// `records` is where they are; where there is no such directory, there are no holds.
    pub(super) fn open(hierarchy: Option<&Hierarchy>, records: Option<&Path>) -> Self {
        let place = || Place {
            group: Vec::with_capacity(LONGEST_PATH),
            ..Place::default()
        };
        Self {
            records: records.and_then(|path| directory(path.as_os_str().as_bytes())),
            hierarchy: hierarchy.map(|one| (one.mount_point.clone(), one.version)),
            places: std::iter::repeat_with(place).take(MOST).collect(),
        }
    }

    /// Finds what has come and gone.
    pub(super) fn survey(&mut self, buffer: &mut [u8]) {
        let (Some(records), Some((_, version))) = (&self.records, &self.hierarchy) else {
            return;
        };
        for place in &mut self.places {
            place.met = false;
        }
        let places = &mut self.places;
        each_entry(records, |name, _, inode| {
            meet(places, records, name, inode, buffer)
        });
        for place in places {
            if !place.met {
                (place.record, place.hits) = (None, None);
            } else if place.hits.is_none() {
                // A record is written before its group is made.
                place.hits = directory(&place.group).and_then(|group| Hits::open(&group, *version));
            }
        }
    }

    /// Counts anew.
    pub(super) fn read(&mut self, buffer: &mut [u8]) {
        for place in &mut self.places {
            let Some(hits) = &place.hits else { continue };
            match hits.read(buffer) {
                Some(count) => place.hold.limit_hits = count,
                None => place.hits = None,
            }
        }
    }

    /// The hold that a group is in, by its path below the mount point: the innermost.
    pub(super) fn of(&self, path: &[u8]) -> Option<Hold> {
        let (mount_point, _) = self.hierarchy.as_ref()?;
        let path = OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path));
        let is_in = |place: &&Place| {
            let group = Path::new(OsStr::from_bytes(&place.group));
            place.record.is_some()
                && group
                    .strip_prefix(mount_point)
                    .is_ok_and(|group| Path::new(path).starts_with(group))
        };
        let innermost = self
            .places
            .iter()
            .filter(is_in)
            .max_by_key(|place| place.group.len());
        innermost.map(|place| place.hold)
    }
}

/// Notes a record, and reads it if it is new. What is no record, or not ours to read, is passed over.
fn meet(places: &mut [Place], records: &OwnedFd, name: &[u8], inode: u64, buffer: &mut [u8]) {
    if let Some(place) = places.iter_mut().find(|place| place.record == Some(inode)) {
        place.met = true;
        return;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(records, name, flags, Mode::empty()).ok();
    let text = file.and_then(|file| kernel_text::read(file, buffer));
    let Some(brief) = text.and_then(Brief::of) else {
        return;
    };
    let Some(place) = places.iter_mut().find(|place| place.record.is_none()) else {
        return;
    };
    if brief.group.len() > place.group.capacity() {
        return;
    }
    place.group.clear();
    place.group.extend_from_slice(brief.group.as_bytes());
    place.hold = Hold {
        name: Name::of(brief.name.as_bytes()),
        ram_bytes: brief.numbers.ram,
        swap_bytes: brief.numbers.swap,
        limit_hits: 0,
    };
    (place.record, place.met) = (Some(inode), true);
}

fn directory(path: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A record as `plimsoll_hold` writes it, of a group that is a directory of the test's own.
    fn record(name: &str, group: &Path) -> String {
        format!(
            r#"{{"name":"{name}","numbers":{{"ram_bytes":64,"swap_bytes":32}},"version":1,"group":"{}","unit":null,"pressure":null,"own":{{"group":"/elsewhere","pressure":null}},"previous":[],"runner":null}}"#,
            group.display()
        )
    }

    struct Host {
        scratch: tempfile::TempDir,
        holds: Holds,
    }

    impl Host {
        fn new() -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let records = scratch.path().join("records");
            fs::create_dir(&records).unwrap();
            let hierarchy = Hierarchy {
                version: Version::V1,
                mount_point: scratch.path().join("cgroup"),
                root: "/".into(),
                device: (0, 0),
            };
            let holds = Holds::open(Some(&hierarchy), Some(&records));
            Self { scratch, holds }
        }

        fn add(&self, file: &str, text: &str) {
            fs::write(self.scratch.path().join("records").join(file), text).unwrap();
        }

        fn remove(&self, file: &str) {
            fs::remove_file(self.scratch.path().join("records").join(file)).unwrap();
        }

        fn group(&self, path: &str) -> PathBuf {
            self.scratch.path().join("cgroup").join(path)
        }

        fn look(&mut self) {
            let mut buffer = vec![0; 64 << 10];
            self.holds.survey(&mut buffer);
            self.holds.read(&mut buffer);
        }

        fn name_of(&self, path: &str) -> Option<String> {
            let hold = self.holds.of(path.as_bytes())?;
            Some(hold.name.as_str().to_owned())
        }
    }

    #[test]
    fn a_group_and_all_below_it_are_of_the_innermost_hold() {
        let mut host = Host::new();
        host.add("outer", &record("outer", &host.group("a")));
        host.add("inner", &record("inner", &host.group("a/b")));
        host.add(".outer.17", "half a rec");
        host.look();
        let names =
            ["/a", "/a/x", "/a/b", "/a/b/c", "/ab", "/elsewhere"].map(|path| host.name_of(path));
        let names = names.each_ref().map(Option::as_deref);
        let (outer, inner) = (Some("outer"), Some("inner"));
        assert_eq!(names, [outer, outer, inner, inner, None, None]);
        host.remove("inner");
        host.look();
        assert_eq!(host.name_of("/a/b").as_deref(), Some("outer"));
    }

    #[test]
    fn hits_are_counted_from_when_the_group_is_there_until_it_has_gone() {
        let mut host = Host::new();
        host.add("build", &record("build", &host.group("build")));
        host.look();
        let hits = |host: &Host| host.holds.of(b"/build").unwrap().limit_hits;
        assert_eq!(hits(&host), 0);
        fs::create_dir_all(host.group("build")).unwrap();
        fs::write(host.group("build/memory.failcnt"), "7\n").unwrap();
        host.look();
        assert_eq!(hits(&host), 7);
        fs::write(host.group("build/memory.memsw.failcnt"), "5\n").unwrap();
        host.look();
        assert_eq!(hits(&host), 7, "what was not there is not looked for again");
    }

    #[test]
    fn one_that_is_made_again_has_its_new_numbers() {
        let mut host = Host::new();
        host.add("a", &record("a", &host.group("a")));
        host.look();
        // Linked in its place while the old one is still there: it has another inode for sure.
        host.add(".a", &record("a", &host.group("a")).replace("64", "128"));
        let records = host.scratch.path().join("records");
        fs::rename(records.join(".a"), records.join("a")).unwrap();
        host.look();
        assert_eq!(host.holds.of(b"/a").unwrap().ram_bytes.get(), 128);
    }
}
