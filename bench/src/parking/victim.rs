//! A program with a lot of memory that answers at a pipe, and checks itself as it does.
//!
//! A quarter of its memory is random, a quarter zeros, half text, in turns of 1 MiB. To answer it touches what a
//! program would: 64 KiB of its stack, 64 pages that it always touches, one that it never touched before.

use anyhow::{Context, Result, bail, ensure};
use plimsoll_testkit::OwnGroup;
use plimsoll_units::Bytes;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What it is asked.
const ANSWER: u8 = b'a';
const TOUCH_ALL: u8 = b't';
const REWRITE_ALL: u8 = b'w';
/// What it says.
const READY: u8 = b'r';
const RIGHT: u8 = b'+';
const WRONG: u8 = b'-';

const HOT_PAGES: usize = 64;
const PAGE: usize = 4096;
const TURN: usize = 1 << 20;

/// The victim's own program: never returns while it is asked.
pub fn act(size: usize, dir: &Path) -> Result<()> {
    let mut asked = open(&dir.join("in"))?;
    let mut says = open(&dir.join("out"))?;
    let mut memory = fill(size);
    let mut numbers = Numbers(88_172_645_463_325_252);
    let pages = memory.len() / PAGE;
    let hot: Vec<usize> = (0..HOT_PAGES).map(|_| numbers.below(pages)).collect();
    let sum = |memory: &[u8]| hot.iter().fold(0, |sum, page| sum ^ word(memory, *page));
    let (right, all_right) = (sum(&memory), all(&memory));
    says.write_all(&[READY])?;
    says.write_all(&std::process::id().to_ne_bytes())?;
    loop {
        let mut question = [0];
        asked.read_exact(&mut question)?;
        let fine = match question {
            [ANSWER] => {
                black_box(stack(16));
                black_box(word(&memory, numbers.below(pages)));
                sum(&memory) == right
            }
            [TOUCH_ALL] => all(&memory) == all_right,
            [REWRITE_ALL] => {
                for byte in memory.iter_mut().step_by(PAGE) {
                    *byte = black_box(*byte);
                }
                true
            }
            _ => bail!("asked something else"),
        };
        says.write_all(&[if fine { RIGHT } else { WRONG }])?;
    }
}

/// A pipe with a name, which neither end closes on the other.
fn open(path: &Path) -> Result<File> {
    let both = File::options().read(true).write(true).open(path);
    both.with_context(|| format!("opening {}", path.display()))
}

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 1).unwrap_or(0) % limit.max(1)
    }
}

fn fill(size: usize) -> Vec<u8> {
    let mut memory = vec![0; size];
    let mut numbers = Numbers(4711);
    for (number, turn) in memory.chunks_mut(TURN).enumerate() {
        match number % 4 {
            0 => {
                for word in turn.as_chunks_mut().0 {
                    *word = numbers.next().to_ne_bytes();
                }
            }
            1 => turn.fill(black_box(0)), // written, so that the pages are there
            _ => write(turn, number),
        }
    }
    memory
}

/// What a program that talks about its work might hold.
fn write(turn: &mut [u8], number: usize) {
    let mut rest = turn;
    for line in 0u32.. {
        let text = format!(
            "{number:06} step {line:05}: read the request, looked up the customer and the last \
             order, wrote the answer and closed the connection after {} ms\n",
            line * 7 % 83
        );
        let written = (&mut rest).write(text.as_bytes()).unwrap_or(0); // as much as there is room for
        if written == 0 {
            return;
        }
    }
}

fn word(memory: &[u8], page: usize) -> u64 {
    let word = memory.get(page * PAGE + 64..).and_then(<[u8]>::first_chunk);
    word.map_or(0, |word| u64::from_ne_bytes(*word))
}

fn all(memory: &[u8]) -> u64 {
    let pages = 0..memory.len() / PAGE;
    pages.fold(0, |sum, page| sum.rotate_left(1) ^ word(memory, page))
}

/// So many pages of stack.
fn stack(pages: u32) -> u8 {
    let page = black_box([1u8; PAGE]);
    let below = if pages > 0 { stack(pages - 1) } else { 0 };
    page[0].wrapping_add(below)
}

/// A victim, seen from outside.
pub struct Victim {
    pid: u32,
    asks: File,
    hears: File,
    group: OwnGroup,
    dir: PathBuf,
}

impl Victim {
    /// Starts one in a group of its own, and waits until its memory is filled. It is a child of nobody's but the
    /// bench's, which must be a subreaper.
    pub fn start(dir: &Path, size: Bytes) -> Result<Self> {
        let dir = dir.join("victim");
        fs::create_dir(&dir)?;
        for name in ["in", "out"] {
            run_mkfifo(&dir.join(name))?;
        }
        let (asks, mut hears) = (open(&dir.join("in"))?, open(&dir.join("out"))?);
        let group = OwnGroup::v1("memory", "parking").or_else(|_| OwnGroup::v2("parking"))?;
        let program = std::env::current_exe()?;
        let script = format!(
            "exec setsid {} --victim {} {} </dev/null >/dev/null",
            program.display(),
            size.get(),
            dir.display()
        );
        let mut shell = group.shell(&script)?;
        shell.wait()?; // setsid(1) forks
        let mut told = [0; 5];
        hears.read_exact(&mut told)?;
        let [READY, pid @ ..] = told else {
            bail!("the victim did not get ready");
        };
        Ok(Self {
            pid: u32::from_ne_bytes(pid),
            asks,
            hears,
            group,
            dir,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks, without waiting.
    pub fn ask(&mut self) -> Result<()> {
        Ok(self.asks.write_all(&[ANSWER])?)
    }

    /// Waits for what it says.
    pub fn hear(&mut self) -> Result<()> {
        let mut said = [0];
        self.hears.read_exact(&mut said)?;
        ensure!(said == [RIGHT], "the victim's memory has changed");
        Ok(())
    }

    /// Has it touch all of its memory; how long that took.
    pub fn touch_all(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.asks.write_all(&[TOUCH_ALL])?;
        self.hear()?;
        Ok(begun.elapsed())
    }

    /// Has it write to all of its pages: what is in swap of them from before is of no use any more.
    pub fn rewrite_all(&mut self) -> Result<()> {
        self.asks.write_all(&[REWRITE_ALL])?;
        self.hear()
    }

    /// Has the kernel write what it has not yet written, to the disk of `dir` and to swap, and give up what it keeps of
    /// the victim's pages and of files: what comes back comes from where it was put. How long that took.
    pub fn settle(&self, dir: &Path) -> Result<Duration> {
        let begun = Instant::now();
        rustix::fs::syncfs(File::open(dir)?)?;
        let v1 = self.group.set("memory.force_empty", "0");
        let _ = v1.or_else(|_| self.group.set("memory.reclaim", "64G")); // EAGAIN: not all that was asked
        fs::write("/proc/sys/vm/drop_caches", "1")?;
        Ok(begun.elapsed())
    }

    /// Waits until it is dead, and no more than dead.
    pub fn reap(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid)?);
        let _ = waitpid(pid, WaitOptions::empty()); // another's child, after a restore
        Ok(())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn run_mkfifo(path: &Path) -> Result<()> {
    super::undo::run("mkfifo", &[path.as_os_str()]).map(drop)
}
