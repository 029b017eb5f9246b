//! Filters of system calls (`seccomp(2)`), read by ptrace. They are kept as chains, the newest first, in one image for all
//! threads of the tree; who has the same filters has the same chain.

use crate::coverage::SUPERVISOR;
use crate::error::{Error, Step};
use crate::snapshot::Process;
use plimsoll_image::proto::{SeccompEntry, SeccompFilter as Filter, SeccompMode};
use plimsoll_surgery::stop::StoppedProcess;
use plimsoll_sys::ptrace::{SeccompFilter, Stopped};
use std::collections::BTreeMap;

/// `SECCOMP_FILTER_FLAG_TSYNC`: all threads of the process have it.
const ALL_THREADS: u32 = 1;

/// All filters of a tree.
#[derive(Debug, Default)]
pub(super) struct Filters {
    entry: SeccompEntry,
    /// Where in it the oldest filter of a chain is.
    known: BTreeMap<Vec<SeccompFilter>, u32>,
}

impl Filters {
    /// The filters of all threads of a process whose images say that they have some.
    pub(super) fn look(
        &mut self,
        standing: &StoppedProcess,
        process: &mut Process,
    ) -> Result<(), Error> {
        let mut chains = Vec::new();
        for (thread, (_, core)) in standing.threads.iter().zip(&process.threads) {
            let mode = core.thread_core.as_ref().map(|core| core.seccomp_mode());
            chains.push(match mode {
                Some(SeccompMode::Filter) => chain(process.pid(), thread)?,
                _ => Vec::new(),
            });
        }
        let first = chains.first().cloned().unwrap_or_default();
        if first.is_empty() && chains.iter().all(Vec::is_empty) {
            return Ok(());
        }
        // Filters that all threads have in common are common: so a new one can still be given to all of them.
        let common = chains.iter().all(|chain| *chain == first);
        for (place, mut chain) in chains.into_iter().enumerate() {
            let core = process.threads.get_mut(place);
            let Some(core) = core.and_then(|(_, core)| core.thread_core.as_mut()) else {
                continue;
            };
            if common && place > 0 {
                core.seccomp_mode = None; // its leader's says it
            } else if !chain.is_empty() {
                if common {
                    for filter in &mut chain {
                        filter.flags |= ALL_THREADS;
                    }
                }
                core.seccomp_filter = Some(self.keep(chain));
            }
        }
        Ok(())
    }

    /// Gives the place of the oldest filter.
    fn keep(&mut self, chain: Vec<SeccompFilter>) -> u32 {
        if let Some(place) = self.known.get(&chain) {
            return *place;
        }
        let mut prev = None;
        for filter in chain.iter().rev() {
            let place = self.entry.seccomp_filters.len();
            self.entry.seccomp_filters.push(Filter {
                filter: filter.program.clone(),
                prev,
                flags: Some(filter.flags),
            });
            prev = u32::try_from(place).ok();
        }
        let oldest = prev.unwrap_or(0);
        self.known.insert(chain, oldest);
        oldest
    }

    pub(super) fn finish(self) -> SeccompEntry {
        self.entry
    }
}

/// The filters of a thread, the oldest first.
fn chain(pid: u32, thread: &Stopped) -> Result<Vec<SeccompFilter>, Error> {
    let step = Step::new("read the seccomp filters of", thread.tid());
    let mut chain = Vec::new();
    while let Some(filter) = thread
        .seccomp_filter(chain.len())
        .map_err(|error| step.failed(error))?
    {
        if asks_somebody(&filter.program) {
            return Err(Error::refused(SUPERVISOR.of(pid, &[])));
        }
        chain.push(filter);
    }
    Ok(chain)
}

/// Whether an instruction of a filter gives a call to a supervisor, which no image can say.
fn asks_somebody(program: &[u8]) -> bool {
    let (instructions, _) = program.as_chunks::<8>();
    // struct sock_filter: code, two jumps, a constant.
    instructions.iter().any(|[code, more, _, _, rest @ ..]| {
        let code = u32::from(u16::from_ne_bytes([*code, *more]));
        let action = u32::from_ne_bytes(*rest) & libc::SECCOMP_RET_ACTION_FULL;
        code == libc::BPF_RET | libc::BPF_K && action == libc::SECCOMP_RET_USER_NOTIF
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(byte: u8) -> SeccompFilter {
        SeccompFilter {
            program: vec![byte; 8],
            flags: 0,
        }
    }

    #[test]
    fn the_newest_filter_comes_first_and_chains_are_kept_once() {
        let mut filters = Filters::default();
        let chain = vec![filter(1), filter(2)];
        assert_eq!(filters.keep(chain.clone()), 1);
        assert_eq!(filters.keep(vec![filter(3)]), 2);
        assert_eq!(filters.keep(chain), 1);
        let kept = filters.finish().seccomp_filters;
        let told: Vec<_> = kept
            .iter()
            .map(|f| (f.filter.first().copied(), f.prev))
            .collect();
        assert_eq!(told, [(Some(2), None), (Some(1), Some(0)), (Some(3), None)]);
    }

    #[test]
    fn a_supervisor_is_seen() {
        let instruction = |code: u16, action: u32| {
            [
                code.to_ne_bytes().to_vec(),
                vec![0, 0],
                action.to_ne_bytes().to_vec(),
            ]
            .concat()
        };
        assert!(asks_somebody(&instruction(6, 0x7fc0_0000)));
        assert!(!asks_somebody(&instruction(6, 0x7fff_0000)));
        assert!(!asks_somebody(&instruction(0x20, 0x7fc0_0000)));
    }
}
