//! The fixtures as sets in memory.

use plimsoll_image::Kind;
use plimsoll_image::directory::InMemory;
use plimsoll_image::pagemap::{PE_PRESENT, Pagemap, X86_64_PAGE_BYTES};
use std::path::Path;

/// A fixture with pages made for it: the real ones are too large to keep.
///
/// Every third page is zero, every fifth like all others of that sort, the rest differ.
pub(crate) fn fixture(name: &str) -> InMemory {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut set = InMemory::read(&fixtures.join(format!("criu-4.2-{name}"))).unwrap();
    for (file, bytes) in set.files.clone() {
        let kind = Kind::of_file_name(&file).unwrap().0;
        if matches!(kind, Kind::Pagemap | Kind::ShmemPagemap) {
            let map = Pagemap::read(bytes.as_slice()).unwrap();
            let id = map.head.pages_id;
            let present = map
                .entries
                .iter()
                .filter(|entry| entry.page_flags() & PE_PRESENT != 0);
            let pages = present.map(|entry| entry.pages()).sum();
            let pages: Vec<u8> = (0..pages).flat_map(|number| page(id, number)).collect();
            set.files
                .insert(Kind::Pages.file_name(id.into()).into(), pages);
        }
    }
    set
}

fn page(file: u32, number: u64) -> Vec<u8> {
    let seed = match number {
        _ if number.is_multiple_of(3) => 0,
        _ if number.is_multiple_of(5) => 5,
        _ => (u64::from(file) << 32 | number) | 1,
    };
    let mut state = seed;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(seed);
        state.to_le_bytes()[7]
    };
    (0..X86_64_PAGE_BYTES).map(|_| byte()).collect()
}
