//! Reads what containers were allowed: `/proc/user_beancounters` (one container, or all of a host), and configurations
//! like those in `/etc/vz/conf`.
//!
//! A value is `barrier:limit`, or one number for both. In configurations it may have a suffix: `K`, `M`, `G`, `T` of bytes,
//! `P` of pages; without one it counts what its parameter counts (`vzctl(8)`). No limit is said in many ways: `unlimited`, `LONG_MAX`, `INT_MAX`
//! in old files, and numbers beyond any host.

use super::parameters::{Parameter, Unit};
use plimsoll_proc::text::{lines, number, printable, words};
use plimsoll_units::{Bytes, PageSize, Pages};
use std::collections::BTreeMap;

/// A container, as a file describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// Its number, where the file says it.
    pub id: Option<u64>,
    /// What the file says of each parameter.
    pub values: BTreeMap<Parameter, Value>,
    /// Other settings, made printable.
    pub others: Vec<(String, String)>,
    /// Lines that could not be read, counted from 1.
    pub unread: Vec<usize>,
}

/// A parameter's value: bytes, or items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// What was guaranteed, or where it got tight.
    pub barrier: Amount,
    /// What was never exceeded.
    pub limit: Amount,
    /// What was used, where the file says so.
    pub used: Option<Used>,
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// So many bytes, or items.
    Of(u64),
    /// No limit.
    Unlimited,
}

impl Amount {
    /// The amount, where there is one.
    #[must_use]
    pub fn finite(self) -> Option<u64> {
        match self {
            Self::Of(amount) => Some(amount),
            Self::Unlimited => None,
        }
    }
}

/// The rest of a line of `/proc/user_beancounters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Now: bytes, or items.
    pub held: u64,
    /// The most so far.
    pub max_held: u64,
    /// How often it was refused.
    pub failcnt: u64,
}

/// All containers of a file: one of a configuration.
#[must_use]
pub fn read(text: &[u8], page: PageSize) -> Vec<Container> {
    let is_counters = |line: &[u8]| {
        let mut words = words(line);
        words.next() == Some(b"uid") && words.next() == Some(b"resource")
    };
    if lines(text).any(is_counters) {
        counters(text, page)
    } else {
        vec![configuration(text, page)]
    }
}

/// `/proc/user_beancounters`, version 2.5.
fn counters(text: &[u8], page: PageSize) -> Vec<Container> {
    let mut containers: Vec<Container> = Vec::new();
    for (at, line) in lines(text).enumerate() {
        let mut fields: Vec<&[u8]> = words(line).collect();
        let is_heading = matches!(fields.first(), Some(&(b"Version:" | b"uid")) | None);
        if is_heading {
            continue;
        }
        if let Some(id) = fields.first().and_then(|word| word.strip_suffix(b":")) {
            containers.push(Container {
                id: number(id),
                ..Container::default()
            });
            fields.remove(0);
        }
        let Some(container) = containers.last_mut() else {
            continue; // before the first container
        };
        if fields.first() == Some(&&b"dummy"[..]) {
            continue;
        }
        match counter(&fields, page) {
            Some((parameter, value)) => drop(container.values.insert(parameter, value)),
            None => container.unread.push(at.saturating_add(1)),
        }
    }
    containers
}

fn counter(fields: &[&[u8]], page: PageSize) -> Option<(Parameter, Value)> {
    let [name, held, max_held, barrier, limit, failcnt] = fields else {
        return None;
    };
    let parameter = Parameter::named(std::str::from_utf8(name).ok()?)?;
    let unit = parameter.described().unit;
    let amount = |field: &[u8]| Some(amount(number(field)?, unit, page));
    let counted = |field: &[u8]| Some(scaled(number(field)?, unit, page));
    let value = Value {
        barrier: amount(barrier)?,
        limit: amount(limit)?,
        used: Some(Used {
            held: counted(held)?,
            max_held: counted(max_held)?,
            failcnt: number(failcnt)?,
        }),
    };
    Some((parameter, value))
}

/// `NAME="value"`, as a shell would read it.
fn configuration(text: &[u8], page: PageSize) -> Container {
    let mut container = Container::default();
    for (at, line) in lines(text).enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if setting(line, page, &mut container).is_none() {
            container.unread.push(at.saturating_add(1));
        }
    }
    container
}

fn setting(line: &[u8], page: PageSize, container: &mut Container) -> Option<()> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    let value = quoted.unwrap_or(value);
    let Some(parameter) = Parameter::named(name.trim()) else {
        let shown = |text: &str| printable(text.as_bytes()).into_owned();
        container.others.push((shown(name.trim()), shown(value)));
        return Some(());
    };
    let unit = parameter.described().unit;
    let (barrier, limit) = value.split_once(':').unwrap_or((value, value));
    let value = Value {
        barrier: written(barrier.trim(), unit, page)?,
        limit: written(limit.trim(), unit, page)?,
        used: None,
    };
    container.values.insert(parameter, value);
    Some(())
}

/// One half of a value.
fn written(word: &str, unit: Unit, page: PageSize) -> Option<Amount> {
    if word == "unlimited" {
        return Some(Amount::Unlimited);
    }
    if let Some(plain) = number(word.as_bytes()) {
        return Some(amount(plain, unit, page));
    }
    let is_pages = word.ends_with(['p', 'P']);
    let bytes = match word.strip_suffix(['p', 'P']) {
        Some(pages) => Pages(number(pages.as_bytes())?).bytes(page).get(),
        None => word.parse::<Bytes>().ok()?.get(),
    };
    // Items have no bytes: `2K` of them are 2048.
    (unit != Unit::Items || !is_pages).then_some(Amount::Of(bytes))
}

