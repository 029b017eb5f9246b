//! `/proc/vmallocinfo`: every vmalloc area, with the function that made it (`proc_vmallocinfo(5)`;
//! `vmalloc_info_show` in `mm/vmalloc.c`). Root reads it; with many threads it takes the kernel milliseconds.
//!
//! A line is `0xSTART-0xEND SIZE CALLER+0xOFF/0xLEN [phys=…] [pages=N] [ioremap] [vmalloc] [N0=4 …]`. Only areas
//! with `pages=` hold pages of their own: the others map device memory or pages that belong to somebody else.

use crate::text::{lines, number, words};
use plimsoll_units::Pages;
use std::collections::BTreeMap;

/// Pages by caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vmallocinfo {
    /// Function that asked for the areas, and what they hold together.
    pub callers: BTreeMap<Box<[u8]>, Pages>,
}

/// Who allocates thread stacks, under the names that inlining has left on one kernel or another
/// (`alloc_thread_stack_node` in `kernel/fork.c` and what it is inlined into).
const STACK_MAKERS: [&[u8]; 10] = [
    b"alloc_thread_stack_node",
    b"dup_task_struct",
    b"copy_process",
    b"kernel_clone",
    b"_do_fork",
    b"fork_idle",
    b"kernel_thread",
    b"user_mode_thread",
    b"create_io_thread",
    b"vhost_task_create",
];

impl Vmallocinfo {
    /// Reads the whole file.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut info = Self::default();
        for (caller, pages) in lines(text).filter_map(area) {
            match info.callers.get_mut(caller) {
                Some(sum) => *sum = *sum + pages,
                None => drop(info.callers.insert(caller.into(), pages)),
            }
        }
        info
    }

    /// Pages of all areas.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.callers.values().copied().sum()
    }

    /// Pages of thread stacks: those in use, and the few that are kept for the next thread.
    #[must_use]
    pub fn stacks(&self) -> Pages {
        let stacks = self
            .callers
            .iter()
            .filter(|(caller, _)| is_stack_maker(caller));
        stacks.map(|(_, pages)| *pages).sum()
    }
}

/// Whether areas of this caller are thread stacks.
#[must_use]
pub fn is_stack_maker(caller: &[u8]) -> bool {
    STACK_MAKERS.contains(&caller)
}

fn area(line: &[u8]) -> Option<(&[u8], Pages)> {
    let mut words = words(line);
    let caller = words.nth(2)?;
    let pages = words.find_map(|word| number(word.strip_prefix(b"pages=")?))?;
    Some((function(caller), Pages(pages)))
}

/// `function` of `function+0x12/0x34`; also of `function.isra.0+0x12/0x34`, which the compiler made of it.
fn function(caller: &[u8]) -> &[u8] {
    let end = caller.iter().position(|byte| matches!(byte, b'+' | b'.'));
    end.and_then(|end| caller.get(..end)).unwrap_or(caller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_a_file() {
        let info = Vmallocinfo::parse(include_bytes!("../fixtures/vmallocinfo-6.18.txt"));
        assert_eq!(info.stacks(), Pages(4 * 22));
        assert!(
            info.callers
                .contains_key(b"bpf_prog_alloc_no_stats".as_slice())
        );
        assert!(!info.callers.contains_key(b"unpurged".as_slice()));
        assert!(info.pages().0 > info.stacks().0);
    }

    #[test]
    fn callers_are_functions() {
        let info = Vmallocinfo::parse(
            b"0x1-0x2 8192 copy_process.part.0+0x1/0x2 pages=1 vmalloc N0=1\n0x1-0x2 8192 0xffffffffc0 pages=3\n\
              0x1-0x2 8192 x+0x1/0x2 phys=0x1 ioremap\nbroken pages=4\n",
        );
        assert_eq!((info.stacks(), info.pages()), (Pages(1), Pages(4)));
    }
}
