//! The ways to get a process out of memory and back.

use super::disk;
use super::swap::SwapArea;
use super::victim::Victim;
use anyhow::{Context, Result, bail, ensure};
use plimsoll_proc::process::maps;
use plimsoll_sys::Span;
use plimsoll_sys::usage;
use plimsoll_sys::vm::{Advice, advise};
use plimsoll_units::Bytes;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A way.
pub enum Way {
    /// `plimsoll park --via store`.
    Store {
        /// Where stores go.
        stores: PathBuf,
    },
    /// `plimsoll park --via swap`.
    Swap(SwapArea),
    /// SIGSTOP, `process_madvise(2)`, SIGCONT: what there is without any tool.
    Bare(SwapArea, &'static str),
    /// CRIU: the process ends, another takes its place.
    Criu {
        /// Its binary.
        program: PathBuf,
        /// Where the images go: a directory that is not there yet.
        images: PathBuf,
        /// Whether pages come back by its pager, behind the process.
        lazy: bool,
    },
}

/// What getting out came to.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// Until the tool said that it was done.
    pub took: Duration,
    /// What the memory takes where it is now.
    pub stored: Bytes,
    /// The most memory that the tool itself took.
    pub peak: Bytes,
}

/// The tools that bring the victim back.
pub struct Returning(Vec<Child>);

impl Way {
    /// What it is called in the tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Store { .. } => "plimsoll, store",
            Self::Swap(_) => "plimsoll, swap file",
            Self::Bare(_, name) => name,
            Self::Criu { lazy: false, .. } => "CRIU",
            Self::Criu { lazy: true, .. } => "CRIU, lazy restore",
        }
    }

    /// Whether it takes a fresh victim each time.
    pub fn ends_the_victim(&self) -> bool {
        matches!(self, Self::Criu { .. })
    }

    /// Gets the victim out.
    pub fn out(&self, victim: &Victim) -> Result<Out> {
        let begun = Instant::now();
        let usage = match self {
            Self::Store { stores } => {
                let mut park = park(victim, "store");
                Some(park.arg("--store").arg(stores).spawn()?)
            }
            Self::Swap(_) => Some(park(victim, "swap").spawn()?),
            Self::Bare(..) => {
                kill_process(pid(victim)?, Signal::STOP)?;
                page_out(victim)?;
                None
            }
            Self::Criu {
                program, images, ..
            } => {
                fs::create_dir(images)?;
                Some(criu(program, "dump", images, victim).spawn()?)
            }
        };
        let usage = usage.map(|child| usage::wait(child.id())).transpose()?;
        let took = begun.elapsed();
        ensure!(
            usage.is_none_or(|usage| usage.succeeded),
            "{} failed to get it out",
            self.name()
        );
        let stored = match self {
            Self::Store { stores } => one_inside(stores)?,
            Self::Swap(area) | Self::Bare(area, _) => area.stored()?,
            Self::Criu { images, .. } => {
                victim.reap()?;
                disk::used(images)?
            }
        };
        Ok(Out {
            took,
            stored,
            peak: usage.map_or(Bytes::ZERO, |usage| usage.peak_rss),
        })
    }

    /// Runs the tool once for nothing, so that its own program is in memory.
    pub fn warm(&self) {
        let program = match self {
            Self::Criu { program, .. } => program.clone(),
            _ => plimsoll(),
        };
        let _ = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .status();
    }

    /// Begins to bring it back.
    pub fn back(&self, victim: &Victim) -> Result<Returning> {
        let mut tools = Vec::new();
        match self {
            Self::Store { .. } | Self::Swap(_) => {
                let mut resume = Command::new(plimsoll());
                resume.arg("resume").arg(victim.pid().to_string());
                tools.push(resume.stdout(Stdio::null()).spawn()?);
            }
            Self::Bare(..) => kill_process(pid(victim)?, Signal::CONT)?,
            Self::Criu {
                program,
                images,
                lazy,
            } => {
                let mut restore = criu(program, "restore", images, victim);
                if *lazy {
                    tools.push(lazy_pages(program, images)?);
                    restore.arg("--lazy-pages");
                }
                tools.push(restore.arg("--restore-detached").spawn()?);
            }
        }
        Ok(Returning(tools))
    }

    /// Clears away what it left on the disk.
    pub fn clear(&self) -> Result<()> {
        match self {
            Self::Criu { images, .. } if images.exists() => Ok(fs::remove_dir_all(images)?),
            _ => Ok(()),
        }
    }
}

impl Returning {
    /// Waits until the tools have done all they do.
    pub fn wait(self) -> Result<()> {
        for mut tool in self.0 {
            ensure!(tool.wait()?.success(), "it was not brought back");
        }
        Ok(())
    }
}

/// Beside this program: `cargo xtask bench` builds it first.
fn plimsoll() -> PathBuf {
    std::env::current_exe().map_or_else(
        |_| PathBuf::from("plimsoll"),
        |bench| bench.with_file_name("plimsoll"),
    )
}

fn park(victim: &Victim, means: &str) -> Command {
    let mut command = Command::new(plimsoll());
    command
        .args(["park", "--via", means])
        .arg(victim.pid().to_string())
        .stdout(Stdio::null());
    command
}

fn criu(program: &Path, verb: &str, images: &Path, victim: &Victim) -> Command {
    let mut command = Command::new(program);
    command.arg(verb).arg("--images-dir").arg(images);
    command.args([
        "--log-file",
        &format!("{verb}.log"),
        "--manage-cgroups=ignore",
    ]);
    if verb == "dump" {
        command.arg("--tree").arg(victim.pid().to_string());
    }
    // What it can't do here and does without is none of the figures.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Starts CRIU's pager, and waits until it listens.
fn lazy_pages(program: &Path, images: &Path) -> Result<Child> {
    let mut pager = Command::new(program);
    pager.arg("lazy-pages").arg("--images-dir").arg(images);
    let pager = pager
        .args(["--log-file", "lazy-pages.log"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    for _ in 0..1000 {
        if images.join("lazy-pages.socket").exists() {
            return Ok(pager);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("CRIU's pager does not listen")
}

fn pid(victim: &Victim) -> Result<Pid> {
    Pid::from_raw(i32::try_from(victim.pid())?).context("no process id")
}

fn page_out(victim: &Victim) -> Result<()> {
    let process = pidfd_open(pid(victim)?, PidfdFlags::empty())?;
    let text = fs::read(format!("/proc/{}/maps", victim.pid()))?;
    for mapping in maps::parse(&text).flatten() {
        let span = Span {
            start: mapping.start,
            end: mapping.end,
        };
        let _ = advise(&process, &[span], Advice::PageOut); // the kernel's own mappings can't go
    }
    Ok(())
}

/// What the one store in a directory takes.
fn one_inside(stores: &Path) -> Result<Bytes> {
    let store = fs::read_dir(stores)?.next().context("no store")??;
    disk::used(&store.path())
}
