//! The `criu` door: this binary, called as `criu` or as `plimsoll criu`, takes CRIU's command line, so that what drives CRIU
//! can drive us. Understood is what `zdtm.py`, runc's and crun's callers and people give most; what has no meaning here is
//! read and passed over; what is not known is refused.

mod groups;
mod line;

use crate::failure::Failure;
use line::Line;
use plimsoll_checkpoint::{After, Dump, Error, Kinship, Options, Place, Restore};
use plimsoll_proc::Root;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs one of CRIU's actions; gives its exit code: 0, or 1.
pub(crate) fn run(words: impl IntoIterator<Item = OsString>) -> u8 {
    let line = match Line::parse(words) {
        Ok(line) => line,
        Err(error) => {
            eprintln!("Error: {error}");
            return 1;
        }
    };
    let mut log = Log::open(&line);
    match act(&line) {
        Ok(()) => {
            log.say(&format!("{} finished successfully", line.action));
            0
        }
        // A feature that is not there is an answer, not an error.
        Err(failure) if line.action == "check" => {
            log.say(&failure.to_string());
            1
        }
        Err(failure) => {
            log.say(&format!("Error: {failure}"));
            1
        }
    }
}

/// Options that would make something else of an action: not passed over.
const NOT_THERE: [(&str, &str); 5] = [
    (
        "page-server",
        "pages are written where the other images are",
    ),
    (
        "lazy-pages",
        "`plimsoll restore --lazy` brings memory behind a running tree",
    ),
    ("stream", "images are files"),
    ("join-ns", "run the restore in that namespace: nsenter(1)"),
    (
        "empty-ns",
        "run the restore in a namespace of its own: unshare(1)",
    ),
];

fn act(line: &Line) -> Result<(), Failure> {
    if let Some((option, instead)) = NOT_THERE.iter().find(|(option, _)| line.has(option)) {
        return Err(Failure::message(
            crate::failure::Kind::Usage,
            format!("--{option} is not there: {instead}"),
        ));
    }
    match line.action.as_str() {
        "dump" | "pre-dump" => dump(line),
        "restore" => restore(line),
        "check" => check(line),
        action => Err(Failure::message(
            crate::failure::Kind::Usage,
            format!("the action {action} is not there yet"),
        )),
    }
}

fn dump(line: &Line) -> Result<(), Failure> {
    let root = Root::live();
    let after = match () {
        // A dump that nobody restores yet: a later one builds on it.
        () if line.action == "pre-dump" || line.has("leave-running") => After::Run,
        () if line.has("leave-stopped") => After::Stop,
        () => After::End,
    };
    let seconds = line.number("timeout").unwrap_or(10);
    let dump = Dump {
        root: &root,
        pid: u32::try_from(line.number("tree").unwrap_or(0)).unwrap_or(0),
        directory: &line.images(),
        place: Place::Within,
        parent: line.value("prev-images-dir").map(Path::new),
        pack: false,
        after,
        timeout: Duration::from_secs(seconds),
        options: Options {
            shell_job: line.has("shell-job"),
            file_locks: line.has("file-locks"),
            link_remap: line.has("link-remap"),
            tcp_established: line.has("tcp-established"),
            tcp_close: line.has("tcp-close"),
            skip_network_lock: line.value("network-lock") == Some("skip"),
            skip_in_flight: line.has("skip-in-flight"),
            external_unix: line.has("ext-unix-sk"),
            ghost_limit_bytes: line.value("ghost-limit").and_then(line::size),
        },
        group_roots: &groups::dumped(line),
    };
    dump.run()?;
    Ok(())
}

fn restore(line: &Line) -> Result<(), Failure> {
    let root = Root::live();
    let restored = Restore {
        root: &root,
        directory: &line.images(),
        kinship: if line.has("restore-sibling") {
            Kinship::Sibling
        } else {
            Kinship::Child
        },
        stopped: line.has("leave-stopped"),
        tcp_close: line.has("tcp-close"),
        groups: groups::manage(line)?,
        group_roots: &groups::roots(line),
    }
    .run()?;
    let _ = restored.figures.write(&line.work()); // the tree runs, whether it is counted or not
    if let Some(path) = line.value("pidfile") {
        let path = line.work().join(path);
        std::fs::write(&path, restored.pid.to_string()).map_err(|source| Error::File {
            operation: "write",
            path,
            source,
        })?;
    }
    if !line.has("restore-detached") {
        let pid = i32::try_from(restored.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitpid(pid, rustix::process::WaitOptions::empty())
        });
    }
    Ok(())
}

/// Features that a caller may ask for before it asks for what needs them.
fn check(line: &Line) -> Result<(), Failure> {
    const KNOWN: &[&str] = &[
        "mnt_id",
        "fdinfo_lock",
        "seccomp_filters",
        "seccomp_suspend",
        "timens",
        "get_rseq_conf",
        "timerfd",
        "pagemap_scan_guard_pages",
        "kcmp_epoll",
        "tcp_half_closed",
        "loginuid",
        "sockopt_buf_lock",
        "ns_pid",
        "memfd_hugetlb",
        "network_lock_nftables",
        "nftables",
        "has_ipt_legacy",
        "ipv6_freebind",
        "net_diag_raw",
        "aio_remap",
        "cgroupns",
    ];
    match line.value("feature") {
        Some(feature) if !KNOWN.contains(&feature) => Err(Failure::message(
            crate::failure::Kind::Refused,
            format!("the feature {feature} is not there"),
        )),
        _ => Ok(()),
    }
}

/// The file that callers look into, where they asked for one.
struct Log {
    file: Option<File>,
}

impl Log {
    fn open(line: &Line) -> Self {
        let path = line.value("log-file").map(|name| line.work().join(name));
        Self {
            file: path.and_then(|path: PathBuf| File::create(path).ok()),
        }
    }

    fn say(&mut self, text: &str) {
        match &mut self.file {
            Some(file) => drop(writeln!(file, "{text}")), // nobody is left to be told that a log can't be written
            None => eprintln!("{text}"),
        }
    }
}

/// Whether a program of this name is the door.
pub(crate) fn is_called(program: &Path) -> bool {
    program.file_name().is_some_and(|name| name == "criu")
}
