//! Control groups for people: what each is charged, by the four kinds, and its limits.

use crate::table::{Align, Cell, Table, paragraph};
use crate::terminal::Terminal;
use plimsoll_ledger::look::Group;
use plimsoll_units::Bytes;

/// The table of groups, each below its parent.
pub(super) fn view(groups: &[Group], explain: bool, terminal: &Terminal) -> String {
    if groups.is_empty() {
        return "No control group with a memory controller was seen.\n".to_owned();
    }
    let versions = Versions::of(groups);
    let mut table = Table::new(&[
        ("CHARGED", Align::Right),
        ("USER", Align::Right),
        ("KERNEL", Align::Right),
        ("CACHE", Align::Right),
        ("DENTRIES", Align::Right),
        ("RAM LIMIT", Align::Right),
        ("SWAP LIMIT", Align::Right),
        ("UNOWNED", Align::Right),
        (versions.title(), Align::Left),
    ]);
    for group in groups {
        table.row(row(group, versions));
        if let Some(dying) = group.dying_children.filter(|&dying| dying > 0) {
            table.note(format!(
                "{dying} removed groups still hold memory that is charged here"
            ));
        }
    }
    let mut text = table.render(terminal, 1);
    if explain {
        text.push_str(&paragraph(WORDS, terminal));
    }
    text
}

const WORDS: &str = "\
USER      heaps, stacks and shared memory of its processes
KERNEL    page tables, stacks, sockets, pipes and other kernel memory on its behalf
CACHE     file contents that it was the first to read or write; dropped when memory is wanted
DENTRIES  names and inodes of files, and other slab that can be taken back
UNOWNED   charged to it, but no process in it or below holds it
A group's figures include those of all groups below it.
";

/// Which versions of cgroups the rows are of: where it is one, the title says it once for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Versions {
    V1,
    V2,
    Both,
}

impl Versions {
    fn of(groups: &[Group]) -> Self {
        if groups.iter().all(|group| group.version == 1) {
            Self::V1
        } else if groups.iter().all(|group| group.version == 2) {
            Self::V2
        } else {
            Self::Both
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::V1 => "GROUP (cgroup v1)",
            Self::V2 => "GROUP (cgroup v2)",
            Self::Both => "GROUP",
        }
    }
}

fn row(group: &Group, versions: Versions) -> [Cell; 9] {
    [
        known(group.current_bytes),
        known(group.user_bytes),
        known(group.kernel_bytes),
        known(group.page_cache_bytes),
        known(group.dentry_inode_bytes),
        limit(group.ram_limit_bytes),
        limit(group.swap_limit_bytes),
        known(group.unowned_bytes),
        if group.version == 1 && versions == Versions::Both {
            format!("{} (v1)", group.path)
        } else {
            group.path.clone()
        }
        .into(),
    ]
}

fn known(bytes: Option<Bytes>) -> Cell {
    bytes.map_or_else(|| "-".into(), Cell::from)
}

fn limit(bytes: Option<Bytes>) -> Cell {
    bytes.map_or_else(|| "none".into(), Cell::from)
}
