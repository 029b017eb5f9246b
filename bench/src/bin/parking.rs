//! Parking beside what there was before: how long until the command is done and until the memory is free (all written,
//! nothing kept), until the first answer, until the victim has touched all and until all is back.
//!
//! Ways that need what the machine lacks are named and left out: `PLIMSOLL_CRIU` is the path of a CRIU,
//! `PLIMSOLL_BENCH_SIZES` (256M,1G,8G) and `PLIMSOLL_BENCH_ROUNDS` (20) make a run shorter,
//! `PLIMSOLL_BENCH_DISK=own` or `slow` takes one disk only. As root, on a machine without swap: it makes some for
//! the run, and removes it.

use anyhow::{Context, Result};
use plimsoll_bench::parking::disk::Disk;
use plimsoll_bench::parking::swap::SwapArea;
use plimsoll_bench::parking::victim::{self, Victim};
use plimsoll_bench::parking::way::Way;
use plimsoll_bench::sizes::sizes;
use plimsoll_bench::timing::{Spread, print_machine};
use plimsoll_units::Bytes;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the slow disk reads and writes in a second.
const SLOW: Bytes = Bytes(200_000_000);
/// CRIU needs a new victim for each round, and answers no sooner in one than in another.
const MOST_CRIU_ROUNDS: usize = 3;
/// Above this the figures are of seconds, and a few rounds will do.
const LARGE: Bytes = Bytes(4 << 30);
const LARGE_ROUNDS: usize = 3;

/// What one way came to on one victim.
struct Row {
    name: &'static str,
    out: Vec<Duration>,
    settled: Vec<Duration>,
    first: Vec<Duration>,
    touched: Vec<Duration>,
    back: Vec<Duration>,
    stored: Bytes,
    peak: Bytes,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, verb, size, dir] = arguments.as_slice()
        && verb == "--victim"
    {
        return victim::act(size.parse()?, Path::new(dir));
    }
    print_machine();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let rounds = std::env::var("PLIMSOLL_BENCH_ROUNDS").map_or(Ok(20), |text| text.parse())?;
    let only = std::env::var("PLIMSOLL_BENCH_DISK").unwrap_or_default();
    for size in sizes("256M,1G,8G")? {
        if only != "slow" {
            let disk = Disk::own()?;
            measure(&disk, "the machine's disk", size, rounds, true)?;
        }
        if only != "own" {
            // Room for a swap file, or a store with what it sets aside.
            match Disk::slow(Bytes(size.get() / 4 * 5 + (512 << 20)), SLOW) {
                Ok(disk) => measure(&disk, "a disk of 200 MB/s", size, rounds.min(3), false)?,
                Err(error) => println!("left out: a slow disk can't be made: {error:#}"),
            }
        }
    }
    Ok(())
}

fn measure(disk: &Disk, which: &str, size: Bytes, rounds: usize, zram: bool) -> Result<()> {
    let rounds = if size >= LARGE {
        rounds.min(LARGE_ROUNDS)
    } else {
        rounds
    };
    let mut rows = Vec::new();
    let mut in_memory = Duration::ZERO;
    for way in WAYS {
        if way == "bare, zram" && !zram {
            continue;
        }
        let made = make(way, disk.dir(), size);
        let outcome = made.and_then(|way| go(&way, disk.dir(), size, rounds));
        match outcome {
            Ok((row, warm)) => {
                in_memory = warm;
                rows.push(row);
            }
            Err(error) => println!("left out: {way}: {error:#}"),
        }
    }
    println!(
        "\n{size} on {which}, up to {rounds} rounds; all of it touched while in memory: {:.0?}\n",
        in_memory
    );
    print(&rows)
}

/// The first is the one that the others are compared with.
const WAYS: [&str; 6] = [
    "bare, swap file",
    "bare, zram",
    "plimsoll, store",
    "plimsoll, swap file",
    "CRIU",
    "CRIU, lazy restore",
];

