//! `bpf(2)`: maps, as far as tests make them.
//!
//! # Safety
//! `BPF_MAP_CREATE` reads as many bytes of its attribute as it is told and writes nothing; it is given the size of a struct
//! that starts as `union bpf_attr` does for this command.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// The beginning of `union bpf_attr` for `BPF_MAP_CREATE` (`linux/bpf.h`).
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// A new array map; its memory is all taken at once.
///
/// # Errors
/// As `bpf(2)`: `EPERM` without `CAP_BPF`, `E2BIG` for too large a value.
pub fn array_map(value_bytes: u32, entries: u32) -> io::Result<OwnedFd> {
    let attribute = MapCreate {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: value_bytes,
        max_entries: entries,
    };
    // SAFETY: `attribute` lives until the call returns, and is at least as long as the size that is passed.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            &raw const attribute,
            size_of::<MapCreate>(),
        )
    };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attribute_has_the_kernels_layout() {
        assert_eq!(size_of::<MapCreate>(), 16);
    }
}
