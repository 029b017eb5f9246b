//! A control group of a test's own, below the one that the test runs in, so that no group which was there before is
//! touched; removed with all that runs in it when the test ends, however it ends.

use crate::probe;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use std::{fs, io, thread};

/// A control group that is gone when this is dropped.
#[derive(Debug)]
pub struct OwnGroup {
    path: PathBuf,
}

impl OwnGroup {
    /// A group in the v1 hierarchy of `controller`.
    ///
    /// # Errors
    /// When there is no such hierarchy, and as `mkdir(2)`.
    pub fn v1(controller: &str, name: &str) -> io::Result<Self> {
        let mounts = probe::mounts();
        let mount = probe::v1_mount(&mounts, controller);
        let has = |line: &&str| {
            let controllers = line.split(':').nth(1).unwrap_or_default();
            controllers.split(',').any(|one| one == controller)
        };
        Self::below_ours(mount, has, name)
    }

    /// A group in the v2 hierarchy, with what controllers our own group hands down.
    ///
    /// # Errors
    /// When it is not mounted, and as `mkdir(2)`.
    pub fn v2(name: &str) -> io::Result<Self> {
        let mounts = probe::mounts();
        let mount = probe::cgroup2_mount(&mounts);
        Self::below_ours(mount, |line| line.starts_with("0::"), name)
    }

    fn below_ours(
        mount: Option<&str>,
        is_ours: impl Fn(&&str) -> bool,
        name: &str,
    ) -> io::Result<Self> {
        let memberships = fs::read_to_string("/proc/self/cgroup")?;
        let ours = memberships
            .lines()
            .find(is_ours)
            .and_then(|line| line.splitn(3, ':').nth(2));
        let (Some(mount), Some(ours)) = (mount, ours) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let ours = Path::new(mount).join(ours.trim_start_matches('/'));
        Self::make(ours.join(format!("plimsoll-{}-{name}", std::process::id())))
    }

    fn make(path: PathBuf) -> io::Result<Self> {
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// A group in this one; drop it first.
    ///
    /// # Errors
    /// As `mkdir(2)`.
    pub fn child(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        Self::make(self.path.join(name.as_ref()))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes to one of its files.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn set(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.path.join(file), value)
    }

    /// Starts `script` in it, as the commands of a shell.
    ///
    /// # Errors
    /// As `fork(2)` and `exec(2)`.
    pub fn shell(&self, script: &str) -> io::Result<Child> {
        Command::new("sh")
            .args(["-c", r#"echo $$ > "$0/cgroup.procs" && eval "$1""#])
            .arg(&self.path)
            .arg(script)
            .process_group(0)
            .spawn()
    }

    /// The processes in it.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let listed = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        listed
            .lines()
            .filter_map(|line| Pid::from_raw(line.parse().ok()?))
            .collect()
    }
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        // What is killed takes a moment to leave the group.
        for _ in 0..500 {
            for pid in self.processes() {
                let _ = kill_process(pid, Signal::KILL); // it may have ended by itself
            }
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    thread::sleep(Duration::from_millis(10));
                }
                _ => return,
            }
        }
        eprintln!("could not remove the control group {}", self.path.display());
    }
}
