//! The command lines of `plimsoll run`, `hold`, `holds` and `release`.

use clap::{ArgGroup, Args, ValueEnum};
use plimsoll_hold::Numbers;
use plimsoll_units::Bytes;
use std::ffi::OsString;
use std::path::PathBuf;

/// The two numbers.
#[derive(Debug, Args)]
pub(crate) struct TwoNumbers {
    /// RAM: its own memory, kernel memory, page cache, dentries and inodes
    #[arg(long, value_name = "SIZE")]
    pub(crate) ram: Bytes,

    /// Swap, beside RAM
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub(crate) swap: Bytes,
}

impl TwoNumbers {
    pub(crate) fn numbers(&self) -> Numbers {
        Numbers {
            ram: self.ram,
            swap: self.swap,
        }
    }
}

/// Run a command that may have so much RAM and so much swap, and no more
///
/// All that it makes the kernel hold counts: its memory, kernel memory, page cache, dentries and inodes, of the command
/// and everything it starts. Over RAM its caches go first, it is slowed down, then its pages go to swap. RAM and swap
/// together are never exceeded: then the kernel kills within the command, nowhere else. Ends as the command ends, with its
/// exit code or by its signal; signals are passed on to it. Under systemd it runs in a scope, elsewhere in a control group
/// below that of the caller, which is removed at the end.
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) numbers: TwoNumbers,

    /// What the hold is called in `plimsoll holds`; without it the command's name and a number
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Say nothing of what can't be kept, or of what happened
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

const RUN_EXAMPLES: &str = "\
Exit codes: that of the command; 126 and 127 when it can't be started; else as for every verb.

Examples:
  plimsoll run --ram 2G --swap 4G -- make -j8
  plimsoll run --ram 512M --name nightly -- ./backup.sh
  plimsoll run --ram 1G --swap 1G -- python3 notebook.py; plimsoll holds    from another terminal";

/// Give something that runs two numbers, RAM and swap
///
/// A control group or a unit gets them as it is. A process stands for itself and all its descendants: where they have
/// a group to themselves, that is held; else they are moved into one of their own, and what they held before stays
/// charged where they came from. If it holds more RAM than it may, that is reclaimed first; if that does not succeed, nothing
/// is changed.
///
/// With --from-beancounters the numbers come from what an OpenVZ container was allowed: a configuration like those in
/// /etc/vz/conf, or /proc/user_beancounters. Each of the 22 parameters is accounted for; without anything to be held that
/// is all that is done.
#[derive(Debug, Args)]
#[command(after_help = HOLD_EXAMPLES)]
pub(crate) struct Hold {
    /// A process id, a control group's path (it begins with a slash), or a systemd unit
    #[arg(
        value_name = "PID|CGROUP|UNIT",
        required_unless_present = "from_beancounters"
    )]
    pub(crate) what: Option<String>,

    /// RAM: its own memory, kernel memory, page cache, dentries and inodes
    #[arg(
        long,
        value_name = "SIZE",
        required_unless_present = "from_beancounters"
    )]
    pub(crate) ram: Option<Bytes>,

    /// Swap, beside RAM; none unless given
    #[arg(long, value_name = "SIZE")]
    pub(crate) swap: Option<Bytes>,

    /// What the hold is called; without it the process id, or the group's last name
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Take the numbers from what a container was allowed; several files are held against the host's memory together
    #[arg(long, value_name = "FILE", num_args = 1)]
    pub(crate) from_beancounters: Vec<PathBuf>,

    /// The page size of the host that the file is from; this host's unless given
    #[arg(long, value_name = "SIZE", requires = "from_beancounters")]
    pub(crate) page_size: Option<Bytes>,

    /// Print a configuration instead
    #[arg(long, value_name = "FOR", requires = "from_beancounters", conflicts_with_all = ["what", "json"])]
    pub(crate) write: Option<WriteFor>,

    /// Print one JSON document, schema plimsoll.hold/1 or plimsoll.beancounters/1 (docs/hold-json.md)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whose configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WriteFor {
    /// A drop-in for a service
    Systemd,
    /// Lines for a container's configuration
    Lxc,
}

const HOLD_EXAMPLES: &str = "\
Examples:
  plimsoll hold 4711 --ram 1G --swap 2G
  plimsoll hold /machine/web --ram 4G --swap 4G --name web
  plimsoll hold nginx.service --ram 512M --swap 1G
  plimsoll hold --from-beancounters /etc/vz/conf/101.conf
  plimsoll hold --from-beancounters 101.conf --write lxc >> /var/lib/lxc/101/config";

/// Show what is held: how much of what, the limits, and how often they were met
///
/// The table is in the manner of /proc/user_beancounters. Holds whose work is done are cleared away.
#[derive(Debug, Args)]
#[command(after_help = HOLDS_EXAMPLES)]
pub(crate) struct Holds {
    /// Only this one
    pub(crate) name: Option<String>,

    /// Print one JSON document, schema plimsoll.holds/1 (docs/hold-json.md)
    #[arg(long)]
    pub(crate) json: bool,
}

const HOLDS_EXAMPLES: &str = "\
Examples:
  plimsoll holds
  plimsoll holds web --json | jq '.holds[0].counters'";

/// End a hold
///
/// A group that was made for it is emptied, its processes run on in the group that they came from; a group or unit that was
/// there before gets the settings back that it had.
#[derive(Debug, Args)]
#[command(after_help = "Example: plimsoll release web")]
pub(crate) struct Release {
    /// Its name, as `plimsoll holds` shows it
    pub(crate) name: String,
}

/// Enter groups, then become a command; started by `plimsoll run`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("groups").required(true).multiple(true).args(["v1", "v2"]))]
pub(crate) struct Enter {
    #[arg(long)]
    pub(crate) v1: Vec<PathBuf>,

    #[arg(long)]
    pub(crate) v2: Vec<PathBuf>,

    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}
