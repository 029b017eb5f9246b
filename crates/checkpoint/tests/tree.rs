//! A program under test: the interpreter at hand runs a script that checks itself and says so in a file.

use plimsoll_checkpoint::{
    After, Dump, Dumped, Error, GroupRoots, Kinship, ManageGroups, Options, Place, Restore,
    Restored,
};
use plimsoll_proc::Root;
use plimsoll_surgery::tree::{Extent, members};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take to say what is waited for, on whatever machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running script, or what became of it.
pub(crate) struct Tree {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) pid: u32,
    child: Option<Child>,
}

impl Tree {
    /// Starts a script in a session of its own and waits until it has written its first line to `says`.
    pub(crate) fn start(script: &str) -> Self {
        Self::start_with(script, |_| {})
    }

    /// As [`start`](Self::start), in a directory that is prepared first.
    pub(crate) fn start_with(script: &str, prepare: impl FnOnce(&Path)) -> Self {
        Self::start_program(&["/usr/bin/python3", "-u", "-c", script], prepare)
    }

    /// Any program.
    pub(crate) fn start_program(words: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let says = std::fs::File::create(dir.path().join("says")).unwrap();
        let child = Command::new("setsid")
            .args(words)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(says.try_clone().unwrap())
            .stderr(says)
            .spawn()
            .unwrap();
        let tree = Self {
            pid: child.id(),
            dir,
            child: Some(child),
        };
        tree.hear(1);
        tree
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.dir.path().join("images")
    }

    /// What it has said, in whole lines: a line may be written in pieces.
    pub(crate) fn says(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("says")).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(str::to_owned).collect()
    }

    /// Waits until it has said so many lines.
    pub(crate) fn hear(&self, lines: usize) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let says = self.says();
            if says.len() >= lines {
                return says;
            }
            assert!(begun.elapsed() < PATIENCE, "it says {says:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn dump(&mut self, after: After) -> Result<Dumped, Error> {
        self.dump_with(after, Options::default())
    }

    pub(crate) fn dump_with(&mut self, after: After, options: Options) -> Result<Dumped, Error> {
        let images = self.images();
        let done = dump_with(self.pid, &images, after, options);
        if after == After::End && done.is_ok() {
            self.reap();
        }
        done
    }

    /// Its pid is free again.
    pub(crate) fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait(); // or it was reaped by the dump, which is this process here, as its tracer
        }
    }

    /// Ends it, if it has not ended yet.
    pub(crate) fn end(&mut self) {
        let _ = rustix::process::kill_process_group(self.raw(), rustix::process::Signal::KILL);
        self.reap();
        while !self.is_gone() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether nobody of its group is left.
    pub(crate) fn is_gone(&self) -> bool {
        group_is_gone(self.pid)
    }

    fn raw(&self) -> rustix::process::Pid {
        raw(self.pid)
    }

    /// Ends its descendants in other groups: nobody else would.
    fn end_those_apart(&self) {
        // The number may be another's by now.
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", self.pid));
        if cwd.is_ok_and(|cwd| cwd == self.dir.path()) {
            let all = members(&Root::live(), self.pid, Extent::Whole).unwrap_or_default();
            for one in all {
                let _ = rustix::process::kill_process(raw(one.pid), rustix::process::Signal::KILL);
            }
        }
    }

    pub(crate) fn restore(&self) -> Result<Restored, Error> {
        restore(&self.images())
    }

    /// Asks a script for its last checks. All its turns are there, none twice, and nothing was found amiss.
    pub(crate) fn ends_when_asked(&self) {
        std::fs::write(self.dir.path().join("ask"), "").unwrap();
        let begun = Instant::now();
        loop {
            // Asked first: it may end between the two, when it has answered.
            let alive = self.is_alive();
            if !self.dir.path().join("ask").exists() {
                break;
            }
            let waits = alive && begun.elapsed() < PATIENCE;
            assert!(waits, "{:?}", self.says());
            std::thread::sleep(Duration::from_millis(10));
        }
        let says = self.says();
        for (i, line) in says.iter().enumerate() {
            assert_eq!(line, &format!("turn {}", i + 1), "{says:?}");
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }
}

fn raw(pid: u32) -> rustix::process::Pid {
    let pid = i32::try_from(pid).unwrap();
    rustix::process::Pid::from_raw(pid).unwrap()
}

/// A script that says `turn` as long as it finds nothing amiss says so after a restore, too.
pub(crate) fn every_kind_comes_back(script: &str) {
    let mut tree = Tree::start(script);
    tree.dump(After::End).unwrap();
    tree.restore().unwrap();
    let said = tree.says().len();
    let says = tree.hear(said + 3);
    assert!(says.iter().all(|line| line == "turn"), "{says:?}");
}

/// Whether nobody of a process group is left; who has ended, and is our child by now, is waited for.
pub(crate) fn group_is_gone(group: u32) -> bool {
    let at_once = rustix::process::WaitOptions::NOHANG;
    while let Ok(Some(_)) = rustix::process::waitpgid(raw(group), at_once) {}
    rustix::process::test_kill_process_group(raw(group)).is_err()
}

impl Drop for Tree {
    fn drop(&mut self) {
        let pid = self.raw();
        self.end_those_apart();
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        match &mut self.child {
            Some(child) => drop(child.wait()),
            None => drop(rustix::process::waitpid(
                Some(pid),
                rustix::process::WaitOptions::empty(),
            )),
        }
    }
}

pub(crate) fn dump(pid: u32, images: &Path, after: After) -> Result<Dumped, Error> {
    dump_with(pid, images, after, Options::default())
}

pub(crate) fn dump_with(
    pid: u32,
    images: &Path,
    after: After,
    options: Options,
) -> Result<Dumped, Error> {
    dump_as(pid, images, after, options, None, false)
}

/// With checksums.
pub(crate) fn dump_packed(pid: u32, images: &Path) -> Result<Dumped, Error> {
    dump_as(pid, images, After::End, Options::default(), None, true)
}

/// Builds on another set, named as seen from the images.
pub(crate) fn dump_onto(pid: u32, images: &Path, parent: &Path) -> Result<Dumped, Error> {
    let options = Options::default();
    dump_as(pid, images, After::End, options, Some(parent), false)
}

fn dump_as(
    pid: u32,
    images: &Path,
    after: After,
    options: Options,
    parent: Option<&Path>,
    pack: bool,
) -> Result<Dumped, Error> {
    let root = Root::live();
    Dump {
        root: &root,
        pid,
        directory: images,
        place: Place::Fresh,
        parent,
        pack,
        after,
        timeout: PATIENCE,
        options,
        group_roots: &BTreeMap::new(),
    }
    .run()
}

pub(crate) fn restore(images: &Path) -> Result<Restored, Error> {
    restore_with(images, ManageGroups::default())
}

/// With some say about control groups.
pub(crate) fn restore_with(images: &Path, groups: ManageGroups) -> Result<Restored, Error> {
    let root = Root::live();
    Restore {
        root: &root,
        directory: images,
        kinship: Kinship::Child,
        stopped: false,
        tcp_close: false,
        groups,
        group_roots: &GroupRoots::new(),
    }
    .run()
}
