//! What a container may have, as a systemd drop-in or an LXC configuration.
//!
//! `systemd.resource-control(5)`, `lxc.container.conf(5)`. Swap is beside RAM in both: neither is added to the other.

use super::Conversion;
use crate::Numbers;
use crate::plan::margin;
use plimsoll_units::Bytes;
use std::fmt::Write;

/// As a drop-in for a service; `None` where nothing limits its memory.
#[must_use]
pub fn systemd(conversion: &Conversion) -> Option<String> {
    let numbers = conversion.numbers?;
    let mut text = "[Service]\n".to_owned();
    line(&mut text, "MemoryMax", "=", Some(numbers.ram));
    line(&mut text, "MemoryHigh", "=", high(numbers));
    line(&mut text, "MemorySwapMax", "=", Some(numbers.swap));
    line(&mut text, "MemoryLow", "=", conversion.low_bytes);
    line(&mut text, "LimitMEMLOCK", "=", conversion.memlock_bytes);
    line(&mut text, "TasksMax", "=", conversion.pids_max.map(Bytes));
    Some(text)
}

/// As lines of a container's configuration; `None` where nothing limits its memory.
#[must_use]
pub fn lxc(conversion: &Conversion) -> Option<String> {
    let numbers = conversion.numbers?;
    let mut text = String::new();
    line(
        &mut text,
        "lxc.cgroup2.memory.max",
        " = ",
        Some(numbers.ram),
    );
    line(&mut text, "lxc.cgroup2.memory.high", " = ", high(numbers));
    line(
        &mut text,
        "lxc.cgroup2.memory.swap.max",
        " = ",
        Some(numbers.swap),
    );
    line(
        &mut text,
        "lxc.cgroup2.memory.low",
        " = ",
        conversion.low_bytes,
    );
    line(
        &mut text,
        "lxc.prlimit.memlock",
        " = ",
        conversion.memlock_bytes,
    );
    line(
        &mut text,
        "lxc.cgroup2.pids.max",
        " = ",
        conversion.pids_max.map(Bytes),
    );
    line(
        &mut text,
        "lxc.pty.max",
        " = ",
        conversion.ptys_max.map(Bytes),
    );
    Some(text)
}

/// Where it is slowed down; nowhere without swap, where that would free nothing.
fn high(numbers: Numbers) -> Option<Bytes> {
    (numbers.swap > Bytes::ZERO).then(|| numbers.ram - margin(numbers.ram))
}

fn line(text: &mut String, name: &str, is: &str, value: Option<Bytes>) {
    if let Some(value) = value {
        let _ = writeln!(text, "{name}{is}{}", value.get()); // a string takes whatever is written
    }
}
