//! The command line: help, completions and man pages all come from these definitions.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Keeps the work on a Linux host alive when memory runs out
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Plimsoll {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 could not be done, nothing was changed; 2 wrong usage; 3 not permitted;
4 refused, something stands in the way; 5 a fault inside Plimsoll.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Look(Look),
    Capture(Capture),
    Record(Record),
    Explain(Explain),
    Check(Check),
    Park(Park),
    Resume(Resume),
    Parked(Parked),
    Guard(crate::guard::args::GuardArgs),
    /// Resume parked trees when what they sleep on turns ready; started by the other verbs
    #[command(hide = true)]
    Watch,
    Run(crate::hold::args::Run),
    Hold(crate::hold::args::Hold),
    Holds(crate::hold::args::Holds),
    Release(crate::hold::args::Release),
    #[command(hide = true)]
    Enter(crate::hold::args::Enter),
    Image(crate::image::args::Image),
    Checkpoint(crate::checkpoint::CheckpointArgs),
    Restore(crate::checkpoint::RestoreArgs),
    /// Take CRIU's command line, as this program does when it is called `criu`
    #[command(disable_help_flag = true)]
    Criu {
        /// An action and its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<std::ffi::OsString>,
    },
    /// Print a completion script for a shell
    #[command(after_help = "Example: plimsoll completions bash > /etc/bash_completion.d/plimsoll")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    #[command(after_help = "Example: plimsoll man /usr/local/share/man/man1")]
    Man {
        /// An existing directory
        dir: PathBuf,
    },
}

/// Show who owns every page of RAM
///
/// Disjoint owners that sum to all of RAM; what no owner claims is printed as `unattributed`, never
/// hidden. A size without a mark is counted by the kernel; `~` is worked out from what the kernel shows;
/// `?` is there, but its holder is not known. Without root it shows what it can, and ends with what it
/// did not see and what root would add.
#[derive(Debug, Args)]
#[command(after_help = LOOK_EXAMPLES)]
pub(crate) struct Look {
    /// What to look at in depth: processes, groups, commit, slab, a process id, or a cgroup's path
    ///
    /// processes  who holds anonymous memory
    /// groups     what each cgroup is charged, its limits, and what it holds that no process in it owns
    /// commit     what the kernel has promised, recomputed from every mapping (reads every smaps)
    /// slab       the kernel's own caches: how full each is, whether it can be emptied
    /// PID        one process
    /// CGROUP     one group, named by its path, which begins with a slash
    #[arg(value_name = "VIEW", verbatim_doc_comment, value_parser = View::parse)]
    pub(crate) view: Option<View>,

    /// Add one line of plain words for each owner
    #[arg(long)]
    pub(crate) explain: bool,

    /// Print one JSON document, schema plimsoll.look/1 (docs/look-json.md); with --watch one a line
    #[arg(long, conflicts_with = "explain")]
    pub(crate) json: bool,

    /// Look again every so many seconds until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2", value_parser = seconds)]
    pub(crate) watch: Option<Duration>,

    /// Read a tree that `plimsoll capture` wrote, or a recording of `plimsoll record`, instead of this host
    #[arg(long, value_name = "PATH", conflicts_with = "watch")]
    pub(crate) root: Option<PathBuf>,

    /// Which moment of the recording: seconds since 1970, or so long before its end (-30s, -2m); its last one
    /// unless given
    #[arg(long, value_name = "TIME", requires = "root", allow_hyphen_values = true, value_parser = At::parse)]
    pub(crate) at: Option<At>,

    /// Add the processes up (with view `processes`)
    #[arg(long, value_name = "WHAT")]
    pub(crate) by: Option<By>,

    /// Add each process's proportional share of what it shares; costs about 13 ms a GiB, so big
    /// processes are passed over and named unless `--pss=all`
    #[arg(long, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "cheap")]
    pub(crate) pss: Option<Pss>,
}

const LOOK_EXAMPLES: &str = "\
Examples:
  plimsoll look                       the whole of RAM, biggest owner first
  plimsoll look --explain             the same, with a line of plain words for each owner
  plimsoll look processes --by user   who uses how much
  plimsoll look commit                promises, and memory that Committed_AS does not see
  plimsoll look /user.slice           one cgroup
  plimsoll look --watch=1             refresh every second
  plimsoll look --json | jq .host.unattributed_bytes
  plimsoll look --root DIR            the account of a captured host
  plimsoll look --root FILE --at -30s the account of a host half a minute before a recording's end";

