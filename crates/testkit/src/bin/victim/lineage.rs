//! Memory that is inherited, generation after generation, and checked by every heir: each child forks the next before it
//! has touched anything, then reads all, writes some, and checks again what nobody else may have changed.

use crate::memory::word;
use plimsoll_sys::playground::{Map, in_a_child};

/// Words of a page, as this victim counts.
const PAGE: usize = 512;
const PAGES: usize = 6 << 10;

/// What is inherited, and what it should be: twice the same words, which do not pack.
struct Legacy {
    map: Map,
    should_be: Vec<u64>,
}

/// Forks a line of so many heirs each time.
pub(crate) fn lineage(generations: usize) -> Result<impl FnMut() -> Result<(), String>, String> {
    let mut legacy = Legacy {
        map: Map::new(PAGES * PAGE).map_err(|error| error.to_string())?,
        should_be: (0..PAGES * PAGE).map(|index| word(2, index)).collect(),
    };
    legacy.map.words().copy_from_slice(&legacy.should_be);
    Ok(move || {
        crate::sleeps::nap();
        match legacy.descend(generations) {
            true => Ok(()),
            false => Err("an heir saw other memory".to_owned()),
        }
    })
}

impl Legacy {
    fn descend(&mut self, generations: usize) -> bool {
        let Some(below) = generations.checked_sub(1) else {
            return self.is_whole();
        };
        // One that forks on at once, and one that exits at once.
        let content = in_a_child(|| self.descend(below)).unwrap_or(false)
            && in_a_child(|| true).unwrap_or(false)
            && self.is_whole();
        // What an heir writes is its own.
        self.write(generations, !0);
        let changed = !self.is_whole();
        self.write(generations, 0);
        content && changed && self.is_whole()
    }

    fn write(&mut self, page: usize, change: u64) {
        let inherited = self.should_be.iter().skip(page * PAGE);
        let words = self.map.words().iter_mut().skip(page * PAGE).take(PAGE);
        for (word, inherited) in words.zip(inherited) {
            *word = inherited ^ change;
        }
    }

    fn is_whole(&mut self) -> bool {
        *self.map.words() == *self.should_be
    }
}
