//! What is wrong with a container's values, and with all containers of a host together.
//!
//! The sums are those of the OpenVZ wiki's "UBC consistency check", which `vzcfgvalidate` made; the last is `vzmemcheck`'s: more
//! sold than there is.

use super::convert::{Conversion, Kind};
use super::parameters::{Parameter, TABLE};
use super::read::{Amount, Container};
use crate::Numbers;
use plimsoll_units::Bytes;
use serde::Serialize;
use std::fmt;

/// Something that is wrong, or should be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "warning", rename_all = "kebab-case")]
pub enum Warning {
    /// Lines that could not be read.
    Unread {
        /// Counted from 1.
        lines: Vec<usize>,
    },
    /// Nothing limits its memory.
    NoLimit,
    /// Its RAM is nothing.
    NoRam,
    /// vSwap without a limit on swap.
    SwapUnlimited,
    /// A limit that counts no more under vSwap, and is set.
    Leftover {
        /// Which.
        parameter: Parameter,
    },
    /// What is guaranteed is more than what is allowed.
    BarrierAboveLimit {
        /// Whose.
        parameter: Parameter,
    },
    /// It was refused while it ran.
    Refused {
        /// What.
        parameter: Parameter,
        /// How often.
        failcnt: u64,
    },
    /// A sum that can't be.
    Impossible {
        /// What must be so.
        rule: &'static str,
        /// What there is.
        is: u64,
        /// The least there must be.
        least: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread { lines } => write!(f, "could not read line(s) {lines:?}"),
            Self::NoLimit => write!(f, "nothing limits its memory: give --ram and --swap"),
            Self::NoRam => write!(f, "it may have no RAM at all: give --ram"),
            Self::SwapUnlimited => write!(
                f,
                "its swap has no limit: none is chosen, unless --swap says how much"
            ),
            Self::Leftover { parameter } => write!(
                f,
                "{} is a leftover: beside RAM and swap it counts no more, and is left out",
                parameter.described().name
            ),
            Self::BarrierAboveLimit { parameter } => write!(
                f,
                "{}: the barrier is above the limit",
                parameter.described().name
            ),
            Self::Refused { parameter, failcnt } => write!(
                f,
                "{} was refused {failcnt} times: give it more than it had",
                parameter.described().name
            ),
            Self::Impossible { rule, is, least } => {
                write!(f, "{rule}: it is {is}, and must be {least} at least")
            }
        }
    }
}

/// What a socket's buffers take at the least.
const SOCKET_BYTES: u64 = 2560;
/// What a process takes of kernel memory.
const PROCESS_BYTES: u64 = 40 << 10;

/// Checks a container's values.
#[must_use]
pub fn check(container: &Container, conversion: &Conversion) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if !container.unread.is_empty() {
        warnings.push(Warning::Unread {
            lines: container.unread.clone(),
        });
    }
    match conversion.numbers {
        None => warnings.push(Warning::NoLimit),
        Some(Numbers { ram, .. }) if ram == Bytes::ZERO => warnings.push(Warning::NoRam),
        Some(_) => {}
    }
    for row in &TABLE {
        let Some(value) = container.values.get(&row.parameter) else {
            continue;
        };
        let parameter = row.parameter;
        // Accounting only: the barrier says nothing.
        if value.barrier > value.limit && value.limit != Amount::Unlimited {
            warnings.push(Warning::BarrierAboveLimit { parameter });
        }
        if let Some(failcnt) = value
            .used
            .map(|used| used.failcnt)
            .filter(|count| *count > 0)
        {
            warnings.push(Warning::Refused { parameter, failcnt });
        }
    }
    match conversion.kind {
        Kind::Vswap => warnings.extend(vswap(container)),
        Kind::Classic => warnings.extend(sums(container)),
    }
    warnings
}

/// Memory limits that counted before vSwap. Limits on numbers of things count still.
const LEFTOVERS: [Parameter; 9] = [
    Parameter::Kmemsize,
    Parameter::Tcpsndbuf,
    Parameter::Tcprcvbuf,
    Parameter::Othersockbuf,
    Parameter::Dgramrcvbuf,
    Parameter::Oomguarpages,
    Parameter::Privvmpages,
    Parameter::Shmpages,
    Parameter::Dcachesize,
];

