//! Checkpoint and restore beside CRIU, on tmpfs and on disk: how long the command takes, how long the process stood still (it
//! notes that itself), what was written, how long until it is restored.
//!
//! `PLIMSOLL_CRIU` is the path of a CRIU, `PLIMSOLL_BENCH_SIZES` (4M,256M,1G) and `PLIMSOLL_BENCH_ROUNDS` (5) make a run
//! longer or shorter; `PLIMSOLL_BENCH_WRITES` is how much of its memory the process writes in a second (nothing). As root. Neither tool's log is looked at; ours makes its images durable, CRIU does not.

use anyhow::{Context, Result, ensure};
use plimsoll_bench::checkpoint::{self, Victim};
use plimsoll_bench::parking::disk::used;
use plimsoll_bench::sizes::{size, sizes};
use plimsoll_bench::timing::{Spread, print_machine};
use plimsoll_sys::usage;
use plimsoll_units::Bytes;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What takes the figures.
enum Tool {
    Plimsoll(PathBuf),
    Criu(PathBuf),
}

/// What one tool came to.
#[derive(Default)]
struct Row {
    running: Vec<Duration>,
    /// Processor time of the same.
    cpu: Vec<Duration>,
    still: Vec<Duration>,
    ended: Vec<Duration>,
    restored: Vec<Duration>,
    written: Bytes,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, verb, size, writes, file] = arguments.as_slice()
        && verb == "--victim"
    {
        return checkpoint::act(size.parse()?, writes.parse()?, Path::new(file));
    }
    print_machine();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let rounds = std::env::var("PLIMSOLL_BENCH_ROUNDS").map_or(Ok(5), |text| text.parse())?;
    let ours = std::env::current_exe()?.with_file_name("plimsoll");
    let mut tools = vec![Tool::Plimsoll(ours)];
    match std::env::var_os("PLIMSOLL_CRIU") {
        Some(path) => tools.push(Tool::Criu(path.into())),
        None => println!("left out: CRIU: PLIMSOLL_CRIU names none"),
    }
    println!(
        "\nmedian (most) of {rounds}; asked: 4 MiB in a third of CRIU's time, 1 GiB still for half as long\n"
    );
    println!(
        "| memory | where | tool | checkpoint, runs on | stood still | processor time | checkpoint, ends | restore | written |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let writes =
        std::env::var("PLIMSOLL_BENCH_WRITES").map_or(Ok(Bytes::ZERO), |text| size(&text))?;
    for size in sizes("4M,256M,1G")? {
        for (place, name) in [("/dev/shm", "tmpfs"), ("/var/tmp", "disk")] {
            for tool in &tools {
                let dir = Path::new(place).join(format!("plimsoll-bench-{}", std::process::id()));
                fs::create_dir(&dir)?;
                let row = (0..rounds).try_fold(Row::default(), |row, _| {
                    round(tool, &dir, (size, writes), row)
                });
                fs::remove_dir_all(&dir)?;
                print(tool, name, size, row?);
            }
        }
    }
    Ok(())
}

/// One victim, checkpointed twice and restored.
fn round(tool: &Tool, dir: &Path, (size, writes): (Bytes, Bytes), mut row: Row) -> Result<Row> {
    let victim = Victim::start(dir, size, writes)?;
    let first = dir.join("first");
    let (took, cpu) = timed(tool, &first, tool.dump(&victim, &first, true))?;
    row.running.push(took);
    row.cpu.push(cpu);
    std::thread::sleep(Duration::from_millis(20)); // for the pulse
    row.still.push(victim.longest()?);
    row.written = used(&first)?;
    fs::remove_dir_all(&first)?;
    let second = dir.join("second");
    row.ended
        .push(timed(tool, &second, tool.dump(&victim, &second, false))?.0);
    victim.reap()?;
    row.restored
        .push(timed(tool, &second, tool.restore(&second))?.0);
    victim.check()?;
    fs::remove_dir_all(&second)?;
    Ok(row)
}

/// How long a command takes, and how much processor time.
fn timed(tool: &Tool, images: &Path, mut command: Command) -> Result<(Duration, Duration)> {
    if matches!(tool, Tool::Criu(_)) && !images.exists() {
        fs::create_dir(images)?;
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begun = Instant::now();
    let child = command.spawn().context("starting the tool")?;
    let usage = usage::wait(child.id())?;
    let took = begun.elapsed();
    ensure!(usage.succeeded, "{} failed: {command:?}", tool.name());
    Ok((took, usage.cpu))
}

impl Tool {
    fn name(&self) -> &'static str {
        match self {
            Self::Plimsoll(_) => "plimsoll",
            Self::Criu(_) => "CRIU",
        }
    }

    fn dump(&self, victim: &Victim, images: &Path, runs_on: bool) -> Command {
        let pid = victim.pid().to_string();
        match self {
            Self::Plimsoll(program) => {
                let mut command = Command::new(program);
                command.arg("checkpoint").arg(pid).arg(images);
                if runs_on {
                    command.arg("--leave-running");
                }
                command
            }
            Self::Criu(program) => {
                let mut command = criu(program, "dump", images);
                command.args(["--tree", &pid]);
                if runs_on {
                    command.arg("--leave-running");
                }
                command
            }
        }
    }

    fn restore(&self, images: &Path) -> Command {
        match self {
            Self::Plimsoll(program) => {
                let mut command = Command::new(program);
                command.arg("restore").arg("--detach").arg(images);
                command
            }
            Self::Criu(program) => {
                let mut command = criu(program, "restore", images);
                command.arg("--restore-detached");
                command
            }
        }
    }
}

fn criu(program: &Path, verb: &str, images: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(verb).arg("--images-dir").arg(images);
    command.args([
        "--log-file",
        &format!("{verb}.log"),
        "--manage-cgroups=ignore",
    ]);
    command
}

fn print(tool: &Tool, place: &str, size: Bytes, row: Row) {
    let told = |times: Vec<Duration>| {
        let spread = Spread::of(times);
        spread.map_or(String::new(), |spread| {
            let [median, most] =
                [50, 100].map(|percent| spread.percentile(percent).as_secs_f64() * 1e3);
            format!("{median:.1} ({most:.1}) ms")
        })
    };
    println!(
        "| {size} | {place} | {} | {} | {} | {} | {} | {} | {} |",
        tool.name(),
        told(row.running),
        told(row.still),
        told(row.cpu),
        told(row.ended),
        told(row.restored),
        row.written
    );
}
