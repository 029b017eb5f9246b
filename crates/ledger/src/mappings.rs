//! What one process maps, added up by what the mappings are: for a look at a single process.

use plimsoll_proc::process::map_name::MapName;
use plimsoll_proc::process::smaps::Smap;
use plimsoll_proc::text::printable;
use plimsoll_units::Bytes;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::HashMap;

/// All mappings of one kind, or of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What they are, or the file's path.
    pub name: String,
    /// How many.
    pub count: u64,
    /// What they span.
    pub size_bytes: Bytes,
    /// What of it is in RAM.
    pub rss_bytes: Bytes,
    /// The process's share of that.
    pub pss_bytes: Bytes,
    /// Private copies and memory without a file.
    pub anon_bytes: Bytes,
    /// Swapped out.
    pub swap_bytes: Bytes,
}

/// The parts as far as they have been added up.
#[derive(Debug, Default)]
pub struct Parts(HashMap<String, Part>);

impl Parts {
    /// Adds a mapping.
    pub fn take(&mut self, smap: &Smap<'_>) {
        let name = kind(smap);
        let part = self.0.entry(name).or_default();
        part.count = part.count.saturating_add(1);
        part.size_bytes += smap.mapping.size();
        part.rss_bytes += smap.usage.rss;
        part.pss_bytes += smap.usage.pss;
        part.anon_bytes += smap.usage.anonymous;
        part.swap_bytes += smap.usage.swap;
    }

    /// The parts, those first that hold most.
    #[must_use]
    pub fn biggest_first(self) -> Vec<Part> {
        let named = |(name, part)| Part { name, ..part };
        let mut parts: Vec<_> = self.0.into_iter().map(named).collect();
        parts.sort_by(|one, two| {
            let key = |part: &Part| Reverse((part.rss_bytes + part.swap_bytes, part.size_bytes));
            (key(one), &one.name).cmp(&(key(two), &two.name))
        });
        parts
    }
}

fn kind(smap: &Smap<'_>) -> String {
    match smap.mapping.name() {
        MapName::Anonymous => "anonymous".to_owned(),
        MapName::Heap => "heap (brk)".to_owned(),
        MapName::Stack => "stack of the main thread".to_owned(),
        MapName::SharedAnonymous => "shared anonymous".to_owned(),
        MapName::AnonNamed(name) => format!("anonymous, named {}", printable(name)),
        MapName::Memfd(name) => format!("memfd {}", printable(name)),
        MapName::SysV { key } => format!("SysV segment, key {key:#x}"),
        MapName::SecretMem => "secret memory".to_owned(),
        MapName::File { path, deleted } => {
            let mark = if deleted { " (deleted)" } else { "" };
            format!("{}{mark}", printable(path))
        }
        _ => printable(smap.mapping.raw_name).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_proc::process::smaps;

    #[test]
    fn mappings_of_one_file_are_one_part_and_the_fullest_stands_first() {
        let smap = |range: &str, name: &str, rss: u64| {
            format!(
                "{range} rw-p 00000000 00:00 0    {name}\nSize: 8 kB\nRss: {rss} kB\nPss: 1 kB\nAnonymous: 4 kB\nSwap: 1 kB\n"
            )
        };
        let text = smap("1000-3000", "/lib/a", 4)
            + &smap("3000-5000", "/lib/a", 4)
            + &smap("7000-9000", "", 7);
        let mut parts = Parts::default();
        for smap in smaps::parse(text.as_bytes()) {
            parts.take(&smap.unwrap());
        }
        let parts = parts.biggest_first();
        let shown: Vec<_> = parts
            .iter()
            .map(|part| (part.name.as_str(), part.count, part.rss_bytes.0 >> 10))
            .collect();
        assert_eq!(shown, [("/lib/a", 2, 8), ("anonymous", 1, 7)]);
        assert_eq!(parts[0].size_bytes, Bytes::from_kib(16));
        assert_eq!(
            (parts[0].anon_bytes, parts[0].swap_bytes),
            (Bytes::from_kib(8), Bytes::from_kib(2))
        );
    }
}
