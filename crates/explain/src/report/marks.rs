//! Where in a log a report can begin: searched for in the whole, since nearly all of a log is of something else.

use memchr::memmem::Finder;

/// Every line that a report can begin with has one of these, also where a mail program broke it at a blank.
const WORDS: [&str; 9] = [
    "oom-kill",
    "oom_reaper",
    "allocation",
    "OOM",
    "Kill",
    "kill",
    "panic",
    "Mem-",
    "memory:",
];

/// The marks of a log, in order.
pub(super) struct Marks<'l> {
    log: &'l [u8],
    words: [Word; WORDS.len()],
}

struct Word {
    finder: Finder<'static>,
    /// Where it is next; the end of the log, where it does not come again.
    next: usize,
}

impl<'l> Marks<'l> {
    pub(super) fn new(log: &'l [u8]) -> Self {
        let words = WORDS.map(|word| Word {
            finder: Finder::new(word),
            next: 0,
        });
        let mut marks = Self { log, words };
        for word in &mut marks.words {
            word.seek(log, 0);
        }
        marks
    }

    /// The first mark from here on; the end of the log, where there is none.
    pub(super) fn next(&mut self, from: usize) -> usize {
        for word in self.words.iter_mut().filter(|word| word.next < from) {
            word.seek(self.log, from);
        }
        let nearest = self.words.iter().map(|word| word.next).min();
        nearest.unwrap_or(self.log.len())
    }
}

impl Word {
    fn seek(&mut self, log: &[u8], from: usize) {
        let found = log.get(from..).and_then(|rest| self.finder.find(rest));
        self.next = found.map_or(log.len(), |found| from + found);
    }
}