/// The largest `int`: how 32-bit hosts said that nothing is limited.
const INT_MAX: u64 = i32::MAX.unsigned_abs() as u64;

/// No host has a PiB of anything that beancounters count, or so many things.
const BEYOND: u64 = 1 << 50;

fn amount(plain: u64, unit: Unit, page: PageSize) -> Amount {
    match plain {
        INT_MAX | BEYOND.. => Amount::Unlimited,
        plain => Amount::Of(scaled(plain, unit, page)),
    }
}

fn scaled(plain: u64, unit: Unit, page: PageSize) -> u64 {
    match unit {
        Unit::Items | Unit::Bytes => plain,
        Unit::Pages => Pages(plain).bytes(page).get(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page() -> PageSize {
        PageSize::new(4096).unwrap()
    }

    fn value_of(line: &str) -> Option<Value> {
        let container = read(line.as_bytes(), page()).remove(0);
        container.values.into_values().next()
    }

    #[test]
    fn a_value_is_written_in_many_ways() {
        const GIB: u64 = 1 << 30;
        for (line, barrier, limit) in [
            ("PHYSPAGES=\"0:1G\"", Amount::Of(0), Amount::Of(GIB)),
            ("PHYSPAGES=0:262144", Amount::Of(0), Amount::Of(GIB)),
            ("PHYSPAGES=\"262144P\"", Amount::Of(GIB), Amount::Of(GIB)),
            (
                "KMEMSIZE=\"2.2M:1g\"",
                Amount::Of(2_306_867),
                Amount::Of(GIB),
            ),
            ("KMEMSIZE=4096:4097", Amount::Of(4096), Amount::Of(4097)),
            ("KMEMSIZE=1P:2P", Amount::Of(4096), Amount::Of(8192)),
            (
                "NUMPROC=\"240:2147483647\"",
                Amount::Of(240),
                Amount::Unlimited,
            ),
            (
                "NUMTCPSOCK=\"1801439850948198\"",
                Amount::Unlimited,
                Amount::Unlimited,
            ),
            (
                "vmguarpages=unlimited",
                Amount::Unlimited,
                Amount::Unlimited,
            ),
            (
                "SWAPPAGES=0:9223372036854775807",
                Amount::Of(0),
                Amount::Unlimited,
            ),
        ] {
            let used = None;
            assert_eq!(
                value_of(line),
                Some(Value {
                    barrier,
                    limit,
                    used
                }),
                "{line}"
            );
        }
        for line in [
            "PHYSPAGES=lots",
            "PHYSPAGES=1:2:3",
            "PHYSPAGES=-1",
            "NUMPROC=3P",
            "NUMPROC=",
        ] {
            let container = read(line.as_bytes(), page()).remove(0);
            assert_eq!(
                (container.unread, container.values.len()),
                (vec![1], 0),
                "{line}"
            );
        }
    }

    #[test]
    fn pages_are_those_of_the_host_that_the_file_is_from() {
        let page = PageSize::new(16384).unwrap();
        let container = read(b"LOCKEDPAGES=\"4:8\"\n", page).remove(0);
        let value = container.values[&Parameter::Lockedpages];
        assert_eq!(
            (value.barrier, value.limit),
            (Amount::Of(65536), Amount::Of(131_072))
        );
    }

    #[test]
    fn counters_of_a_whole_host() {
        let text = b"Version: 2.5\n uid resource held maxheld barrier limit failcnt\n\
            101: kmemsize 1 2 3 4 5\n dummy 0 0 0 0 0\n lockedpages 1 2 3 4 5\n brandnew 1 2 3 4 5\n\
            0: numproc 7 8 9 10 0\n";
        let containers = read(text, page());
        assert_eq!(containers.len(), 2);
        assert_eq!((containers[0].id, containers[1].id), (Some(101), Some(0)));
        let locked = containers[0].values[&Parameter::Lockedpages];
        let used = Used {
            held: 4096,
            max_held: 8192,
            failcnt: 5,
        };
        assert_eq!(locked.used, Some(used));
        assert_eq!(containers[0].unread, [6]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&text, page());
        }

        #[test]
        fn any_configuration_is_read_back(values in proptest::collection::btree_map(0..22usize, (0..INT_MAX, 0..INT_MAX), 1..22)) {
            let mut text = String::new();
            for (at, (barrier, limit)) in &values {
                let name = super::super::parameters::TABLE[*at].name.to_uppercase();
                text += &format!("{name}=\"{barrier}:{limit}\"\n");
            }
            let container = read(text.as_bytes(), page()).remove(0);
            prop_assert_eq!(container.values.len(), values.len());
            for (at, (barrier, limit)) in &values {
                let row = super::super::parameters::TABLE[*at];
                let scale = if row.unit == Unit::Pages { 4096 } else { 1 };
                let value = container.values[&row.parameter];
                prop_assert_eq!(value.barrier, Amount::Of(barrier * scale));
                prop_assert_eq!(value.limit, Amount::Of(limit * scale));
            }
        }
    }
}
