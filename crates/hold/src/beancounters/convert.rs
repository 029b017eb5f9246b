//! A container's values to two numbers, each of the 22 parameters accounted for.
//!
//! **vSwap.** RAM is the limit of `physpages`, swap that of `swappages`, which comes beside RAM: it is not added up a second
//! time. The other limits count no more; where they are set they are leftovers.
//!
//! **Classic.** Private memory was limited by `privvmpages`; kernel memory and socket buffers had limits of their own, and
//! are part of RAM today, so RAM is the barrier of `privvmpages` and on top of it all of those. What lay between its barrier
//! and its limit becomes swap. Page cache was not counted at all then and is now, but goes first. Where `privvmpages`
//! has no barrier, what was guaranteed stands in for it.

use super::parameters::{Parameter, Support, TABLE, Unit};
use super::read::{Amount, Container, Used, Value};
use crate::Numbers;
use plimsoll_units::Bytes;
use serde::Serialize;

/// How the container was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By RAM and swap.
    Vswap,
    /// By the classic beancounters.
    Classic,
}

/// What becomes of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conversion {
    /// Its number, where the file says it.
    pub id: Option<u64>,
    /// How it was held.
    pub kind: Kind,
    /// The two numbers; `null` where nothing limits its memory.
    pub numbers: Option<Numbers>,
    /// `memory.low`: what it was guaranteed.
    pub low_bytes: Option<Bytes>,
    /// `pids.max`.
    pub pids_max: Option<u64>,
    /// `RLIMIT_MEMLOCK`.
    pub memlock_bytes: Option<Bytes>,
    /// The `max=` of its devpts.
    pub ptys_max: Option<u64>,
    /// All 22, in the wiki's order.
    pub parameters: Vec<Row>,
    /// Other settings of the file.
    pub others: Vec<Other>,
}

/// A parameter, accounted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name.
    pub parameter: Parameter,
    /// `bytes` or `items`: what `barrier`, `limit`, `held` and `max_held` are.
    pub unit: &'static str,
    /// Whether the file has it.
    pub given: bool,
    /// `null` for none.
    pub barrier: Option<u64>,
    /// `null` for none.
    pub limit: Option<u64>,
    /// `null` where the file does not say.
    pub held: Option<u64>,
    /// `null` where the file does not say.
    pub max_held: Option<u64>,
    /// `null` where the file does not say.
    pub failcnt: Option<u64>,
    /// How much of it there is today.
    pub support: Support,
    /// What it was turned into.
    pub chosen: Option<Chosen>,
    /// Why.
    pub why: &'static str,
}

/// A setting of today, and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// `ram`, `added to ram`, `swap`, `low`, `pids.max`, `memlock`, `ptys`.
    pub setting: &'static str,
    /// Bytes, or items.
    pub value: u64,
}

/// A setting that is no beancounter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Its name.
    pub name: String,
    /// As it is written.
    pub value: String,
    /// What there is for it today; `null` where it is not about resources.
    pub today: Option<&'static str>,
}

/// What there is today for settings that are no beancounters.
const OTHERS: [(&str, &str); 9] = [
    (
        "AVNUMPROC",
        "an average that only checked the other values: nothing",
    ),
    ("DISKSPACE", "a project quota of the file system"),
    ("DISKINODES", "a project quota of the file system"),
    ("CPUUNITS", "cpu.weight"),
    ("CPULIMIT", "cpu.max"),
    ("CPUS", "cpuset.cpus"),
    ("MEMGUARANTEE", "memory.low"),
    (
        "VM_OVERCOMMIT",
        "nothing: address space is not limited by group",
    ),
    ("IOLIMIT", "io.max"),
];

/// Those whose memory was counted apart from `privvmpages`, and is part of RAM today.
const APART: [Parameter; 5] = [
    Parameter::Kmemsize,
    Parameter::Tcpsndbuf,
    Parameter::Tcprcvbuf,
    Parameter::Othersockbuf,
    Parameter::Dgramrcvbuf,
];

/// Converts.
#[must_use]
pub fn convert(container: &Container) -> Conversion {
    let values = Values(container);
    let kind = match values.limit(Parameter::Physpages) {
        Some(_) => Kind::Vswap,
        None => Kind::Classic,
    };
    let numbers = match kind {
        Kind::Vswap => vswap(&values),
        Kind::Classic => classic(&values),
    };
    let low = [Parameter::Vmguarpages, Parameter::Oomguarpages]
        .into_iter()
        .filter_map(|parameter| values.barrier(parameter))
        .max()
        .filter(|low| *low > 0)
        .map(|low| Bytes(low).min(numbers.map_or(Bytes(low), |numbers| numbers.ram)));
    let mut conversion = Conversion {
        id: container.id,
        kind,
        numbers,
        low_bytes: low,
        pids_max: values.limit(Parameter::Numproc),
        memlock_bytes: values.limit(Parameter::Lockedpages).map(Bytes),
        ptys_max: values.limit(Parameter::Numpty),
        parameters: Vec::new(),
        others: container.others.iter().map(other).collect(),
    };
    conversion.parameters = TABLE
        .iter()
        .map(|row| account(&conversion, &values, row.parameter))
        .collect();
    conversion
}

