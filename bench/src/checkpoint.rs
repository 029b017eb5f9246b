//! The victim of the bench `checkpoint`: memory that it fills, of which it writes as much a second as is asked, and a pulse that
//! notes how long it ever stood still.

use anyhow::{Context, Result, ensure};
use plimsoll_units::Bytes;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Between two beats.
const BEAT: Duration = Duration::from_micros(100);

/// The victim's own program: never returns. It goes round its memory, at `writes` bytes a second, and changes every page it passes.
pub fn act(size: usize, writes: u64, file: &Path) -> Result<()> {
    let page = rustix::param::page_size();
    let file = File::options().write(true).open(file)?;
    let mut memory = vec![0u8; size];
    let mut state = 88_172_645_463_325_252_u64;
    for word in memory.as_chunks_mut().0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *word = state.to_ne_bytes();
    }
    let mut longest = Duration::ZERO;
    let mut last = Instant::now();
    // Millionths of bytes that are to be written, and where.
    let (mut owed, mut at) = (0, 0);
    file.write_all_at(&1u64.to_ne_bytes(), 0)?;
    loop {
        std::thread::sleep(BEAT);
        let now = Instant::now();
        // What it did not write while it stood still is not made up for.
        let since = (now - last).min(10 * BEAT);
        owed += writes * u64::try_from(since.as_micros())?;
        while owed >= page as u64 * 1_000_000 {
            owed -= page as u64 * 1_000_000;
            if let Some(byte) = memory.get_mut(at) {
                *byte = byte.wrapping_add(1);
            }
            at = (at + page) % size.max(1);
        }
        black_box(&memory);
        if now - last > longest {
            longest = now - last;
            let nanoseconds = u64::try_from(longest.as_nanos())?;
            file.write_all_at(&nanoseconds.to_ne_bytes(), 0)?;
        }
        last = now;
    }
}

/// A victim, seen from outside; the bench must be a subreaper.
pub struct Victim {
    pid: Pid,
    file: PathBuf,
}

impl Victim {
    /// Starts one and waits until its memory is filled.
    pub fn start(dir: &Path, size: Bytes, writes: Bytes) -> Result<Self> {
        let file = dir.join("pulse");
        fs::write(&file, 0u64.to_ne_bytes())?;
        let child = Command::new("setsid")
            .arg(std::env::current_exe()?)
            .args(["--victim", &size.get().to_string()])
            .arg(writes.get().to_string())
            .arg(&file)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("it has a pid")?;
        let victim = Self { pid, file };
        while victim.longest()? == Duration::ZERO {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(victim)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// The longest time that it stood still.
    pub fn longest(&self) -> Result<Duration> {
        let mut bytes = [0; 8];
        File::open(&self.file)?.read_exact_at(&mut bytes, 0)?;
        Ok(Duration::from_nanos(u64::from_ne_bytes(bytes)))
    }

    /// Waits for the end of one that was ended, so that its pid is free.
    pub fn reap(&self) -> Result<()> {
        waitpid(Some(self.pid), WaitOptions::empty())?;
        Ok(())
    }

    /// Whether it runs.
    pub fn check(&self) -> Result<()> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        ensure!(
            !stat.contains(") Z ") && !stat.contains(") T "),
            "it does not run"
        );
        Ok(())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}
