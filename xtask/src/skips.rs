//! The tests that skipped themselves for a missing need, read back from the file where `testkit` wrote them.

use std::collections::BTreeMap;

/// One line of the file: test, need, reason, separated by tabs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Skip {
    need: String,
    reason: String,
    test: String,
}

/// Reads the file's text.
pub(crate) fn read(text: &str) -> Vec<Skip> {
    let skip = |line: &str| {
        let mut fields = line.splitn(3, '\t').map(str::to_owned);
        Some(Skip {
            test: fields.next()?,
            need: fields.next()?,
            reason: fields.next()?,
        })
    };
    text.lines().filter_map(skip).collect()
}

/// The table that people read: each need with its reason, and the tests that went without.
pub(crate) fn table(skips: &[Skip]) -> String {
    let mut by_need: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for Skip { need, reason, test } in skips {
        by_need.entry((need, reason)).or_default().push(test);
    }
    let mut table = String::new();
    for ((need, reason), mut tests) in by_need {
        tests.sort_unstable();
        table += &format!("skipped for want of {need} ({reason}): {}\n", tests.len());
        for test in tests {
            table += &format!("    {test}\n");
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_are_grouped_by_what_was_missing() {
        let text = "a::two\tswap\tnone in use\nb::x\tpsi\tnot there\na::one\tswap\tnone in use\n";
        assert_eq!(
            table(&read(text)),
            "skipped for want of psi (not there): 1\n    b::x\n\
             skipped for want of swap (none in use): 2\n    a::one\n    a::two\n"
        );
        assert_eq!(table(&read("")), "");
    }
}
