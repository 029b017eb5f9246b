//! Work as it is on hosts of agents: many that hold memory and wait for somebody to say something, and one that builds.
//!
//! ```text
//! victim agent MIB       fills so much; answers each line of its standard input, having looked at all of its memory
//!                        when the line is `check`
//! victim ask IN OUT      writes a line into one pipe, waits for the answer in the other, prints the microseconds between
//! victim build MIB S     works and takes so much memory little by little, within so many seconds, and lets go of it
//! ```

use crate::{pulse, rounds};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// Half of each page is of a kind that packs, as the memory of programs does.
fn fill(memory: &mut Vec<u64>, mib: usize, seed: u64) {
    let begin = memory.len();
    let words = (begin..begin + mib * MIB / 8).map(|place| expected(place, seed));
    memory.extend(words);
}

fn expected(place: usize, seed: u64) -> u64 {
    let place = place as u64;
    if place % 512 < 256 {
        seed
    } else {
        place.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed
    }
}

fn is_whole(memory: &[u64], seed: u64) -> bool {
    memory
        .iter()
        .enumerate()
        .all(|(place, word)| *word == expected(place, seed))
}

/// Runs as one of them, if the word is one of theirs.
pub(crate) fn run(
    word: &str,
    arguments: &mut dyn Iterator<Item = String>,
) -> Option<Result<(), String>> {
    let mut number = |what| {
        let word = arguments
            .next()
            .ok_or_else(|| format!("how many {what}?"))?;
        word.parse::<u64>()
            .map_err(|error| format!("{word}: {error}"))
    };
    Some(match word {
        "agent" => number("MiB").and_then(|mib| agent(mib).map_err(|error| error.to_string())),
        "build" => number("MiB").and_then(|mib| build(mib, number("seconds")?)),
        "pulse" => number("seconds").and_then(pulse::pulse),
        "hog" => number("MiB").and_then(|mib| pulse::hog(mib, number("MiB a second")?)),
        "rounds" => number("MiB").and_then(|mib| {
            let dir = arguments.next();
            rounds::rounds(mib, dir.as_deref().map(Path::new))
        }),
        "ask" => {
            let (to, from) = (
                arguments.next().unwrap_or_default(),
                arguments.next().unwrap_or_default(),
            );
            ask(Path::new(&to), Path::new(&from)).map_err(|error| error.to_string())
        }
        _ => return None,
    })
}

fn agent(mib: u64) -> io::Result<()> {
    let seed = u64::from(std::process::id());
    let mut memory = Vec::new();
    fill(&mut memory, usize::try_from(mib).unwrap_or(0), seed);
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    for line in io::stdin().lines() {
        let whole = line? != "check" || is_whole(&memory, seed);
        writeln!(out, "{}", if whole { "whole" } else { "WRONG" })?;
    }
    Ok(())
}

fn ask(to: &Path, from: &Path) -> io::Result<()> {
    // Both ends, so that the order of opening does not matter.
    let mut to = OpenOptions::new().read(true).write(true).open(to)?;
    let mut from = BufReader::new(File::open(from)?);
    let mut answer = String::new();
    let begun = Instant::now();
    to.write_all(b"hello\n")?;
    from.read_line(&mut answer)?;
    println!("{} {}", begun.elapsed().as_micros(), answer.trim_end());
    Ok(())
}

fn build(mib: u64, seconds: u64) -> Result<(), String> {
    let step = Duration::from_millis(seconds.saturating_mul(1000) / mib.max(1));
    let mut memory = Vec::new();
    let begun = Instant::now();
    for taken in 1..=mib {
        fill(&mut memory, 1, 7);
        let due = step * u32::try_from(taken).unwrap_or(u32::MAX);
        while begun.elapsed() < due {
            std::hint::spin_loop();
        }
    }
    if is_whole(&memory, 7) {
        Ok(())
    } else {
        Err("the build's memory is wrong".to_owned())
    }
}
