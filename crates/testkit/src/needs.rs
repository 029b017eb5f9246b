//! The needs that a test can declare, and what happens where one is missing.
//!
//! | `PLIMSOLL_REQUIRE_ALL` | the missing need | the test |
//! | --- | --- | --- |
//! | unset | any | is skipped, says why, and is counted |
//! | `1` | named in `PLIMSOLL_LACKS` | is skipped, says why, and is counted |
//! | `1` | any other | fails |
//!
//! `PLIMSOLL_LACKS` is a comma-separated list of need names (`cgroup-v2-memory,swap,program:criu`): what the
//! machine at hand can't have, said by whoever runs the tests there. `cargo xtask test` names a file in
//! `PLIMSOLL_SKIPS`; each skip is appended to it, and the table at the end is read from there. That works
//! for one process per test (nextest) as for threads (cargo test).

use crate::{probe, skips};
use plimsoll_units::Bytes;
use std::fmt;

/// Something a test can't do without and a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Effective user 0.
    Root,
    /// Pressure stall information: `/proc/pressure/memory` can be read.
    Psi,
    /// A mounted cgroup v2 hierarchy that offers the memory controller.
    CgroupV2Memory,
    /// A mounted cgroup v1 hierarchy with the memory controller.
    CgroupV1Memory,
    /// A mounted cgroup v2 hierarchy (`cgroup.freeze` is in its core; no controller is needed).
    CgroupV2,
    /// A mounted cgroup v1 hierarchy with the freezer controller.
    CgroupV1Freezer,
    /// Userfaultfd that also sees faults taken in the kernel: the device, or root and the system call.
    Userfaultfd,
    /// `memfd_secret(2)`, which many kernels have switched off (`secretmem.enable`).
    MemfdSecret,
    /// At least one swap area in use.
    Swap,
    /// zram devices can be made (`/sys/class/zram-control`) or one exists.
    Zram,
    /// `/proc/kpageflags` can be read.
    Kpageflags,
    /// A program on `PATH`.
    Program(&'static str),
    /// The distribution's Python with numpy: `/usr/bin/python3`, whatever comes first on `PATH`.
    Numpy,
    /// CRIU's `crit`, as young as the images: the one of 3.17 can't even tell its version.
    Crit,
    /// CRIU 4, named by `PLIMSOLL_CRIU` or on `PATH`: [`criu`](crate::criu) is its path.
    Criu,
    /// This much memory that can be had without swapping (`MemAvailable`).
    MemoryFree(Bytes),
    /// The kernel has nftables.
    Nftables,
    /// A lab guest can be started: the emulator, and the tools that fetch and unpack its kernel.
    Lab,
}

impl fmt::Display for Need {
    /// The name that `PLIMSOLL_LACKS` and the table of skips use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Psi => "psi",
            Self::CgroupV2Memory => "cgroup-v2-memory",
            Self::CgroupV1Memory => "cgroup-v1-memory",
            Self::CgroupV2 => "cgroup-v2",
            Self::CgroupV1Freezer => "cgroup-v1-freezer",
            Self::Userfaultfd => "userfaultfd",
            Self::MemfdSecret => "memfd-secret",
            Self::Swap => "swap",
            Self::Zram => "zram",
            Self::Kpageflags => "kpageflags",
            Self::Program(name) => return write!(f, "program:{name}"),
            Self::Numpy => "numpy",
            Self::Crit => "crit",
            Self::Criu => "criu",
            Self::MemoryFree(_) => "memory-free",
            Self::Nftables => "nftables",
            Self::Lab => "lab",
        })
    }
}

/// A need that this machine does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The need's name, as in `PLIMSOLL_LACKS`.
    pub need: String,
    /// What was looked for and not found.
    pub reason: String,
}

/// What becomes of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Run,
    Skip(Missing),
    Fail(Missing),
}

/// What the person who runs the tests said about this machine.
#[derive(Debug, Default)]
struct Policy {
    require_all: bool,
    lacks: Vec<String>,
}

impl Policy {
    fn from_env() -> Self {
        let value = |name| std::env::var(name).unwrap_or_default();
        Self::new(&value("PLIMSOLL_REQUIRE_ALL"), &value("PLIMSOLL_LACKS"))
    }

    fn new(require_all: &str, lacks: &str) -> Self {
        let names = lacks.split(',').map(str::trim);
        Self {
            require_all: require_all == "1",
            lacks: names.filter(|n| !n.is_empty()).map(str::to_owned).collect(),
        }
    }

    /// A need that must be there weighs more than one that may be missing.
    fn judge(&self, missing: Vec<Missing>) -> Verdict {
        let (excused, demanded): (Vec<_>, Vec<_>) = missing
            .into_iter()
            .partition(|m| !self.require_all || self.lacks.contains(&m.need));
        match (demanded.into_iter().next(), excused.into_iter().next()) {
            (Some(missing), _) => Verdict::Fail(missing),
            (None, Some(missing)) => Verdict::Skip(missing),
            (None, None) => Verdict::Run,
        }
    }
}

