//! Files that were deleted from a tmpfs and live on because a process has them open: no `ls` and no `du` shows them.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_proc::found::MemoryFileKind;
use plimsoll_units::Bytes;

pub(super) const RULE: Rule = Rule {
    id: "deleted-tmpfs-files",
    looks_for: "files deleted from a tmpfs that a process keeps in memory",
    find,
};

/// Databases and browsers share some tens of megabytes this way.
const LEAST: Bytes = Bytes::from_mib(64);

/// Of RAM.
const PERCENT: u64 = 1;

/// From here on it is memory that is missed: percent of RAM.
const GRAVE_PERCENT: u64 = 5;

/// So many files are named.
const NAMED: usize = 5;

fn find(scene: &Scene<'_>) -> Answer {
    let found = scene.now.found.as_ref().ok_or(NotSeen(
        "a look into the descriptors of all processes, which a recording does not hold",
    ))?;
    let deleted: Vec<_> = found
        .memory_files
        .iter()
        .filter(|file| file.kind == MemoryFileKind::Deleted)
        .collect();
    let bytes: Bytes = deleted.iter().map(|file| file.bytes).sum();
    let Some(biggest) = deleted
        .first()
        .filter(|_| bytes >= scene.percent_of_ram(PERCENT).max(LEAST))
    else {
        return Ok(Vec::new());
    };
    let evidence = deleted.iter().take(NAMED).map(|file| {
        let field = format!(
            "{} (deleted), open in {} (pid {})",
            file.name, file.command, file.pid
        );
        Evidence::bytes(&format!("/proc/{}/fd", file.pid), &field, file.bytes)
    });
    let grave = bytes >= scene.percent_of_ram(GRAVE_PERCENT);
    Ok(vec![Finding {
        id: RULE.id,
        severity: if grave { Severity::Warning } else { Severity::Note },
        title: format!("{bytes} are in files deleted from a tmpfs, most of it kept by {} (pid {}).", biggest.command, biggest.pid),
        bytes: Some(bytes),
        evidence: evidence.collect(),
        means: "Their names are gone, so ls and du don't show them, but their pages stay in RAM (or swap) until the last process that has them open closes them or ends.".to_owned(),
        remedies: vec![
            Remedy::command("See what else it has open", format!("ls -l /proc/{}/fd | grep deleted", biggest.pid)),
            Remedy::advice("Have the program close or reopen it (a log daemon: its signal for rotating logs), or restart it"),
        ],
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, host};
    use plimsoll_proc::found::MemoryFile;

    #[test]
    fn a_deleted_file_that_is_kept() {
        let with = |mib, kind| {
            let mut host = host();
            host.found.as_mut().unwrap().memory_files.push(MemoryFile {
                pid: 812,
                command: "logger".into(),
                name: "/run/old.log".into(),
                bytes: Bytes::from_mib(mib),
                kind,
                device: (0, 23),
                descriptors: 1,
            });
            findings(&RULE, &host)
        };
        let found = with(300, MemoryFileKind::Deleted);
        assert!(
            found[0].title.contains("logger (pid 812)"),
            "{}",
            found[0].title
        );
        assert_eq!(with(60, MemoryFileKind::Deleted), []);
        assert_eq!(with(300, MemoryFileKind::Memfd), []);
        assert_eq!(
            with(3000, MemoryFileKind::Deleted)[0].severity,
            Severity::Warning
        );
    }
}
