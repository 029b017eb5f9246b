//! The lines that a report begins with: what asked for what.

use super::cut::{after, before, between, find, shown, signed_after};
use super::{Report, Slub, Trigger};
use plimsoll_proc::text::{hex, number, words};

const OOM: &[u8] = b" invoked oom-killer: ";
const FAILURE: &[u8] = b": page allocation failure";

/// The first line of a report. Its keys come in any order: 4.5 and 4.6 changed it twice.
pub(super) fn trigger(text: &[u8]) -> Option<Trigger> {
    let (command, rest, is_failure) = match before(text, OOM) {
        Some(command) => (command, after(text, OOM)?, false),
        None => (before(text, FAILURE)?, after(text, FAILURE)?, true),
    };
    let mask = after(rest, b"gfp_mask=").or_else(|| after(rest, b"mode:"))?;
    Some(Trigger {
        command: shown(command),
        is_failure,
        gfp_mask: hexadecimal(mask),
        gfp_words: gfp_words(mask),
        order: signed_after(rest, b"order=").or_else(|| signed_after(rest, b"order:")),
        oom_score_adj: signed_after(rest, b"oom_score_adj=")
            .or_else(|| signed_after(rest, b"oom_adj=")),
        nodemask: nodemask(rest),
    })
}

/// `0xc2cc0` at the start.
pub(super) fn hexadecimal(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"0x")?;
    let end = digits
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(digits.len());
    hex(digits.get(..end)?)
}

/// `(GFP_KERNEL|__GFP_COMP)` right behind the number.
fn gfp_words(mask: &[u8]) -> Vec<String> {
    let digits = mask
        .iter()
        .position(|byte| !(byte.is_ascii_hexdigit() || *byte == b'x'));
    let behind = digits.and_then(|at| mask.get(at..));
    let inside = behind
        .and_then(|text| text.strip_prefix(b"("))
        .and_then(|text| before(text, b")"));
    let split = inside
        .into_iter()
        .flat_map(|inside| inside.split(|byte| *byte == b'|'));
    split.map(shown).filter(|word| !word.is_empty()).collect()
}

/// `nodemask=0-1`; `(null)` and `(nil)` are none.
pub(super) fn nodemask(text: &[u8]) -> Option<String> {
    let list = node_list(after(text, b"nodemask=")?);
    (!list.is_empty()).then_some(list)
}

/// `0-1,4` up to what does not belong to it: the next key may follow a comma.
pub(super) fn node_list(text: &[u8]) -> String {
    let end = text
        .iter()
        .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b','))
        .unwrap_or(text.len());
    let list = text.get(..end).unwrap_or_default();
    shown(list.strip_suffix(b",").unwrap_or(list))
}

/// `sh cpuset=/ mems_allowed=0-1`, also at the end of the first line of a failure.
pub(super) fn cpuset(report: &mut Report, text: &[u8]) -> bool {
    let (Some(rest), Some(mems)) = (after(text, b"cpuset="), after(text, b"mems_allowed=")) else {
        return false;
    };
    let end = rest.iter().position(|byte| matches!(byte, b' ' | b','));
    let cpuset = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
    report.cpuset.get_or_insert_with(|| shown(cpuset));
    report.mems_allowed.get_or_insert_with(|| node_list(mems));
    true
}

/// `CPU: 0 UID: 0 PID: 148 Comm: dd Not tainted 6.12.95 #1 …`, or `Pid: 1, comm: x Not tainted 2.6.30 #11`.
pub(super) fn who_and_kernel(report: &mut Report, text: &[u8]) -> bool {
    let pid = between(text, b"PID: ", b" ").or_else(|| between(text, b"Pid: ", b","));
    let (Some(pid), true) = (pid, text.starts_with(b"CPU:") || text.starts_with(b"Pid:")) else {
        return false;
    };
    report.pid = number(pid);
    let before_build = before(text, b" #").unwrap_or(text);
    let release = words(before_build)
        .last()
        .filter(|word| word.first().is_some_and(u8::is_ascii_digit));
    report.kernel = release.map(shown);
    true
}

/// A line of the stack, or of the registers: taken note of for its functions.
pub(super) fn stack(report: &mut Report, text: &[u8]) -> bool {
    const MARKS: [&[u8]; 14] = [
        b"Call Trace",
        b"Call trace",
        b"Backtrace:",
        b"<TASK>",
        b"</TASK>",
        b"RIP: ",
        b"RSP: ",
        b"Code: ",
        b"Hardware name: ",
        b"Workqueue: ",
        b"CR2: ",
        b"<IRQ>",
        b"</IRQ>",
        b"Exception stack",
    ];
    const REGISTERS: [&[u8]; 7] = [
        b"RAX: ",
        b"RDX: ",
        b"RBP: ",
        b"R10: ",
        b"R13: ",
        b"ORIG_RAX",
        b"FS: ",
    ];
    const MOST: usize = 64;
    if MARKS
        .iter()
        .chain(&REGISTERS)
        .any(|mark| text.starts_with(mark))
        || is_register_dump(text)
    {
        return true;
    }
    if !text.is_empty() && words(text).all(|word| word.len() >= 8 && hex(word).is_some()) {
        return true; // the raw stack that kernels before 4.9 print
    }
    let Some(function) = function(text) else {
        return false;
    };
    if report.stack.len() < MOST && !text.starts_with(b"? ") {
        report.stack.push(function);
    }
    true
}

/// `name+0x1a/0x20` somewhere in the line, or ARM's `(name) from [<…>] (caller+0x…)`, or `caller from name+0x…`.
fn function(text: &[u8]) -> Option<String> {
    let offset = find(text, b"+0x")?;
    after(text.get(offset..)?, b"/0x")?;
    let head = text.get(..offset)?;
    let name = head
        .rsplit(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')))
        .next()?;
    (!name.is_empty()).then(|| shown(name))
}

/// ARM's `r10:00000001 r9:c12169bc …`, arm64's `x29: ffff… x28: …`.
fn is_register_dump(text: &[u8]) -> bool {
    let mut found = words(text).filter(|word| word.contains(&b':')).take(2);
    let is_register = |word: &[u8]| {
        let name = before(word, b":").unwrap_or_default();
        matches!(name.first(), Some(b'r' | b'x')) && name.get(1..).and_then(number).is_some()
    };
    found.next().is_some_and(is_register)
}

/// The three lines that SLUB adds to a failure.
pub(super) fn slub(report: &mut Report, text: &[u8]) -> bool {
    if text.starts_with(b"SLUB: Unable to allocate memory") {
        report.slub.get_or_insert_default();
        return true;
    }
    let Some(slub) = &mut report.slub else {
        return false;
    };
    if let Some(rest) = text.strip_prefix(b"cache: ") {
        *slub = Slub {
            cache: before(rest, b",").map(shown),
            object_bytes: super::cut::number_after(rest, b"object size:"),
            orders: super::cut::number_after(rest, b"default order:")
                .zip(super::cut::number_after(rest, b"min order:")),
        };
        return true;
    }
    text.starts_with(b"node ") && after(text, b"slabs:").is_some()
}
