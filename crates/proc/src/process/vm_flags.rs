//! The `VmFlags` line of `smaps`: two letters a flag (`show_smap_vma_flags` in `fs/proc/task_mmu.c`,
//! `Documentation/filesystems/proc.rst`).

use crate::text;

/// The flags of a mapping that have a name here, and whether there were others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VmFlags {
    /// Those that are known.
    pub known: VmFlag,
    /// The first flag of a newer kernel that is not: never dropped in silence.
    pub unknown: Option<[u8; 2]>,
}

macro_rules! vm_flags {
    ($($name:ident $letters:literal $bit:literal $meaning:literal,)*) => {
        bitflags::bitflags! {
            /// What the kernel keeps about a mapping.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
            pub struct VmFlag: u64 {
                $(#[doc = concat!("`", $letters, "`: ", $meaning, ".")] const $name = 1 << $bit;)*
            }
        }

        /// Each flag with its two letters.
        const LETTERS: &[(&str, VmFlag)] = &[$(($letters, VmFlag::$name),)*];
    };
}

vm_flags! {
    READ "rd" 0 "readable",
    WRITE "wr" 1 "writable",
    EXEC "ex" 2 "executable",
    SHARED "sh" 3 "shared",
    MAY_READ "mr" 4 "may be made readable",
    MAY_WRITE "mw" 5 "may be made writable",
    MAY_EXEC "me" 6 "may be made executable",
    MAY_SHARE "ms" 7 "may share: set for every MAP_SHARED mapping",
    GROWSDOWN "gd" 8 "a stack",
    PFNMAP "pf" 9 "maps page frames without struct pages",
    LOCKED "lo" 10 "locked by mlock(2)",
    IO "io" 11 "device memory",
    SEQ_READ "sr" 12 "MADV_SEQUENTIAL",
    RAND_READ "rr" 13 "MADV_RANDOM",
    DONTCOPY "dc" 14 "not copied on fork",
    DONTEXPAND "de" 15 "can't grow by mremap(2)",
    ACCOUNT "ac" 16 "charged to Committed_AS",
    NORESERVE "nr" 17 "MAP_NORESERVE: never charged",
    HUGETLB "ht" 18 "hugetlb pages",
    SYNC "sf" 19 "synchronous page faults (DAX)",
    ARCH_1 "ar" 20 "architecture-specific",
    WIPEONFORK "wf" 21 "zeros in the child after fork",
    DONTDUMP "dd" 22 "left out of core dumps",
    SOFTDIRTY "sd" 23 "soft-dirty",
    MIXEDMAP "mm" 24 "page frames with and without struct pages",
    HUGEPAGE "hg" 25 "MADV_HUGEPAGE",
    NOHUGEPAGE "nh" 26 "MADV_NOHUGEPAGE",
    MERGEABLE "mg" 27 "MADV_MERGEABLE: KSM",
    UFFD_MISSING "um" 28 "userfaultfd, missing pages",
    UFFD_WP "uw" 29 "userfaultfd, write protection",
    UFFD_MINOR "ui" 30 "userfaultfd, minor faults",
    MTE "mt" 31 "memory tagging (arm64)",
    SHADOW_STACK "ss" 32 "a shadow stack",
    SEALED "sl" 33 "sealed by mseal(2)",
    LOCKONFAULT "lf" 34 "locked as pages come in: MLOCK_ONFAULT",
    BTI "bt" 35 "branch target identification (arm64)",
    DROPPABLE "dp" 36 "MAP_DROPPABLE",
    GUARD "gu" 37 "holds guard pages: MADV_GUARD_INSTALL",
}

impl VmFlags {
    /// Reads the words behind `VmFlags:`.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let mut flags = Self::default();
        for word in text::words(value) {
            match LETTERS
                .iter()
                .find(|(letters, _)| letters.as_bytes() == word)
            {
                Some((_, flag)) => flags.known |= *flag,
                None => flags.unknown = flags.unknown.or(word.first_chunk().copied()),
            }
        }
        flags
    }

    /// Whether all of `flag` is set.
    #[must_use]
    pub fn has(self, flag: VmFlag) -> bool {
        self.known.contains(flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_letters() {
        let flags = VmFlags::parse(b"rd wr mr mw me nr zz yy");
        assert!(flags.has(VmFlag::NORESERVE | VmFlag::WRITE));
        assert!(!flags.has(VmFlag::ACCOUNT));
        assert_eq!(flags.unknown, Some(*b"zz"));
    }

    #[test]
    fn every_flag_has_its_own_bit_and_letters() {
        let all = LETTERS
            .iter()
            .fold(VmFlag::empty(), |sum, (_, flag)| sum | *flag);
        assert_eq!(all, VmFlag::all());
        assert_eq!(all.bits().count_ones() as usize, LETTERS.len());
        let text = LETTERS
            .iter()
            .map(|(letters, _)| *letters)
            .collect::<Vec<_>>();
        assert_eq!(
            VmFlags::parse(text.join(" ").as_bytes()).known,
            VmFlag::all()
        );
    }
}
