//! What a report says of the control group that is at its limit.

use super::cut::{Unit, after, between, number_after, pairs, shown};
use super::{Memcg, Report, Usage};
use plimsoll_proc::text::{number, words};

/// Takes a line, if it is of the group.
pub(super) fn take(report: &mut Report, text: &[u8]) -> bool {
    usage(report, text) || heading(report, text) || stat(report, text)
}

/// `memory: usage 8192kB, limit 8192kB, failcnt 19`.
fn usage(report: &mut Report, text: &[u8]) -> bool {
    let Some(rest) = after(text, b": usage ") else {
        return false;
    };
    let Some(usage) = read_usage(rest) else {
        return false;
    };
    let memcg = report.memcg.get_or_insert_default();
    let slot = match text.get(..text.len() - rest.len()) {
        Some(b"memory: usage ") => &mut memcg.memory,
        Some(b"swap: usage ") => &mut memcg.swap,
        Some(b"memory+swap: usage ") => &mut memcg.memory_and_swap,
        Some(b"kmem: usage ") => &mut memcg.kmem,
        _ => return false,
    };
    *slot = Some(usage);
    true
}

fn read_usage(rest: &[u8]) -> Option<Usage> {
    Some(Usage {
        usage_kb: super::cut::leading_number(rest)?.0,
        limit_kb: number_after(rest, b"limit ")?,
        failcnt: number_after(rest, b"failcnt ").unwrap_or(0),
    })
}

/// `Memory cgroup stats for /path: cache:4KB rss:…`, `Task in /a killed as a result of limit of /b`.
fn heading(report: &mut Report, text: &[u8]) -> bool {
    if let Some(path) = after(text, b" killed as a result of limit of ") {
        report.memcg.get_or_insert_default().path = Some(shown(path));
        return true;
    }
    if let Some(path) = between(
        text,
        b"Tasks in ",
        b" are going to be killed due to memory.oom.group set",
    ) {
        let memcg = report.memcg.get_or_insert_default();
        memcg.kills_all = true;
        memcg.path.get_or_insert_with(|| shown(path));
        return true;
    }
    let Some(rest) = text.strip_prefix(b"Memory cgroup stats for ") else {
        return false;
    };
    let colon = memchr::memchr(b':', rest).unwrap_or(rest.len());
    let memcg = report.memcg.get_or_insert_default();
    memcg
        .path
        .get_or_insert_with(|| shown(rest.get(..colon).unwrap_or_default()));
    // v1 has all on this line, one line for each group below, in KB
    for (key, kb, unit) in pairs(rest.get(colon + 1..).unwrap_or_default()) {
        if unit == Unit::Kb {
            let bytes = memcg.stat.entry(key).or_insert(0);
            *bytes = bytes.saturating_add(kb.saturating_mul(1024));
        }
    }
    true
}

/// `anon 8368128`, below the heading (`memory.stat`).
fn stat(report: &mut Report, text: &[u8]) -> bool {
    let Some(memcg) = &mut report.memcg else {
        return false;
    };
    read_stat(memcg, text).is_some()
}

fn read_stat(memcg: &mut Memcg, text: &[u8]) -> Option<()> {
    let mut fields = words(text);
    let (key, value) = (fields.next()?, number(fields.next()?)?);
    let is_key = key
        .iter()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_');
    if !is_key || fields.next().is_some() {
        return None;
    }
    memcg.stat.insert(shown(key), value);
    Some(())
}