/// A moment of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Seconds since 1970.
    Unix(i64),
    /// So long before the recording's end.
    BeforeTheEnd(Duration),
    /// When most was committed.
    MostCommitted,
}

impl At {
    fn parse(word: &str) -> Result<Self, String> {
        let wrong = || format!("`{word}` is neither seconds since 1970 nor like -30s or -2m");
        let Some(before) = word.strip_prefix('-') else {
            return word.parse().map(Self::Unix).map_err(|_| wrong());
        };
        duration(before).map(Self::BeforeTheEnd).ok_or_else(wrong)
    }
}

/// Keep the last minutes of this host in locked memory, to be read afterwards
///
/// When memory runs out, it is too late to look: nothing new can start. So this is started beforehand. It takes the
/// memory it needs at once, locks it, and from then on allocates and forks nothing. Every beat keeps what the kernel
/// says of memory, slab caches, pressure, swap and of the largest processes. The last minutes are written into DIR when tasks
/// have to wait for memory, when the kernel has killed a process to get some, at SIGUSR1 and at the end; the newest
/// eight recordings are kept.
#[derive(Debug, Args)]
#[command(after_help = RECORD_EXAMPLES)]
pub(crate) struct Record {
    /// Where recordings are written; made, for you alone, if it is not there
    pub(crate) dir: PathBuf,

    /// From one beat to the next, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) every: Duration,

    /// Print one JSON line, schema plimsoll.record/1, for each recording that is written and one at the end
    #[arg(long)]
    pub(crate) json: bool,
}

const RECORD_EXAMPLES: &str = "\
Examples:
  plimsoll record /var/lib/plimsoll/recordings
  kill -USR1 PID                      write down what there is now
  plimsoll look --root /var/lib/plimsoll/recordings/plimsoll-1763735400-oom-kill.rec --at -10s";

/// Write down what `look` reads, to look at it later or elsewhere
///
/// DIR becomes a tree that `plimsoll look --root DIR` reads to the same account: the memory files of
/// /proc and /sys, and what was found about pipes and sockets. It appears complete or not at all.
/// It holds command lines, users, paths of mapped files and cgroup names of all processes that you may
/// read, the kernel's log and /etc/passwd: look through it before you hand it on. Environments, contents
/// of open files and memory are never read. Directories are made 0700, files 0600.
#[derive(Debug, Args)]
#[command(after_help = CAPTURE_EXAMPLES)]
pub(crate) struct Capture {
    /// A directory that does not exist yet, or is empty
    pub(crate) dir: PathBuf,

    /// Read the mappings of huge processes too: reading them stalls a process for about 13 ms a GiB that it has
    /// in RAM, so those that it would stall for more than 250 ms are passed over and named
    #[arg(long)]
    pub(crate) all_mappings: bool,

    /// Print one JSON document, schema plimsoll.capture/1
    #[arg(long)]
    pub(crate) json: bool,
}

const CAPTURE_EXAMPLES: &str = "\
Examples:
  plimsoll capture /var/tmp/full-host
  plimsoll look --root /var/tmp/full-host commit
  tar -C /var/tmp -czf full-host.tar.gz full-host    to send it to somebody you trust";

/// Say what is wrong with this host's memory, with the evidence and what to do
///
/// Each finding has an id, what it stands on and where to look that up, what it means, what to do about it and how to
/// undo that. What was looked for and not found is said too, and what could not be seen. Changes nothing. The
/// subcommands explain OOM reports, and what strict overcommit means for this host.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = FINDINGS_EXAMPLES)]
pub(crate) struct Explain {
    #[command(subcommand)]
    pub(crate) what: Option<ExplainWhat>,

    #[command(flatten)]
    pub(crate) scene: SceneArgs,

    /// Take two looks, so long apart (60s, 10m): what grows is seen only so. With a recording, the earlier look is so
    /// long before; DIR is a tree that was captured of the same host earlier
    #[arg(long, value_name = "TIME|DIR", value_parser = Since::parse)]
    pub(crate) since: Option<Since>,

    /// Print one JSON document, schema plimsoll.explain/1 (docs/explain-json.md)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which host is explained, and when.
#[derive(Debug, Args)]
pub(crate) struct SceneArgs {
    /// Read a tree that `plimsoll capture` wrote, or a recording of `plimsoll record`, instead of this host
    #[arg(long, value_name = "PATH")]
    pub(crate) root: Option<PathBuf>,

    /// Which moment of the recording: seconds since 1970, or so long before its end (-30s, -2m); its last one
    /// unless given
    #[arg(long, value_name = "TIME", requires = "root", allow_hyphen_values = true, value_parser = At::parse)]
    pub(crate) at: Option<At>,
}

/// The earlier of two looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long before the other.
    Ago(Duration),
    /// A captured tree.
    Captured(PathBuf),
}