fn make(way: &str, dir: &Path, size: Bytes) -> Result<Way> {
    let room = Bytes(size.get() / 8 * 9 + (64 << 20));
    Ok(match way {
        "plimsoll, store" => Way::Store {
            stores: dir.join("stores"),
        },
        "plimsoll, swap file" => Way::Swap(SwapArea::file(dir, room)?),
        "bare, swap file" => Way::Bare(SwapArea::file(dir, room)?, "bare, swap file"),
        "bare, zram" => Way::Bare(SwapArea::zram(room)?, "bare, zram"),
        _ => Way::Criu {
            program: std::env::var_os("PLIMSOLL_CRIU")
                .map(PathBuf::from)
                .context("PLIMSOLL_CRIU names none")?,
            images: dir.join("images"),
            lazy: way != "CRIU",
        },
    })
}

/// All rounds of one way; and how long the victim takes to touch its memory while it is there.
fn go(way: &Way, dir: &Path, size: Bytes, rounds: usize) -> Result<(Row, Duration)> {
    let mut row = Row {
        name: way.name(),
        out: Vec::new(),
        settled: Vec::new(),
        first: Vec::new(),
        touched: Vec::new(),
        back: Vec::new(),
        stored: Bytes::ZERO,
        peak: Bytes::ZERO,
    };
    let mut victim = Victim::start(dir, size)?;
    let warm = victim.touch_all()?;
    let rounds = if way.ends_the_victim() {
        rounds.min(MOST_CRIU_ROUNDS)
    } else {
        rounds
    };
    for round in 0..rounds {
        if round > 0 && way.ends_the_victim() {
            drop(victim);
            victim = Victim::start(dir, size)?;
        }
        victim.rewrite_all()?;
        let out = way.out(&victim)?;
        row.out.push(out.took);
        row.stored = row.stored.max(out.stored);
        row.peak = row.peak.max(out.peak);
        row.settled.push(out.took + victim.settle(dir)?);
        way.warm();
        victim.ask()?;
        let begun = Instant::now();
        let returning = way.back(&victim)?;
        victim.hear()?;
        row.first.push(begun.elapsed());
        victim.touch_all()?;
        row.touched.push(begun.elapsed());
        returning.wait()?;
        row.back.push(begun.elapsed());
        way.clear()?;
    }
    Ok((row, warm))
}

/// Each figure with its ratio to the first row's: above 1 it is worse.
fn print(rows: &[Row]) -> Result<()> {
    println!(
        "| way | command | memory free | first answer p50 | p99 | all touched | all back | stored | tool's peak |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let median = |times: &Vec<Duration>| -> Result<Duration> {
        Ok(Spread::of(times.clone())
            .context("nothing measured")?
            .percentile(50))
    };
    let Some(base) = rows.first() else {
        return Ok(());
    };
    for row in rows {
        let beside = |figure: Duration, base: Duration| {
            format!(
                "{figure:.1?} ({:.2})",
                figure.as_secs_f64() / base.as_secs_f64()
            )
        };
        let first = Spread::of(row.first.clone()).context("nothing measured")?;
        println!(
            "| {} | {} | {} | {} | {:.1?} | {} | {:.1?} | {} ({:.2}) | {} |",
            row.name,
            beside(median(&row.out)?, median(&base.out)?),
            beside(median(&row.settled)?, median(&base.settled)?),
            beside(first.percentile(50), median(&base.first)?),
            first.percentile(99),
            beside(median(&row.touched)?, median(&base.touched)?),
            median(&row.back)?,
            row.stored,
            row.stored.get() as f64 / base.stored.get().max(1) as f64,
            row.peak,
        );
    }
    println!(
        "\nIn brackets: beside the {}, less is better. Asked: command at most 1, and a third of CRIU's; first answer at \
         most 15 ms at p99; all back at most 1.3; stored at most 0.4",
        base.name
    );
    Ok(())
}
