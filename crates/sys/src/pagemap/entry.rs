//! One word of `/proc/PID/pagemap`.

/// What the kernel says of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry(pub u64);

impl Entry {
    /// It is in RAM.
    #[must_use]
    pub const fn present(self) -> bool {
        self.bit(63)
    }

    /// It is in swap (or under migration).
    #[must_use]
    pub const fn swapped(self) -> bool {
        self.bit(62)
    }

    /// It is of a file, or shared anonymous memory.
    #[must_use]
    pub const fn file(self) -> bool {
        self.bit(61)
    }

    /// It is a guard page (Linux 6.15).
    #[must_use]
    pub const fn guard(self) -> bool {
        self.bit(58)
    }

    /// This process alone maps it, once (Linux 4.2). The zero page is never exclusive.
    #[must_use]
    pub const fn exclusive(self) -> bool {
        self.bit(56)
    }

    /// It was written since soft-dirty bits were cleared, on kernels that have them.
    #[must_use]
    pub const fn soft_dirty(self) -> bool {
        self.bit(55)
    }

    /// Its page frame number; `None` where it has none or we lack CAP_SYS_ADMIN.
    #[must_use]
    pub const fn frame(self) -> Option<u64> {
        let frame = self.0 & ((1 << 55) - 1);
        if self.present() && frame != 0 {
            Some(frame)
        } else {
            None
        }
    }

    const fn bit(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }
}
