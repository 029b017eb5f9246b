//! A buffer that the kernel may write to disk from directly: `open(2)`, `O_DIRECT` asks for memory aligned
//! to the block size of the device; a whole format block is enough for all of them.

use super::format::BLOCK;

/// Bytes whose first lies on a block boundary; allocated once, never grown.
#[derive(Debug)]
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zero bytes.
    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len.saturating_add(BLOCK)];
        let start = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { bytes, start, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let end = self.start.saturating_add(self.len);
        self.bytes.get(self.start..end).unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let end = self.start.saturating_add(self.len);
        self.bytes.get_mut(self.start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_and_whole() {
        let mut buffer = Aligned::new(3 * BLOCK);
        assert_eq!(buffer.bytes().as_ptr().align_offset(BLOCK), 0);
        assert_eq!(buffer.bytes_mut().len(), 3 * BLOCK);
    }
}
