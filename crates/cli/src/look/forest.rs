//! Who descends from whom.
//!
//! Processes are read one after the other, so a parent may be missing (its child is a root then) and, where pids were given
//! anew meanwhile, two may even name each other: each process still has its place exactly once.

use std::collections::HashMap;

/// The processes' descent; each is named by its place in the list it was made from.
#[derive(Debug)]
pub(super) struct Forest {
    /// A parent always stands before its children: `(place, parent)`.
    order: Vec<(usize, Option<usize>)>,
}

impl Forest {
    /// From `(pid, ppid)` of each process.
    pub(super) fn of(processes: &[(u32, u32)]) -> Self {
        let mut children: HashMap<u32, Vec<usize>> = HashMap::new();
        let pids: HashMap<u32, usize> = processes
            .iter()
            .enumerate()
            .map(|(at, &(pid, _))| (pid, at))
            .collect();
        for (at, &(_, ppid)) in processes.iter().enumerate() {
            children.entry(ppid).or_default().push(at);
        }
        let has_no_parent = |at: &usize| {
            processes
                .get(*at)
                .is_some_and(|(_, ppid)| !pids.contains_key(ppid))
        };
        let roots = (0..processes.len()).filter(has_no_parent);
        let mut placed = vec![false; processes.len()];
        let mut order = Vec::with_capacity(processes.len());
        // those on a ring have no root above them: the first one met serves as one
        for root in roots.chain(0..processes.len()) {
            let mut open = vec![(root, None)];
            while let Some((at, parent)) = open.pop() {
                let (Some(place), Some((pid, _))) = (placed.get_mut(at), processes.get(at)) else {
                    continue;
                };
                if !std::mem::replace(place, true) {
                    order.push((at, parent));
                    let below = children.get(pid).into_iter().flatten();
                    open.extend(below.map(|&child| (child, Some(at))));
                }
            }
        }
        Self { order }
    }

    /// For each process its own value, put together with those of all its descendants.
    pub(super) fn sums<T: Copy>(&self, own: &[T], and: impl Fn(T, T) -> T) -> Vec<T> {
        let mut sums = own.to_vec();
        for &(at, parent) in self.order.iter().rev() {
            if let Some(parent) = parent
                && let Some(&value) = sums.get(at)
                && let Some(sum) = sums.get_mut(parent)
            {
                *sum = and(*sum, value);
            }
        }
        sums
    }

    /// Every process with its depth, children below their parents, siblings by `key`.
    pub(super) fn in_order<K: Ord>(&self, key: impl Fn(usize) -> K) -> Vec<(usize, usize)> {
        let mut children: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
        for &(at, parent) in &self.order {
            children.entry(parent).or_default().push(at);
        }
        for siblings in children.values_mut() {
            siblings.sort_by_key(|&at| std::cmp::Reverse(key(at))); // the last is taken first
        }
        let mut shown = Vec::with_capacity(self.order.len());
        let below = |parent, depth| {
            let siblings = children.get(&parent).into_iter().flatten();
            siblings.map(move |&at| (at, depth)).collect::<Vec<_>>()
        };
        let mut open = below(None, 0);
        while let Some((at, depth)) = open.pop() {
            shown.push((at, depth));
            open.extend(below(Some(at), depth + 1));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_stand_below_their_parents_and_sums_go_up() {
        let forest = Forest::of(&[(30, 10), (10, 1), (1, 0), (20, 1), (40, 10)]);
        let sums = forest.sums(&[3, 1, 5, 2, 4], |a, b| a + b);
        assert_eq!(sums, [3, 8, 15, 2, 4]);
        let by_size = forest.in_order(|at| std::cmp::Reverse(sums[at]));
        assert_eq!(by_size, [(2, 0), (1, 1), (4, 2), (0, 2), (3, 1)]);
    }

    proptest::proptest! {
        #[test]
        fn whatever_they_claim_each_has_one_place(processes in proptest::collection::vec((0u32..12, 0u32..12), 0..12)) {
            let mut shown: Vec<_> = Forest::of(&processes).in_order(|at| at).into_iter().map(|(at, _)| at).collect();
            shown.sort_unstable();
            proptest::prop_assert_eq!(shown, (0..processes.len()).collect::<Vec<_>>());
        }
    }
}
