//! `struct ptrace_syscall_info`: where a stopped thread is in which system call.

/// What `PTRACE_GET_SYSCALL_INFO` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyscallInfo {
    /// In no system call stop.
    None,
    /// About to execute this system call.
    Entry {
        /// Its number.
        number: u64,
        /// Its arguments.
        args: [u64; 6],
    },
    /// Done: what it returned, negative for an error.
    Exit {
        /// The result.
        result: i64,
    },
    /// Stopped by a seccomp filter on the way in.
    Seccomp,
}

impl SyscallInfo {
    /// Length of the kernel's structure as of Linux 6.18.
    pub(super) const BYTES: usize = size_of::<linux_raw_sys::ptrace::ptrace_syscall_info>();

    /// Fields: op at 0, then at 24 by kind: entry = number, six arguments; exit = result.
    pub(super) fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let word = |index: usize| {
            let at = 24 + index * 8;
            let bytes = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
            u64::from_ne_bytes(bytes.unwrap_or_default())
        };
        match u32::from(bytes.first().copied().unwrap_or_default()) {
            linux_raw_sys::ptrace::PTRACE_SYSCALL_INFO_ENTRY => Self::Entry {
                number: word(0),
                args: std::array::from_fn(|index| word(index + 1)),
            },
            linux_raw_sys::ptrace::PTRACE_SYSCALL_INFO_EXIT => Self::Exit {
                result: word(0).cast_signed(),
            },
            linux_raw_sys::ptrace::PTRACE_SYSCALL_INFO_SECCOMP => Self::Seccomp,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use linux_raw_sys::ptrace as p;
    use std::mem::offset_of;

    #[test]
    fn the_fields_lie_where_the_kernel_puts_them() {
        assert_eq!(offset_of!(p::ptrace_syscall_info, op), 0);
        assert_eq!(offset_of!(p::ptrace_syscall_info, __bindgen_anon_1), 24);
        type Entry = p::ptrace_syscall_info__bindgen_ty_1__bindgen_ty_1;
        type Exit = p::ptrace_syscall_info__bindgen_ty_1__bindgen_ty_2;
        assert_eq!((offset_of!(Entry, nr), offset_of!(Entry, args)), (0, 8));
        assert_eq!(offset_of!(Exit, rval), 0);
    }
}
