//! Paths put together in bytes of a fixed size.

use std::ffi::CStr;
use std::fmt;
use std::io::Write;

/// A short path.
#[derive(Debug)]
pub(super) struct ShortPath([u8; 64]);

impl Default for ShortPath {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl ShortPath {
    /// What was formatted; `None` where it has no room, or a NUL in it.
    pub(super) fn of(&mut self, words: fmt::Arguments<'_>) -> Option<&CStr> {
        let mut rest = self.0.as_mut_slice();
        rest.write_fmt(words).ok()?;
        rest.write_all(b"\0").ok()?;
        CStr::from_bytes_until_nul(&self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_and_what_does_not() {
        let mut path = ShortPath::default();
        assert_eq!(
            path.of(format_args!("{}/stat", u32::MAX)).unwrap(),
            c"4294967295/stat"
        );
        assert_eq!(path.of(format_args!("{:070}", 1)), None);
    }
}
