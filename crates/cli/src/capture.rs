//! `plimsoll capture`: one look with all that `explain` asks for besides, and the bytes it was made from.
//!
//! Everything is written into a directory beside the one that was asked for, which takes its name at the end: so DIR is complete
//! or as it was. A signal ends it with that directory removed; where it was killed outright, the next capture to the same place names
//! what it left. What a replay has to say is kept too (`plimsoll/look.json`), for comparison.

use crate::args;
use crate::failure::{Failure, Kind};
use crate::gather::{Gatherer, Mappings, Wanted};
use crate::park::catch_signals;
use crate::terminal;
use anyhow::Context;
use plimsoll_proc::{Recorded, Root};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// Where a captured tree keeps the account as it was made live.
const LOOK_FILE: &str = "plimsoll/look.json";

/// Captures as asked.
pub(crate) fn run(args: &args::Capture) -> Result<(), Failure> {
    refuse_unless_new_or_empty(&args.dir)?;
    for left in left_behind(&args.dir) {
        eprintln!(
            "plimsoll: note: {} was left by a capture that was killed; nothing needs it, remove it",
            left.display()
        );
    }
    let interrupted = catch_signals()?;
    let aside = Aside::new(&args.dir)?;
    let mappings = if args.all_mappings {
        Mappings::All
    } else {
        Mappings::Cheap
    };
    let recorded = write(&aside.path, mappings)?;
    if interrupted.load(Ordering::Relaxed) {
        return Err(Failure::message(
            Kind::Failed,
            "interrupted; nothing was written",
        ));
    }
    aside.take_its_place(&args.dir)?;
    terminal::print(&told(args, recorded)?)?;
    Ok(())
}

fn write(into: &Path, mappings: Mappings) -> Result<Recorded, Failure> {
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let directory = rustix::fs::open(into, flags, Mode::empty())
        .map_err(std::io::Error::from)
        .with_context(|| format!("cannot open {}", into.display()))
        .map_err(|error| Failure::new(Kind::Failed, error))?;
    let root = Root::recorded(directory);
    let account = Gatherer::new(&root)?.account(&Wanted::everything(mappings))?;
    root.record(LOOK_FILE, &json(&account.look)?);
    root.record(HOST_FILE, &json(&CapturedHost::now())?);
    Ok(root.finish_recording()?)
}

fn json(document: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec_pretty(document).map_err(|error| Failure::new(Kind::Fault, error))
}

/// Where a captured tree says what it is of.
const HOST_FILE: &str = "plimsoll/host.json";

/// What a person wants to know of a tree that somebody sent.
#[derive(Serialize, Deserialize)]
struct CapturedHost {
    /// Seconds since 1970, UTC.
    captured_unix_s: u64,
    kernel: String,
    machine: String,
    plimsoll: String,
}

impl CapturedHost {
    fn now() -> Self {
        let uname = rustix::system::uname();
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            captured_unix_s: since_1970.map_or(0, |since| since.as_secs()),
            kernel: uname.release().to_string_lossy().into_owned(),
            machine: uname.machine().to_string_lossy().into_owned(),
            plimsoll: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// When a captured tree was captured, in seconds since 1970; `None` for one that does not say.
pub(crate) fn taken_at(root: &Root) -> Option<i64> {
    let host: CapturedHost = serde_json::from_slice(&root.read(HOST_FILE).ok()?).ok()?;
    i64::try_from(host.captured_unix_s).ok()
}

fn refuse_unless_new_or_empty(dir: &Path) -> Result<(), Failure> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::message(
            Kind::Refused,
            format_args!("{} is not empty", dir.display()),
        )
        .hint("name a directory that does not exist yet; nothing was written")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot("use", dir, error)),
    }
}

/// The directory that is written into; it is removed again unless it took its place.
struct Aside {
    path: PathBuf,
    in_place: bool,
}

impl Aside {
    fn new(target: &Path) -> Result<Self, Failure> {
        let name = target.file_name().ok_or_else(|| {
            Failure::message(
                Kind::Usage,
                format_args!("{} names no directory of its own", target.display()),
            )
        })?;
        let mut aside = name_aside(name);
        aside.push(std::process::id().to_string());
        let path = target.with_file_name(aside);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| cannot("make a directory beside", target, error))?;
        Ok(Self {
            path,
            in_place: false,
        })
    }

    /// `rename(2)` puts a directory in the place of an empty one, and of nothing else. What is in it is on the disk first
    /// (`syncfs(2)`: one call for thousands of files), so that a crash leaves a whole capture or none.
    fn take_its_place(mut self, target: &Path) -> Result<(), Failure> {
        let put = |error| cannot("put the capture at", target, error);
        fs::File::open(&self.path)
            .and_then(|directory| Ok(rustix::fs::syncfs(directory)?))
            .map_err(put)?;
        fs::rename(&self.path, target).map_err(put)?;
        self.in_place = true;
        Ok(())
    }
}

/// Beginning of the names of directories that captures to `name` are written into; the capturing process's id follows.
fn name_aside(name: &OsStr) -> OsString {
    let mut aside = OsString::from(".");
    aside.push(name);
    aside.push(".partial-");
    aside
}

/// Directories that captures to the same place were written into, by processes that are no more.
fn left_behind(target: &Path) -> Vec<PathBuf> {
    let beginning = target.file_name().map(name_aside).unwrap_or_default();
    let parent = target
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let entries = fs::read_dir(parent.unwrap_or(Path::new("."))).into_iter();
    let is_of_the_dead = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let pid = name.as_bytes().strip_prefix(beginning.as_bytes());
        let pid = pid.and_then(|pid| std::str::from_utf8(pid).ok()?.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    };
    let entries = entries.flatten().flatten().filter(is_of_the_dead);
    entries.map(|entry| entry.path()).collect()
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.in_place {
            let _ = fs::remove_dir_all(&self.path); // the failure that led here is what is told
        }
    }
}

fn cannot(operation: &str, path: &Path, error: std::io::Error) -> Failure {
    let kind = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Kind::NotPermitted,
        _ => Kind::Failed,
    };
    let context = format!("cannot {operation} {}", path.display());
    Failure::new(kind, anyhow::Error::new(error).context(context))
}

#[derive(Serialize)]
struct Told<'a> {
    schema: &'static str,
    dir: &'a str,
    files: u64,
    content_bytes: u64,
}

fn told(args: &args::Capture, recorded: Recorded) -> Result<String, Failure> {
    let dir = args.dir.display().to_string();
    if args.json {
        let told = Told {
            schema: "plimsoll.capture/1",
            dir: &dir,
            files: recorded.files,
            content_bytes: recorded.bytes.get(),
        };
        return Ok(String::from_utf8_lossy(&json(&told)?).into_owned() + "\n");
    }
    Ok(format!(
        "Captured {} files, {}, in {dir}\n\
         It holds, of every process that you may read: command line, user, cgroup, and the paths of the files it maps;\n\
         and the kernel's log and the host's user names. It holds no environment, no file's content and no memory. Look through it before you hand it on.\n\
         See it: plimsoll look --root {dir}\n",
        recorded.files, recorded.bytes,
    ))
}
