//! Filters of system calls (`seccomp(2)`). They are installed while a thread still may without having given up new
//! privileges, and sleep until it is let go, so that they don't judge the calls that come after.

use super::crew::Member;
use super::task::Task;
use crate::error::Error;
use crate::snapshot::Process;
use plimsoll_image::proto::{SeccompEntry, SeccompFilter, SeccompMode, ThreadCoreEntry};

/// Gives all threads of a process their filters.
pub(super) fn restore(
    member: &mut Member,
    process: &Process,
    filters: &SeccompEntry,
) -> Result<(), Error> {
    let cores = || {
        process
            .threads
            .iter()
            .map(|(_, core)| core.thread_core.as_ref())
    };
    if !cores()
        .flatten()
        .any(|core| core.seccomp_mode() != SeccompMode::Disabled)
    {
        return Ok(());
    }
    // All of them: a filter may be given to all by one.
    member.all().try_for_each(Task::put_filters_to_sleep)?;
    for (task, core) in member.all().zip(cores()) {
        let Some(core) = core else { continue };
        match core.seccomp_mode() {
            SeccompMode::Disabled => {}
            SeccompMode::Strict => {
                let args = [libc::PR_SET_SECCOMP.unsigned_abs().into(), 1];
                task.call("restrict the calls of", libc::SYS_prctl, args)?;
            }
            SeccompMode::Filter => {
                for filter in chain(filters, core)? {
                    install(task, filter)?;
                }
            }
        }
    }
    Ok(())
}

/// The filters of a thread, the oldest first.
fn chain<'f>(
    filters: &'f SeccompEntry,
    core: &ThreadCoreEntry,
) -> Result<Vec<&'f SeccompFilter>, Error> {
    let all = &filters.seccomp_filters;
    let mut chain = Vec::new();
    let mut next = core.seccomp_filter;
    while let Some(place) = next {
        let filter = usize::try_from(place).ok().and_then(|place| all.get(place));
        let missing = || Error::inconsistent(format!("seccomp filter {place} is not there"));
        let filter = filter.ok_or_else(missing)?;
        chain.push(filter);
        if chain.len() > all.len() {
            return Err(Error::inconsistent("a chain of seccomp filters has no end"));
        }
        next = filter.prev;
    }
    Ok(chain)
}

fn install(task: &mut Task, filter: &SeccompFilter) -> Result<(), Error> {
    const SET_MODE_FILTER: u64 = 1;
    let instructions = filter.filter.len() / 8;
    let length = u16::try_from(instructions)
        .map_err(|_| Error::inconsistent("a seccomp filter is too long"))?;
    // struct sock_fprog: how many instructions, and where: behind it.
    let at = task.scratch.0.start;
    let mut bytes = u64::from(length).to_ne_bytes().to_vec();
    bytes.extend((at + 16).to_ne_bytes());
    bytes.extend(&filter.filter);
    task.argument(&bytes)?;
    let flags = u64::from(filter.flags.unwrap_or(0));
    let what = "install a seccomp filter in";
    task.call(what, libc::SYS_seccomp, [SET_MODE_FILTER, flags, at])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(prev: [Option<u32>; 3]) -> SeccompEntry {
        let filter = |prev| SeccompFilter {
            filter: vec![0; 8],
            prev,
            flags: None,
        };
        SeccompEntry {
            seccomp_filters: prev.map(filter).to_vec(),
        }
    }

    #[test]
    fn chains_are_followed_to_their_end() {
        let core = |place| ThreadCoreEntry {
            seccomp_filter: Some(place),
            ..ThreadCoreEntry::default()
        };
        let length =
            |entry: &SeccompEntry, place| Ok::<_, Error>(chain(entry, &core(place))?.len());
        let whole = entry([None, Some(0), Some(1)]);
        assert_eq!(length(&whole, 2).unwrap(), 3);
        assert!(length(&whole, 3).is_err());
        assert!(length(&entry([Some(2), Some(0), Some(1)]), 2).is_err());
    }
}
