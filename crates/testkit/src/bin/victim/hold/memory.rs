//! Victims that fill pages of their own: files, anonymous, secret and shared memory.

use super::{Held, Part, corrupt};
use plimsoll_sys::{playground, secretmem::Area, sysv_shm::Segment};
use plimsoll_testkit::puppet::heaps;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use tempfile::TempDir;

const MIB: usize = 1 << 20;
const FILL: u8 = 0xa5;

/// A file in a directory that goes with it.
struct Filled {
    file: File,
    bytes: u64,
    _dir: TempDir,
}

impl Filled {
    fn new(parent: &Path, mib: u32) -> io::Result<Self> {
        let dir = tempfile::tempdir_in(parent)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(dir.path().join("filled"))?;
        let block = vec![FILL; MIB];
        for _ in 0..mib {
            file.write_all(&block)?;
        }
        file.sync_all()?;
        Ok(Self {
            file,
            bytes: u64::from(mib) * MIB as u64,
            _dir: dir,
        })
    }
}

impl Held for Filled {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn verify(&self) -> io::Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        let mut first = [0];
        file.read_exact(&mut first)?;
        let whole = file.metadata()?.len() == self.bytes;
        (whole && first == [FILL])
            .then_some(())
            .ok_or_else(|| corrupt("the file"))
    }
}

/// 2 GiB written to a file on disk, and on disk.
pub(crate) fn page_cache(part: Part) -> io::Result<Box<dyn Held>> {
    let filled = Filled::new(&std::env::temp_dir(), part.of(2048))?;
    Ok(Box::new(filled))
}

/// 1 GiB in a file on a tmpfs.
pub(crate) fn tmpfs(part: Part) -> io::Result<Box<dyn Held>> {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    let shm = Path::new("/dev/shm");
    if rustix::fs::statfs(shm)?.f_type != TMPFS_MAGIC {
        return Err(io::Error::other("/dev/shm is no tmpfs"));
    }
    Ok(Box::new(Filled::new(shm, part.of(1024))?))
}

/// Anonymous memory.
struct Anon(Vec<u8>);

impl Held for Anon {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn verify(&self) -> io::Result<()> {
        all(FILL, &self.0)
            .then_some(())
            .ok_or_else(|| corrupt("anonymous memory"))
    }
}

/// 2 GiB of anonymous memory.
pub(crate) fn anon(part: Part) -> io::Result<Box<dyn Held>> {
    Ok(Box::new(Anon(vec![FILL; mib(part.of(2048))])))
}

impl Held for Area {
    fn bytes(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn verify(&self) -> io::Result<()> {
        all(FILL, self.bytes())
            .then_some(())
            .ok_or_else(|| corrupt("secret memory"))
    }
}

/// 256 MiB that the kernel does not map.
pub(crate) fn secretmem(part: Part) -> io::Result<Box<dyn Held>> {
    let mut area = Area::new(mib(part.of(256)))?;
    area.bytes_mut().fill(FILL);
    Ok(Box::new(area))
}

/// A segment that nobody is attached to; removed in the end.
struct Orphan {
    segment: Segment,
    bytes: u64,
}

impl Held for Orphan {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Err(error) = self.segment.remove() {
            eprintln!(
                "cannot remove SysV segment {}: {error}",
                self.segment.shmid()
            );
        }
    }
}

/// 512 MiB in a System V segment that was filled and left.
pub(crate) fn sysv_orphan(part: Part) -> io::Result<Box<dyn Held>> {
    let size = mib(part.of(512));
    let orphan = Orphan {
        segment: Segment::create(size)?,
        bytes: size as u64,
    };
    orphan.segment.fill(FILL)?;
    Ok(Box::new(orphan))
}

/// Memory of threads that sleep until the process ends.
struct Arenas(u64);

impl Held for Arenas {
    fn bytes(&self) -> u64 {
        self.0
    }
}

/// 2000 MiB in the arenas that glibc makes for eight threads.
pub(crate) fn arenas(part: Part) -> io::Result<Box<dyn Held>> {
    const THREADS: u32 = 8;
    let each = part.of(250);
    heaps::obey(&format!("fill {THREADS} {each}"))?;
    Ok(Box::new(Arenas(mib(THREADS * each) as u64)))
}

/// A process and its children, who have changed nothing of what they inherited.
struct Family {
    inherited: Vec<u8>,
    children: Vec<Pid>,
}

impl Held for Family {
    fn bytes(&self) -> u64 {
        (self.inherited.len() * (self.children.len() + 1)) as u64
    }

    fn verify(&self) -> io::Result<()> {
        let whole = all(FILL, &self.inherited);
        whole
            .then_some(())
            .ok_or_else(|| corrupt("what was inherited"))
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        for child in &self.children {
            let _ = kill_process(*child, Signal::KILL);
            let _ = waitpid(Some(*child), WaitOptions::empty());
        }
    }
}

/// 96 MiB that nine processes have in common since a fork: in RSS it is 864 MiB.
pub(crate) fn relatives(part: Part) -> io::Result<Box<dyn Held>> {
    let inherited = vec![FILL; 96 * MIB];
    let sleeps = || loop {
        std::thread::park();
    };
    let children = (0..part.of(8)).map(|_| playground::child(sleeps));
    Ok(Box::new(Family {
        children: children.collect::<io::Result<_>>()?,
        inherited,
    }))
}

fn mib(count: u32) -> usize {
    count as usize * MIB
}

/// Compared block by block, which is fast without optimisation too.
fn all(byte: u8, of: &[u8]) -> bool {
    let block = vec![byte; MIB];
    of.chunks(MIB).all(|chunk| block.starts_with(chunk))
}
