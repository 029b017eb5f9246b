//! What processes share. A child shares its parent's descriptor table, or its working directory and root, when it is made so
//! (`clone(2)`), and only then: who shares with others but not with its parent can't be made again.

/// One process: its pid, its parent's, and the number of the object.
pub(crate) type Holder = (u32, u32, u32);

/// Those that share an object with processes of which none is their parent, while another is its first holder.
pub(crate) fn strangers(holders: &[Holder]) -> Vec<u32> {
    let holds = |pid: u32, object: u32| {
        holders
            .iter()
            .any(|(other, _, of)| (*other, *of) == (pid, object))
    };
    let mut first = std::collections::BTreeSet::new();
    holders
        .iter()
        .filter(|(_, parent, object)| !holds(*parent, *object) && !first.insert(*object))
        .map(|(pid, _, _)| *pid)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_with_its_parent_is_no_stranger() {
        assert!(strangers(&[(1, 0, 7), (2, 1, 7), (3, 2, 7), (4, 1, 8)]).is_empty());
        // 3 is made by 2, which has another.
        assert_eq!(strangers(&[(1, 0, 7), (2, 1, 8), (3, 2, 7)]), [3]);
    }
}
