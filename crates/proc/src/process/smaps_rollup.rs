//! `/proc/PID/smaps_rollup`: the sums over all mappings, proportional shares by kind (4.14, kinds since
//! 5.4; `Documentation/ABI/testing/procfs-smaps_rollup`). As dear to the target as `smaps`, less text.

use super::Malformed;
use super::smaps::Usage;
use super::walk::Unreadable;
use crate::{Root, text};

/// Asks for the sums of one process. It is stalled meanwhile: 13 ms for each GiB in 4 KiB pages.
///
/// # Errors
/// Where the process has ended, or may not be asked.
pub fn read(root: &Root, pid: u32) -> Result<Usage, Unreadable> {
    Ok(parse(&root.read(format!("proc/{pid}/smaps_rollup"))?)?)
}

/// Reads the file; empty for a kernel thread, which is zero of everything.
///
/// # Errors
/// When there is text, but not the line that the kernel puts first.
pub fn parse(text: &[u8]) -> Result<Usage, Malformed> {
    let mut lines = text::lines(text);
    let mut usage = Usage::default();
    if let Some(first) = lines.next()
        && !first.ends_with(b"[rollup]")
    {
        return Err(Malformed::new("smaps_rollup", first));
    }
    for (key, value) in lines.filter_map(text::key_value) {
        usage.take(key, value);
    }
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_units::Bytes;

    #[test]
    fn sums_and_kinds() {
        let usage = parse(include_bytes!("../../fixtures/smaps_rollup-6.18-sleep.txt")).unwrap();
        let kinds = [usage.pss_anon, usage.pss_file, usage.pss_shmem].map(Option::unwrap);
        assert_eq!(kinds.into_iter().sum::<Bytes>(), usage.pss);
        assert!(usage.rss > usage.pss && usage.pss > Bytes(0));
        assert_eq!(parse(b"").unwrap(), Usage::default());
        assert!(parse(b"Rss: 1 kB\n").is_err());
    }
}
