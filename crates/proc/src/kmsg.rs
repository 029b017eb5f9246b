//! The kernel log, record by record (`Documentation/ABI/testing/dev-kmsg`).
//!
//! `/dev/kmsg` gives one record for each `read(2)`: `priority,sequence,microseconds,flags;text`, then
//! lines ` KEY=value`. A capture keeps the records as they came, in [`CAPTURED`].

use crate::text::{lines, number};
use crate::{ReadError, Root};
use std::io::{ErrorKind, Read};

/// Where a captured tree keeps the log.
pub const CAPTURED: &str = "plimsoll/kmsg";

const DEVICE: &str = "dev/kmsg";

/// Longer than any record (`PRINTKRB_RECORD_MAX` with its head and its keys).
const RECORD_MAX: usize = 16 << 10;

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Severity, 0 to 7.
    pub level: u64,
    /// Its number since boot.
    pub sequence: u64,
    /// Microseconds since boot.
    pub time_us: u64,
    /// The message; the kernel writes control characters in it as `\xNN`.
    pub text: &'a [u8],
}

/// All records that the kernel still has, oldest first.
///
/// # Errors
/// As `open(2)`: without `CAP_SYSLOG`, where `kernel.dmesg_restrict` is set, the log can't be read.
pub fn read(root: &Root) -> Result<Vec<u8>, ReadError> {
    if !root.is_live() {
        return root.read(CAPTURED);
    }
    let mut device = root.open(DEVICE)?;
    let (mut log, mut record) = (Vec::new(), vec![0; RECORD_MAX]);
    loop {
        match device.read(&mut record) {
            Ok(0) => break,
            Ok(length) => log.extend_from_slice(record.get(..length).unwrap_or_default()),
            // EPIPE: records were overwritten meanwhile; the next read goes on with the oldest there is
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            Err(_) => break, // EAGAIN: no record is left
        }
    }
    root.record(CAPTURED, &log);
    Ok(log)
}

/// The records of a log; keys are passed over.
pub fn records(log: &[u8]) -> impl Iterator<Item = Record<'_>> {
    lines(log).filter_map(record)
}

fn record(line: &[u8]) -> Option<Record<'_>> {
    if line.starts_with(b" ") {
        return None;
    }
    let head = memchr::memchr(b';', line)?;
    let mut fields = line.get(..head)?.split(|&byte| byte == b',').map(number);
    Some(Record {
        level: fields.next()?? & 7,
        sequence: fields.next()??,
        time_us: fields.next()??,
        text: line.get(head + 1..)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_log() {
        let log = include_bytes!("../fixtures/kmsg-6.18.txt");
        let first = records(log).next().unwrap();
        assert_eq!(
            (first.level, first.sequence, first.time_us),
            (6, 70, 133_426)
        );
        assert!(first.text.starts_with(b"setup_percpu: "));
        assert!(records(log).all(|record| !record.text.starts_with(b"SUBSYSTEM")));
    }

    #[test]
    fn broken_records_are_passed_over() {
        assert_eq!(
            records(b";\n6,1;x\n6,1,2,-;ok\n\n KEY=1,2,3;4\n").count(),
            1
        );
    }
}
