//! Numbers of kernel files that are kept open.

use plimsoll_proc::kernel_text;
use plimsoll_proc::text::{lines, number, words};
use rustix::fd::OwnedFd;

/// That of a file which has but one.
pub(super) fn first_number(file: &OwnedFd, buffer: &mut [u8]) -> Option<u64> {
    number(kernel_text::read(file, buffer)?.trim_ascii())
}

/// That behind a key, of a file with one on each line.
pub(super) fn keyed(file: &OwnedFd, key: &[u8], buffer: &mut [u8]) -> Option<u64> {
    let text = kernel_text::read(file, buffer)?;
    let value = |line| {
        let mut words = words(line);
        (words.next()? == key).then(|| number(words.next()?))?
    };
    lines(text).find_map(value)
}