/// Whether `test` has to be skipped because one of `needs` is missing; [`need!`](crate::need) calls this.
///
/// # Panics
/// Where the missing need was demanded by `PLIMSOLL_REQUIRE_ALL=1`: that is how a test fails.
#[must_use]
#[expect(
    clippy::panic,
    reason = "a demanded need that is missing fails the test"
)]
pub fn skip(test: &str, needs: &[Need]) -> bool {
    let missing = needs.iter().filter_map(|need| {
        let reason = probe::lack(need)?;
        let need = need.to_string();
        Some(Missing { need, reason })
    });
    match Policy::from_env().judge(missing.collect()) {
        Verdict::Run => false,
        Verdict::Skip(missing) => {
            skips::announce(test, &missing);
            true
        }
        Verdict::Fail(Missing { need, reason }) => {
            panic!("{test} needs {need}, which PLIMSOLL_REQUIRE_ALL=1 demands: {reason}")
        }
    }
}

/// Declares what a test can't do without; where that is missing, the test is skipped (see [`needs`](crate::needs)).
///
/// Belongs in the first line of a test function that returns nothing. Each need is a variant of
/// [`Need`]: `need!(Root, Userfaultfd, Program("redis-server"), MemoryFree(Bytes::from_mib(2048)))`.
#[macro_export]
macro_rules! need {
    ($($need:ident $(($argument:expr))?),+ $(,)?) => {{
        // The path of a function defined here is the path of the test, whatever thread it runs on.
        fn here() {}
        if $crate::needs::skip(
            ::std::any::type_name_of_val(&here).trim_end_matches("::here"),
            &[$($crate::Need::$need $(($argument))?),+],
        ) {
            return;
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(names: &[&str]) -> Vec<Missing> {
        let missing = |name: &&str| Missing {
            need: (*name).to_owned(),
            reason: "not here".to_owned(),
        };
        names.iter().map(missing).collect()
    }

    #[test]
    fn what_is_missing_skips_unless_it_is_demanded() {
        let skip = |name| Verdict::Skip(missing(&[name]).remove(0));
        let fail = |name| Verdict::Fail(missing(&[name]).remove(0));
        for (require_all, lacks, absent, verdict) in [
            ("", "", &[][..], Verdict::Run),
            ("1", "", &[], Verdict::Run),
            ("", "", &["psi"], skip("psi")),
            ("0", "", &["psi"], skip("psi")),
            ("1", "", &["psi"], fail("psi")),
            ("1", "swap, psi,", &["psi"], skip("psi")),
            ("1", "swap", &["swap", "psi"], fail("psi")),
            (
                "1",
                "program:criu",
                &["program:redis"],
                fail("program:redis"),
            ),
        ] {
            let policy = Policy::new(require_all, lacks);
            assert_eq!(
                policy.judge(missing(absent)),
                verdict,
                "PLIMSOLL_REQUIRE_ALL={require_all} PLIMSOLL_LACKS={lacks} lacking {absent:?}"
            );
        }
    }

    /// The test runs itself as a child, so that the skip it provokes is not counted with the real ones.
    #[test]
    fn an_unmet_need_skips_or_fails_and_is_counted() {
        const CHILD: &str = "PLIMSOLL_TESTKIT_CHILD";
        if std::env::var_os(CHILD).is_some() {
            need!(Program("sh"), MemoryFree(Bytes(1)));
            need!(Program("no-such-program"));
            panic!("went on without its need");
        }
        let skips = std::env::temp_dir().join(format!("plimsoll-needs-{}", std::process::id()));
        for (require_all, lacks, passes) in [
            ("", "", true),
            ("1", "", false),
            ("1", "program:no-such-program", true),
        ] {
            let outcome = std::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "needs::tests::an_unmet_need_skips_or_fails_and_is_counted",
                ])
                .env(CHILD, "1")
                .env("PLIMSOLL_SKIPS", &skips)
                .env("PLIMSOLL_REQUIRE_ALL", require_all)
                .env("PLIMSOLL_LACKS", lacks)
                .output()
                .unwrap();
            let recorded = std::fs::read_to_string(&skips).unwrap_or_default();
            let _ = std::fs::remove_file(&skips);
            assert_eq!(outcome.status.success(), passes, "{outcome:?}");
            let skipped = "plimsoll_testkit::needs::tests::\
                an_unmet_need_skips_or_fails_and_is_counted\tprogram:no-such-program\t\
                no-such-program is not on PATH\n";
            assert_eq!(recorded, if passes { skipped } else { "" });
        }
    }
}
