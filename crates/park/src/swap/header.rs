//! The first page of a swap area, as `mkswap(8)` writes it and `union swap_header` in `include/linux/swap.h` reads it.

use plimsoll_units::PageSize;
use zerocopy::native_endian::U32;
use zerocopy::{Immutable, IntoBytes, KnownLayout};

/// Behind 1024 bytes for boot loaders.
const INFO_AT: usize = 1024;
/// The last bytes of the page.
const MAGIC: &[u8; 10] = b"SWAPSPACE2";

#[derive(IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Info {
    version: U32,
    last_page: U32,
    bad_pages: U32,
    uuid: [u8; 16],
    label: [u8; 16],
}

/// That of an area of so many pages, the first included; `None` where the kernel could not count them.
pub(super) fn page(pages: u64, page_size: PageSize, uuid: [u8; 16]) -> Option<Vec<u8>> {
    let size = usize::try_from(page_size.get()).ok()?;
    let last = u32::try_from(pages.checked_sub(1)?).ok()?;
    let info = Info {
        version: U32::new(1),
        last_page: U32::new(last),
        bad_pages: U32::new(0),
        uuid,
        label: *b"plimsoll\0\0\0\0\0\0\0\0",
    };
    let mut page = vec![0; size];
    let end = size.checked_sub(MAGIC.len())?;
    page.get_mut(INFO_AT..)?
        .get_mut(..size_of::<Info>())?
        .copy_from_slice(info.as_bytes());
    page.get_mut(end..)?.copy_from_slice(MAGIC);
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_testkit::need;

    #[test]
    fn it_is_what_mkswap_writes() {
        need!(Program("mkswap"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("swap");
        let file = std::fs::File::create(&path).unwrap();
        let size = PageSize::new(rustix::param::page_size() as u64).unwrap();
        file.set_len(100 * size.get()).unwrap();
        let made = std::process::Command::new("mkswap")
            .args([
                "-q",
                "-L",
                "plimsoll",
                "-U",
                "00010203-0405-0607-0809-0a0b0c0d0e0f",
            ])
            .arg(&path)
            .output();
        assert!(made.unwrap().status.success());
        let theirs = std::fs::read(&path).unwrap();
        let uuid = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
        let ours = page(100, size, uuid).unwrap();
        assert!(theirs[..ours.len()] == ours[..]);
    }

    #[test]
    fn what_can_not_be_counted_is_none() {
        let size = PageSize::new(4096).unwrap();
        assert_eq!(page(0, size, [0; 16]), None);
        assert_eq!(page(1 << 33, size, [0; 16]), None);
    }
}
