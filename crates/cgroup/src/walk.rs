//! Goes through a cgroup tree while groups come and go.
//!
//! One directory is open at a time: down by name, up through `..`, so neither depth nor breadth costs
//! descriptors or stack, and no path grows too long. A group that is removed in mid-walk is counted and passed
//! over; its parent is still found through `..`, which the kernel keeps for a removed directory. Groups are told
//! apart by inode. Cgroup file systems allow no move to another parent: where `..` is not the
//! directory that we came from, the tree is none of the kernel's and the walk ends there.

use crate::Error;
use plimsoll_proc::{Dir, DirId};
use std::ffi::{OsStr, OsString};

/// What a walk met besides the groups that it showed.
#[derive(Debug, Default)]
pub struct Seen {
    /// Groups that were removed between being listed and being read.
    pub vanished: u64,
    /// Groups that could not be read, with all below them.
    pub errors: Vec<Error>,
}

/// A group that is shown to the visitor.
#[derive(Debug)]
pub struct Visit<'w, 'r> {
    /// The open group.
    pub dir: &'w Dir<'r>,
    /// Its inode is the id that the kernel gives it.
    pub id: DirId,
    /// Its name in its parent; empty for the topmost.
    pub name: &'w OsStr,
    /// What the visitor returned for its parent.
    pub parent: Option<usize>,
}

/// A group that was entered and not left.
struct Level {
    id: DirId,
    /// The visitor's number for it.
    number: usize,
    /// The groups in it that are still to be visited.
    pending: Vec<OsString>,
}

/// Shows `top` and every group below it to the visitor, parents first. The visitor returns a number by which the
/// group's children will know it, or `None` when the group vanished while it was read.
pub fn walk<'r>(top: Dir<'r>, mut visit: impl FnMut(&Visit<'_, 'r>) -> Option<usize>) -> Seen {
    let mut seen = Seen::default();
    let mut levels: Vec<Level> = Vec::new();
    let mut here = top;
    match enter(&here, OsStr::new(""), None, &mut visit) {
        Ok(level) => levels.extend(level),
        Err(error) => seen.errors.push(error),
    }
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.pending.pop() else {
            levels.pop();
            let Some(above) = levels.last() else { break };
            match leave(&here, above.id) {
                Ok(parent) => here = parent,
                Err(error) => {
                    seen.errors.push(error);
                    break;
                }
            }
            continue;
        };
        let above = &*level;
        let entered = here.open_dir(&name).map_err(Error::from).and_then(|child| {
            let level = enter(&child, &name, Some(above), &mut visit)?;
            Ok(level.map(|level| (child, level)))
        });
        match entered {
            Ok(Some((child, level))) => {
                here = child;
                levels.push(level);
            }
            Ok(None) => seen.vanished = seen.vanished.saturating_add(1),
            Err(error) if error.is_gone() => seen.vanished = seen.vanished.saturating_add(1),
            Err(error) => seen.errors.push(error),
        }
    }
    seen
}

/// Shows a group to the visitor and lists what is in it; `None` when it vanished.
fn enter<'r>(
    dir: &Dir<'r>,
    name: &OsStr,
    parent: Option<&Level>,
    visit: &mut impl FnMut(&Visit<'_, 'r>) -> Option<usize>,
) -> Result<Option<Level>, Error> {
    let id = dir.id()?;
    if parent.is_some_and(|parent| parent.id.device != id.device) {
        return Err(Error::Covered {
            path: dir.path().to_owned(),
        });
    }
    let shown = Visit {
        dir,
        id,
        name,
        parent: parent.map(|parent| parent.number),
    };
    let Some(number) = visit(&shown) else {
        return Ok(None);
    };
    // Removed since it was read: it had no children then, or it could not have been removed.
    let mut pending = match dir.directories() {
        Err(error) if error.is_gone() => Vec::new(),
        listed => listed?,
    };
    // By name, the last being taken first: so a captured tree is walked in the same order as its host was.
    pending.sort_unstable_by(|one, two| two.cmp(one));
    Ok(Some(Level {
        id,
        number,
        pending,
    }))
}

fn leave<'r>(here: &Dir<'r>, above: DirId) -> Result<Dir<'r>, Error> {
    let parent = here.parent()?;
    if parent.id()? == above {
        Ok(parent)
    } else {
        Err(Error::Moved {
            path: here.path().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_proc::Root;
    use std::os::unix::ffi::OsStrExt;

    /// Every group's path, by what the walk says of its name and parent.
    fn paths(root: &Root, mut meanwhile: impl FnMut(&OsStr)) -> (Vec<OsString>, Seen) {
        let mut paths: Vec<OsString> = Vec::new();
        let seen = walk(root.open_dir(".").unwrap(), |group| {
            let mut path = group
                .parent
                .map_or(OsString::new(), |parent| paths[parent].clone());
            path.push("/");
            path.push(group.name);
            paths.push(path);
            meanwhile(group.name);
            Some(paths.len() - 1)
        });
        paths.sort();
        (paths, seen)
    }

    #[test]
    fn names_are_any_bytes() {
        let tree = tempfile::tempdir().unwrap();
        let odd = OsStr::from_bytes(b"\xff\nb");
        std::fs::create_dir_all(tree.path().join("a").join(odd)).unwrap();
        std::fs::create_dir_all(tree.path().join("a/c")).unwrap();
        let (paths, seen) = paths(&Root::captured(tree.path()).unwrap(), |_| ());
        let expected = [&b"/"[..], b"//a", b"//a/c", b"//a/\xff\nb"];
        assert_eq!(paths, expected.map(OsStr::from_bytes));
        assert!(seen.vanished == 0 && seen.errors.is_empty());
    }

    #[test]
    fn deeper_than_any_path_and_any_table_of_descriptors() {
        const DEPTH: usize = 2000;
        let tree = tempfile::tempdir().unwrap();
        let mut dir = rustix::fs::open(
            tree.path(),
            rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&dir, "deep", rustix::fs::Mode::RWXU).unwrap();
            dir = rustix::fs::openat(
                &dir,
                "deep",
                rustix::fs::OFlags::DIRECTORY,
                rustix::fs::Mode::empty(),
            )
            .unwrap();
        }
        let root = Root::captured(tree.path()).unwrap();
        let mut groups = 0;
        let seen = walk(root.open_dir(".").unwrap(), |_| {
            groups += 1;
            Some(groups)
        });
        assert_eq!(groups, DEPTH + 1);
        assert!(seen.errors.is_empty(), "{:?}", seen.errors);
    }

    #[test]
    fn a_group_removed_in_mid_walk_is_passed_over_and_its_siblings_are_not() {
        let tree = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::create_dir(tree.path().join(name)).unwrap();
        }
        let mut visited = 0;
        let (paths, seen) = paths(&Root::captured(tree.path()).unwrap(), |_| {
            visited += 1;
            if visited == 2 {
                // Both the group that is being visited and another that was listed may go.
                for name in ["a", "b"] {
                    std::fs::remove_dir(tree.path().join(name)).unwrap();
                }
            }
        });
        assert!(paths.contains(&OsString::from("//c")), "{paths:?}");
        assert_eq!(paths.len() as u64 + seen.vanished, 4);
        assert!(seen.errors.is_empty(), "{:?}", seen.errors);
    }
}
