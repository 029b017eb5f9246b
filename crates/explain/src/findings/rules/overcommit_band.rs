//! Strict overcommit that promises more than can be delivered: whoever set it to be rid of the OOM killer is not.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use crate::overcommit::{Place, overcommit};
use plimsoll_ledger::look::Policy;
use plimsoll_units::Bytes;

pub(super) const RULE: Rule = Rule {
    id: "overcommit-band",
    looks_for: "strict overcommit under which the OOM killer will still fire",
    find,
};

/// What a busy host's own memory moves by from one moment to the next: a smaller band may be none.
const LEAST: Bytes = Bytes::from_mib(16);

fn find(scene: &Scene<'_>) -> Answer {
    const NEEDS: NotSeen = NotSeen("the commit account, /proc/zoneinfo");
    let commit = scene.now.look.commit.as_ref().ok_or(NEEDS)?;
    if commit.policy != Policy::Strict {
        return Ok(Vec::new());
    }
    let states = overcommit(scene.now).ok_or(NEEDS)?;
    let band = Bytes(u64::try_from(states.band_bytes).unwrap_or(0));
    let Some(advice) = states.advice.filter(|_| band >= LEAST) else {
        return Ok(Vec::new());
    };
    let severity = match states.state {
        Place::Kept => Severity::Warning,
        Place::Band | Place::Refusing => Severity::Critical,
    };
    Ok(vec![Finding {
        id: RULE.id,
        severity,
        title: format!("Overcommit is strict and promises {band} more than can be delivered."),
        bytes: Some(band),
        evidence: vec![
            Evidence::text("/proc/sys/vm/overcommit_memory", "vm.overcommit_memory", 2),
            Evidence::bytes("/proc/meminfo", &format!("CommitLimit, by {}", states.setting), states.promised_bytes),
            Evidence::bytes("plimsoll explain overcommit", "deliverable", states.deliverable_bytes),
            Evidence::bytes("/proc/meminfo", "Committed_AS", states.committed_bytes),
        ],
        means: "The limit counts all of RAM, of which the kernel needs a part. Between what can be delivered and what is promised, programs get memory when they ask and the OOM killer when they use it, as without strict overcommit.".to_owned(),
        remedies: vec![
            Remedy::command("Promise what can be delivered", advice.command).undone_by(advice.undo),
            Remedy::command("See the three states, and who would be refused", "plimsoll explain overcommit"),
        ],
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{file_with, findings, host, host_with};

    fn at(mode: &str, limit_kib: u64) -> Vec<Finding> {
        let meminfo = file_with(
            "proc/meminfo",
            "CommitLimit:",
            &format!("CommitLimit: {limit_kib} kB"),
        );
        let files = [
            ("proc/meminfo", meminfo.as_str()),
            ("proc/sys/vm/overcommit_memory", mode),
            ("proc/sys/vm/overcommit_ratio", "100\n"),
        ];
        findings(&RULE, &host_with(&files))
    }

    #[test]
    fn at_ratio_100_and_at_50() {
        let found = at("2\n", 24_684_096);
        assert_eq!(found[0].severity, Severity::Warning);
        assert!(
            found[0].remedies[0]
                .undo
                .as_ref()
                .unwrap()
                .contains("ratio=100")
        );
        assert_eq!(at("2\n", 12_342_048), []);
        assert_eq!(at("0\n", 24_684_096), []);
        assert_eq!(findings(&RULE, &host()), []);
    }
}
