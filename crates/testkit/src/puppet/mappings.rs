//! A puppet that makes mappings, one order a line:
//!
//! | order | |
//! | --- | --- |
//! | `map PROT WORD…` | 64 MiB; PROT `none`, `r`, `rw`; `private` or `shared`; of `anon`, `zero` (`/dev/zero`), `file`, `memfd`, `tmpfs`; `noreserve`, `growsdown`, `hugetlb` |
//! | `sysv [noreserve]` | a SysV segment of 64 MiB |
//! | `brk` | the heap grows by 64 MiB |
//! | `protect PROT`, `touch`, `sparse`, `dontneed` | the last mapping; `sparse` writes one page in 64 |
//! | `grow` | `mremap` to 128 MiB |
//! | `move`, `drop-source` | `MREMAP_DONTUNMAP`, and the emptied source unmapped |
//! | `over-half` | `MAP_FIXED`, without reserve, over its first half |
//! | `fork`, `fork-write` | a child that holds it, or has written to all of it |
//!
//! The answer is the mapping's range, as in `maps`.

use plimsoll_sys::region::{self, Region};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// Size of every mapping.
pub const SIZE: usize = 64 << 20;

/// The puppet's mappings.
#[derive(Debug, Default)]
pub struct Mappings {
    region: Option<Region>,
    source: Option<Region>,
}

impl Mappings {
    /// Carries out one order.
    ///
    /// # Errors
    /// Where the kernel refuses, or the order makes no sense.
    pub fn obey(&mut self, order: &str) -> io::Result<String> {
        let page = rustix::param::page_size();
        let words: Vec<&str> = order.split_whitespace().collect();
        match *words.as_slice() {
            ["map", prot, ref kinds @ ..] => self.region = Some(map(prot, kinds)?),
            ["sysv"] => self.region = Some(Region::sysv(SIZE, 0)?),
            ["sysv", "noreserve"] => {
                self.region = Some(Region::sysv(SIZE, libc::SHM_NORESERVE)?);
            }
            ["brk"] => return Ok(shown(&region::grow_heap(SIZE)?)),
            ["protect", prot] => self.last()?.protect(mprotect_flags(prot)?)?,
            ["touch"] => self.last()?.write_every(page),
            ["sparse"] => self.last()?.write_every(64 * page),
            ["dontneed"] => self.last()?.advise(Advice::LinuxDontNeed)?,
            ["grow"] => self.last()?.resize(2 * SIZE)?,
            ["move"] => {
                let moved = self.last()?.move_pages()?;
                self.source = self.region.replace(moved);
            }
            ["drop-source"] => self.source = None,
            ["over-half"] => {
                let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
                self.last()?
                    .replace_half(ProtFlags::READ | ProtFlags::WRITE, flags)?;
            }
            ["fork"] => _ = self.last()?.fork_holder(false, page)?,
            ["fork-write"] => _ = self.last()?.fork_holder(true, page)?,
            _ => return Err(io::Error::other("no such order")),
        }
        Ok(shown(&self.last()?.range()))
    }

    fn last(&mut self) -> io::Result<&mut Region> {
        let none = || io::Error::other("nothing is mapped");
        self.region.as_mut().ok_or_else(none)
    }
}

fn shown(range: &std::ops::Range<usize>) -> String {
    format!("{:x}-{:x}", range.start, range.end)
}

fn map(prot: &str, kinds: &[&str]) -> io::Result<Region> {
    let mut flags = MapFlags::empty();
    let mut file = None;
    for kind in kinds {
        match *kind {
            "private" => flags |= MapFlags::PRIVATE,
            "shared" => flags |= MapFlags::SHARED,
            "noreserve" => flags |= MapFlags::NORESERVE,
            "growsdown" => flags |= MapFlags::GROWSDOWN,
            "hugetlb" => flags |= MapFlags::HUGETLB,
            "anon" => {}
            "zero" => file = Some(File::options().read(true).write(true).open("/dev/zero")?),
            "file" => file = Some(unnamed_file(&std::env::temp_dir())?),
            "tmpfs" => file = Some(unnamed_file("/dev/shm".as_ref())?),
            "memfd" => file = Some(memfd()?),
            _ => return Err(io::Error::other(format!("no such kind: {kind}"))),
        }
    }
    let prot = ProtFlags::from_bits_truncate(mprotect_flags(prot)?.bits());
    Ok(Region::map(
        SIZE,
        prot,
        flags,
        file.as_ref().map(AsFd::as_fd),
    )?)
}

fn mprotect_flags(prot: &str) -> io::Result<MprotectFlags> {
    Ok(match prot {
        "none" => MprotectFlags::empty(),
        "r" => MprotectFlags::READ,
        "rw" => MprotectFlags::READ | MprotectFlags::WRITE,
        _ => return Err(io::Error::other(format!("no such protection: {prot}"))),
    })
}

fn unnamed_file(dir: &std::path::Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?;
    let file = File::from(file);
    file.set_len(SIZE as u64)?;
    Ok(file)
}

fn memfd() -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create("puppet", MemfdFlags::CLOEXEC)?);
    file.set_len(SIZE as u64)?;
    Ok(file)
}
