//! Memory of many contents that is read, written, moved, dropped, mapped anew, filled by the kernel and inherited, all
//! the while checked against a model.

use plimsoll_sys::playground::{Map, child, in_a_child};
use rustix::process::{WaitOptions, waitpid};
use std::fs::File;

const MAPS: usize = 24;
/// Words of a page, as this victim counts.
const PAGE: usize = 512;
const PAGES: usize = 512;

struct Checked {
    map: Map,
    /// By page, what it was filled with; 0: zeros.
    seeds: Vec<u64>,
}

pub(crate) fn word(seed: u64, index: usize) -> u64 {
    match seed % 4 {
        _ if seed == 0 => 0,
        0 => seed,
        1 => seed ^ (index as u64 % 16),
        _ => (seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
    }
}

impl Checked {
    fn new(seed: u64) -> Result<Self, String> {
        let mut checked = Self {
            map: Map::new(PAGES * PAGE).map_err(told)?,
            seeds: vec![0; PAGES],
        };
        // Some of it is never touched, some zero.
        checked.fill(0, PAGES * 3 / 4, seed);
        checked.fill(PAGES / 4, PAGES / 8, 0);
        Ok(checked)
    }

    fn fill(&mut self, first: usize, pages: usize, seed: u64) {
        for page in first..first + pages {
            let seed = if seed == 0 { 0 } else { seed + page as u64 + 1 };
            if let Some(place) = self.seeds.get_mut(page) {
                *place = seed;
            }
            let words = self.map.words().iter_mut().enumerate();
            for (index, place) in words.skip(page * PAGE).take(PAGE) {
                *place = word(seed, index);
            }
        }
    }

    fn forget(&mut self, first: usize, pages: usize) {
        for seed in self.seeds.iter_mut().skip(first).take(pages) {
            *seed = 0;
        }
    }

    fn check(&mut self) -> Result<(), String> {
        for (page, words) in self.map.words().chunks(PAGE).enumerate() {
            let seed = self.seeds.get(page).copied().unwrap_or_default();
            let wrong = words
                .iter()
                .zip(page * PAGE..)
                .find(|(is, index)| **is != word(seed, *index));
            if let Some((is, index)) = wrong {
                return Err(format!(
                    "word {index} is {is:#x} and should be {:#x}",
                    word(seed, index)
                ));
            }
        }
        Ok(())
    }
}

/// Does one thing to the memory each time, and checks all of it now and then.
pub(crate) fn memory() -> Result<impl FnMut() -> Result<(), String>, String> {
    let maps: Result<Vec<Checked>, String> =
        (0..MAPS as u64).map(|n| Checked::new(n * 77_777)).collect();
    let mut maps = maps?;
    let mut zeros = File::open("/dev/zero").map_err(told)?;
    let mut random = 0x1234_5678u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap_or_default()
    };
    Ok(move || {
        let (which, first, deed) = (next(MAPS), next(PAGES - 64), next(9));
        let pages = 1 + next(64);
        let seed = 1 + next(1 << 40) as u64;
        let Some(one) = maps.get_mut(which) else {
            return Ok(());
        };
        match deed {
            0 | 1 => one.fill(first, pages, seed),
            2 => {
                one.map
                    .drop_pages(first * PAGE, pages * PAGE)
                    .map_err(told)?;
                one.forget(first, pages);
            }
            3 => one.map.relocate().map_err(told)?,
            // Every third only: the others keep moving.
            4 if which % 3 == 0 => {
                one.map.replace(first * PAGE, pages * PAGE).map_err(told)?;
                one.forget(first, pages);
            }
            5 => {
                one.map
                    .read_from(&mut zeros, first * PAGE, pages * PAGE)
                    .map_err(told)?;
                one.forget(first, pages);
            }
            6 if next(8) == 0 => {
                let content =
                    in_a_child(|| maps.iter_mut().all(|map| map.check().is_ok())).map_err(told)?;
                if !content {
                    return Err("a child saw other memory".to_owned());
                }
            }
            _ => {}
        }
        if let Some(one) = maps.get_mut(next(MAPS)) {
            one.check()?;
        }
        crate::sleeps::nap();
        Ok(())
    })
}

/// Children that share memory with their parent since a fork. All of them check all of it, and each writes to a part.
pub(crate) fn family() -> Result<impl FnMut() -> Result<(), String>, String> {
    let maps: Result<Vec<Checked>, String> = (0..MAPS as u64 / 2)
        .map(|n| Checked::new(n * 77_777))
        .collect();
    let mut maps = maps?;
    let mut children = Vec::new();
    for number in 1..FAMILY {
        let child = child(|| work_on(&mut maps, number)).map_err(told)?;
        children.push(child);
    }
    let mut round = 0;
    Ok(move || {
        round += 1;
        work(&mut maps, 0, round)?;
        for child in &children {
            let ended = waitpid(Some(*child), WaitOptions::NOHANG);
            if let Some((_, status)) = ended.map_err(|errno| errno.to_string())? {
                return Err(format!("a child ended: {status:?}"));
            }
        }
        Ok(())
    })
}

/// A parent and its children.
const FAMILY: u64 = 4;

fn work_on(maps: &mut [Checked], number: u64) -> bool {
    for round in 0.. {
        if let Err(error) = work(maps, number, round) {
            eprintln!("victim: child {number}: {error}");
            return false;
        }
    }
    true
}

/// Writes to a few pages of the one map that is this process's to write to, and checks all.
fn work(maps: &mut [Checked], number: u64, round: u64) -> Result<(), String> {
    let own = usize::try_from(number).unwrap_or_default();
    if let Some(map) = maps.get_mut(own) {
        let first = usize::try_from(round % 100).unwrap_or_default();
        map.fill(first, 3, round * FAMILY + number);
    }
    for map in maps.iter_mut() {
        map.check()?;
    }
    crate::sleeps::nap();
    Ok(())
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(error: std::io::Error) -> String {
    error.to_string()
}