impl Since {
    fn parse(word: &str) -> Result<Self, String> {
        match duration(word) {
            Some(ago) if ago.is_zero() => Err("two looks at once are one".to_owned()),
            Some(ago) => Ok(Self::Ago(ago)),
            None => Ok(Self::Captured(word.into())),
        }
    }
}

/// `90`, `90s`, `2m`.
fn duration(word: &str) -> Option<Duration> {
    let (number, unit_s) = match word.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (word.strip_suffix('s').unwrap_or(word), 1),
    };
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(unit_s)?))
}

const FINDINGS_EXAMPLES: &str = "\
Examples:
  plimsoll explain                       what is wrong with this host's memory
  plimsoll explain --since 60s           and what grows
  plimsoll explain --root FILE --at -30s --since 60s   from a recording, half a minute before its end
  plimsoll explain overcommit            what is promised, and what can be delivered
  plimsoll explain oom                   every OOM report that the running kernel still has
  plimsoll explain --json | jq -r '.findings[].title'";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  plimsoll explain oom                   every OOM report that the running kernel still has
  dmesg | plimsoll explain oom -         the same from a pipe
  plimsoll explain oom /var/log/kern.log
  plimsoll explain oom --against last-week.log today.log";

#[derive(Debug, Subcommand)]
pub(crate) enum ExplainWhat {
    Oom(ExplainOom),
    Overcommit(ExplainOvercommit),
}

/// Explain strict overcommit: what can be promised, what can be delivered, and the band between, where the OOM killer fires
///
/// The three states of a host under strict overcommit (vm.overcommit_memory=2) with its own numbers, whether it is set or
/// not; programs whose reservations and forks would be refused; the setting in bytes that closes the band, its
/// price, and the command to undo it. Of a recording the moment is read at which most was committed, unless --at names another. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = OVERCOMMIT_EXAMPLES)]
pub(crate) struct ExplainOvercommit {
    #[command(flatten)]
    pub(crate) scene: SceneArgs,

    /// Print one JSON document, schema plimsoll.explain-overcommit/1 (docs/explain-json.md)
    #[arg(long)]
    pub(crate) json: bool,
}

const OVERCOMMIT_EXAMPLES: &str = "\
Examples:
  plimsoll explain overcommit                  this host
  plimsoll explain overcommit --root FILE      the peak of a recording
  sudo $(plimsoll explain overcommit --json | jq -r .advice.command)";

/// Explain OOM reports: what asked for what, why no zone could serve it, who had the memory, who was killed
///
/// Reads every OOM report and page allocation failure in a kernel log, in whatever form it was written down: dmesg,
/// /dev/kmsg, syslog, `journalctl -k`, pstore, pasted from a mail; from Linux 2.6.30 to today. What it can't read within
/// a report it quotes. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct ExplainOom {
    /// A kernel log, a journal file, a directory of pstore, or - for standard input; without it the log of the running
    /// kernel, and where that has no report, pstore and the journal
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Hold the last report against the last one in this log
    #[arg(long, value_name = "FILE")]
    pub(crate) against: Option<PathBuf>,

    /// Print one JSON document, schema plimsoll.explain-oom/1
    #[arg(long)]
    pub(crate) json: bool,
}

/// Tell whether processes can be parked, and what would leave memory
///
/// Each PID stands for itself and all its descendants. Told is how much memory would go and how much would stay
/// and why, and everything that stands in the way, each with what can be done about it. Nothing is
/// stopped or changed. Exit code 4 when parking would be refused, 3 when only privilege is missing.
#[derive(Debug, Args)]
#[command(after_long_help = CHECK_EXAMPLES)]
pub(crate) struct Check {
    /// Processes
    #[arg(value_name = "PID", required = true)]
    pub(crate) pids: Vec<u32>,

    /// Only the processes themselves, not their descendants
    #[arg(long)]
    pub(crate) only: bool,

    /// Tell whether they could be checkpointed, instead of parked
    #[arg(long, conflicts_with_all = ["via", "store", "only"])]
    pub(crate) checkpoint: bool,

    /// Where the memory would go
    #[arg(long, value_name = "MEANS", default_value = "auto")]
    pub(crate) via: Via,

    /// A directory for stores, on a disk; more than once: the first with room is taken
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Vec<PathBuf>,