fn vswap(container: &Container) -> Vec<Warning> {
    let limit = |parameter| container.values.get(&parameter).map(|value| value.limit);
    let mut warnings = Vec::new();
    if limit(Parameter::Swappages) == Some(Amount::Unlimited) {
        warnings.push(Warning::SwapUnlimited);
    }
    let is_set = |parameter: &&Parameter| matches!(limit(**parameter), Some(Amount::Of(_)));
    let leftovers = LEFTOVERS.iter().filter(is_set);
    warnings.extend(leftovers.map(|parameter| Warning::Leftover {
        parameter: *parameter,
    }));
    warnings
}

fn sums(container: &Container) -> Vec<Warning> {
    use Parameter as P;
    let get = |parameter| container.values.get(&parameter);
    let barrier = |parameter| get(parameter)?.barrier.finite();
    let limit = |parameter| get(parameter)?.limit.finite();
    let between = |parameter| Some(limit(parameter)?.saturating_sub(barrier(parameter)?));
    let sockets = |parameter| Some(limit(parameter)?.saturating_mul(SOCKET_BYTES));
    let processes = || Some(limit(P::Numproc)?.saturating_mul(PROCESS_BYTES));
    // The average number of processes, where the file has it, is what the rule means.
    let average = container
        .others
        .iter()
        .find(|(name, _)| name == "AVNUMPROC");
    let average = average.and_then(|(_, value)| {
        let first = value.split(':').next()?;
        Some(first.parse::<u64>().ok()?.saturating_mul(PROCESS_BYTES))
    });
    let kernel = (average.or_else(processes))
        .map(|bytes| bytes.saturating_add(limit(P::Dcachesize).unwrap_or_default()));
    let rules = [
        (
            "tcpsndbuf: from barrier to limit, 2560 for each TCP socket",
            between(P::Tcpsndbuf),
            sockets(P::Numtcpsock),
        ),
        (
            "tcprcvbuf: from barrier to limit, 2560 for each TCP socket",
            between(P::Tcprcvbuf),
            sockets(P::Numtcpsock),
        ),
        (
            "othersockbuf: from barrier to limit, 2560 for each other socket",
            between(P::Othersockbuf),
            sockets(P::Numothersock),
        ),
        (
            "kmemsize: 40 KiB for each process, and dcachesize",
            barrier(P::Kmemsize),
            kernel,
        ),
        (
            "privvmpages: its barrier no less than that of vmguarpages",
            barrier(P::Privvmpages),
            barrier(P::Vmguarpages),
        ),
    ];
    let broken = |(rule, is, least): (&'static str, Option<u64>, Option<u64>)| {
        let (is, least) = (is?, least?);
        (is < least).then_some(Warning::Impossible { rule, is, least })
    };
    rules.into_iter().filter_map(broken).collect()
}

/// All containers of a host, against what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sold {
    /// RAM of all.
    pub ram_bytes: Bytes,
    /// RAM and swap of all.
    pub sum_bytes: Bytes,
    /// Guarantees of all.
    pub low_bytes: Bytes,
    /// The host's RAM.
    pub host_ram_bytes: Bytes,
    /// The host's RAM and swap.
    pub host_sum_bytes: Bytes,
}

impl Sold {
    /// Adds up.
    #[must_use]
    pub fn of(conversions: &[Conversion], host: Numbers) -> Self {
        let numbers = || conversions.iter().filter_map(|one| one.numbers);
        Self {
            ram_bytes: numbers().map(|numbers| numbers.ram).sum(),
            sum_bytes: numbers().map(Numbers::sum).sum(),
            low_bytes: conversions.iter().filter_map(|one| one.low_bytes).sum(),
            host_ram_bytes: host.ram,
            host_sum_bytes: host.sum(),
        }
    }

    /// What is sold beyond what there is, in words.
    #[must_use]
    pub fn oversold(&self) -> Vec<String> {
        let (ram, sum) = (self.host_ram_bytes, self.host_sum_bytes);
        let checks = [
            (
                "RAM",
                self.ram_bytes,
                ram,
                "they can't all use it at once without swapping",
            ),
            (
                "RAM and swap",
                self.sum_bytes,
                sum,
                "the host runs out before they reach their limits",
            ),
            ("guarantees", self.low_bytes, ram, "they can't be kept"),
        ];
        let beyond = |(what, sold, there, means): (&str, Bytes, Bytes, &str)| {
            (sold > there)
                .then(|| format!("oversold: {sold} of {what}, and the host has {there}: {means}"))
        };
        checks.into_iter().filter_map(beyond).collect()
    }
}