/// A container's values by parameter.
struct Values<'c>(&'c Container);

impl Values<'_> {
    fn get(&self, parameter: Parameter) -> Option<Value> {
        self.0.values.get(&parameter).copied()
    }

    fn barrier(&self, parameter: Parameter) -> Option<u64> {
        self.get(parameter)?.barrier.finite()
    }

    fn limit(&self, parameter: Parameter) -> Option<u64> {
        self.get(parameter)?.limit.finite()
    }
}

fn vswap(values: &Values<'_>) -> Option<Numbers> {
    Some(Numbers {
        ram: Bytes(values.limit(Parameter::Physpages)?),
        swap: Bytes(values.limit(Parameter::Swappages).unwrap_or_default()),
    })
}

fn classic(values: &Values<'_>) -> Option<Numbers> {
    let apart: Bytes = APART
        .iter()
        .filter_map(|parameter| values.limit(*parameter))
        .map(Bytes)
        .sum();
    let own = stand_in(values)?;
    let private = values.barrier(own)?;
    let beyond = match own {
        Parameter::Privvmpages => values.limit(own).unwrap_or(private).saturating_sub(private),
        _ => 0,
    };
    Some(Numbers {
        ram: Bytes(private) + apart,
        swap: Bytes(beyond),
    })
}

/// Whose barrier is taken for the private memory of a classic container.
fn stand_in(values: &Values<'_>) -> Option<Parameter> {
    let candidates = [
        Parameter::Privvmpages,
        Parameter::Oomguarpages,
        Parameter::Vmguarpages,
    ];
    let has = |parameter: &Parameter| values.barrier(*parameter).is_some_and(|bytes| bytes > 0);
    candidates.into_iter().find(has)
}

fn account(conversion: &Conversion, values: &Values<'_>, parameter: Parameter) -> Row {
    let described = parameter.described();
    let value = values.get(parameter);
    let used: Option<Used> = value.and_then(|value| value.used);
    let finite = |amount: fn(Value) -> Amount| value.map(amount).and_then(Amount::finite);
    let (chosen, why) = choice(conversion, values, parameter);
    Row {
        parameter,
        unit: match described.unit {
            Unit::Items => "items",
            Unit::Bytes | Unit::Pages => "bytes",
        },
        given: value.is_some(),
        barrier: finite(|value| value.barrier),
        limit: finite(|value| value.limit),
        held: used.map(|used| used.held),
        max_held: used.map(|used| used.max_held),
        failcnt: used.map(|used| used.failcnt),
        support: described.support,
        chosen,
        why: why.unwrap_or(described.means),
    }
}

/// What a parameter was turned into, and why, where there is more to say than its row of the table says.
fn choice(
    conversion: &Conversion,
    values: &Values<'_>,
    parameter: Parameter,
) -> (Option<Chosen>, Option<&'static str>) {
    use Parameter as P;
    let choose = |setting, value: Option<u64>| value.map(|value| Chosen { setting, value });
    let numbers = conversion.numbers;
    let is_classic = conversion.kind == Kind::Classic;
    let low = conversion.low_bytes.map(Bytes::get);
    match parameter {
        P::Physpages if is_classic => (
            None,
            Some("without vSwap it was only counted: RAM comes from the other values"),
        ),
        P::Physpages => (choose("ram", values.limit(parameter)), None),
        P::Swappages if is_classic => (None, Some("without vSwap it was only shown")),
        P::Swappages => (choose("swap", values.limit(parameter)), None),
        P::Numproc => (choose("pids.max", conversion.pids_max), None),
        P::Lockedpages => (
            choose("memlock", conversion.memlock_bytes.map(Bytes::get)),
            None,
        ),
        P::Numpty => (choose("ptys", conversion.ptys_max), None),
        _ if is_classic && stand_in(values) == Some(parameter) => {
            let why = match parameter {
                P::Privvmpages => {
                    "it counted address space, used or not: RAM for its barrier is plenty; what it had beyond becomes swap"
                }
                _ => "privvmpages has no barrier, so what was guaranteed stands in for RAM",
            };
            let own = values.barrier(parameter);
            (choose("ram", own.filter(|_| numbers.is_some())), Some(why))
        }
        P::Vmguarpages | P::Oomguarpages => {
            let is_it = values.barrier(parameter).is_some_and(|barrier| barrier > 0)
                && low.is_some_and(|low| values.barrier(parameter) >= Some(low));
            (choose("low", low.filter(|_| is_it)), None)
        }
        _ if is_classic && APART.contains(&parameter) => {
            let added = values.limit(parameter).filter(|_| numbers.is_some());
            let why = "it was counted apart and is part of RAM now, so RAM is that much more";
            (choose("added to ram", added), added.map(|_| why))
        }
        P::Privvmpages if values.limit(parameter).is_some() => (
            None,
            Some(
                "a leftover: with vSwap, RAM and swap limit what is used; this would only make allocations fail",
            ),
        ),
        _ => (None, None),
    }
}

fn other((name, value): &(String, String)) -> Other {
    let known = OTHERS.iter().find(|(known, _)| known == name);
    Other {
        name: name.clone(),
        value: value.clone(),
        today: known.map(|(_, today)| *today),
    }
}