    /// Print one JSON document for each PID, schema plimsoll.check/1
    #[arg(long)]
    pub(crate) json: bool,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  plimsoll check 4711                     the process and its descendants
  plimsoll check --via store 4711         as if there were no swap
  plimsoll check --json 4711 | jq .obstacles";

/// Take the memory of living processes out of RAM; all else stays
///
/// Each PID stands for itself and all its descendants. The tree is frozen, its memory goes to swap or to a
/// store on disk, and its pids, files, sockets and terminals stay as they are. While it is parked no
/// plimsoll runs, but with `--wake input`. `plimsoll resume` lets it run on at once and brings its memory back behind it.
/// Ctrl-C puts everything back.
#[derive(Debug, Args)]
#[command(after_long_help = PARK_EXAMPLES)]
pub(crate) struct Park {
    /// Processes
    #[arg(value_name = "PID", required = true)]
    pub(crate) pids: Vec<u32>,

    /// Only the processes themselves, not their descendants
    #[arg(long)]
    pub(crate) only: bool,

    /// Where the memory goes
    #[arg(long, value_name = "MEANS", default_value = "auto")]
    pub(crate) via: Via,

    /// A directory for stores, on a disk; more than once: the first with room is taken
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Vec<PathBuf>,

    /// How a store packs
    #[arg(long, value_name = "CODEC", default_value = "lz4")]
    pub(crate) codec: Codec,

    /// What wakes it, beside `plimsoll resume`
    #[arg(long, value_name = "WHAT", default_value = "never")]
    pub(crate) wake: Wake,

    /// Tell how it goes as JSON lines on standard error, schema plimsoll.progress/1
    #[arg(long)]
    pub(crate) progress: bool,

    /// Print one JSON document, schema plimsoll.park/1
    #[arg(long)]
    pub(crate) json: bool,
}

const PARK_EXAMPLES: &str = "\
Examples:
  plimsoll park 4711                      the process and its descendants, by the best means
  plimsoll park --via store --store /srv/parked 4711
  plimsoll park --wake input 4711         until somebody types, connects, or sends a signal
  plimsoll parked                         what is parked, and what each tree waits for
  plimsoll resume 4711                    run again, memory behind it";

/// Where parked memory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// Swap where there is enough, else a store
    Auto,
    /// The kernel's swap
    Swap,
    /// A store on a disk
    Store,
}

/// What wakes a parked tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wake {
    /// What its threads sleep on (a terminal, a socket), the end of a sleep of 10 s or more, a signal; one
    /// small process watches all trees that are parked so
    Input,
    /// Nothing; no plimsoll runs meanwhile
    Never,
}

/// How a store packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Codec {
    /// Fast
    Lz4,
    /// Small
    Zstd,
    /// Not at all
    None,
}

/// Let parked processes run again, and bring their memory back
///
/// Each PID may be any process of a parked tree. The tree runs at once; pages it touches come first, all others
/// behind them, those that it touched first the last time leading. A tree whose parking or resuming was
/// interrupted is taken up where it stands.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Processes
    #[arg(value_name = "PID", required = true)]
    pub(crate) pids: Vec<u32>,

    /// Bring back only what is touched: a small pager stays, until the processes end or `plimsoll resume` without this
    /// brings back all
    #[arg(long)]
    pub(crate) lazy: bool,

    /// Stay and be that pager
    #[arg(long, hide = true, requires = "lazy")]
    pub(crate) stay: bool,

    /// Tell how it goes as JSON lines on standard error, schema plimsoll.progress/1
    #[arg(long)]
    pub(crate) progress: bool,

    /// Print one JSON document, schema plimsoll.resume/1
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what is parked
#[derive(Debug, Args)]
pub(crate) struct Parked {
    /// Print one JSON document, schema plimsoll.parked/1
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum View {
    Processes,
    Groups,
    Commit,
    Slab,
    Process(u32),
    Group(String),
}

impl View {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "processes" => Self::Processes,
            "groups" => Self::Groups,
            "commit" => Self::Commit,
            "slab" => Self::Slab,
            path if path.starts_with('/') => Self::Group(path.to_owned()),
            pid => Self::Process(pid.parse().map_err(|_| {
                "write processes, groups, commit, slab, a process id, or a cgroup's path that begins with /"
            })?),
        })
    }
}

/// How processes are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// All of one cgroup
    Cgroup,
    /// All of one user
    User,
    /// With their descendants
    Tree,
}

/// Whose proportional share is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pss {
    /// Of processes that cost little
    Cheap,
    /// Of all, whatever it costs
    All,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    if (0.1..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("from 0.1 to 86400 seconds".to_owned())
    }
}
