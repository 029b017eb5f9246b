//! How long a thread has slept: how long ago it last ran.
//!
//! `se.exec_start` of `/proc/PID/task/TID/sched` is when a thread last ran, by the clock of the processor that it ran
//! on. That clock leaves out the time that a hypervisor took from this processor, so that those of two processors
//! drift apart, by seconds in an hour. No file shows it; so ours is read where the thread last ran.

use plimsoll_proc::Root;
use plimsoll_proc::process::stat::field;
use plimsoll_proc::text::{lines, number, words};
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How long the thread in `task` (`proc/PID/task/TID`) has slept, in nanoseconds; `None` where nothing tells.
pub(super) fn slept_ns(root: &Root, task: &str) -> Option<u64> {
    let cpu = number(field(&root.read(format!("{task}/stat")).ok()?, PROCESSOR)?)?;
    let last_ran = last_ran_ns(&root.read(format!("{task}/sched")).ok()?)?;
    let _there = There::go(usize::try_from(cpu).ok()?).ok()?;
    let now = last_ran_ns(&root.read("proc/thread-self/sched").ok()?)?;
    Some(now.saturating_sub(last_ran))
}

/// The field of `/proc/PID/task/TID/stat` that holds the processor that a thread last ran on (`proc_pid_stat(5)`).
const PROCESSOR: usize = 39;

/// Keeps the calling thread on one processor until it is dropped.
struct There {
    home: CpuSet,
}

impl There {
    /// Refused where the thread may not run on that processor (`cpuset(7)`).
    fn go(cpu: usize) -> Result<Self, Errno> {
        if cpu >= CpuSet::MAX_CPU {
            return Err(Errno::INVAL);
        }
        let home = sched_getaffinity(None)?;
        let mut there = CpuSet::new();
        there.set(cpu);
        sched_setaffinity(None, &there)?;
        Ok(Self { home })
    }
}

impl Drop for There {
    fn drop(&mut self) {
        // Fails only where the host took all of those processors away meanwhile: then there is no home to go to.
        let _ = sched_setaffinity(None, &self.home);
    }
}

/// `se.exec_start`, printed in milliseconds with six digits behind the point, in nanoseconds.
fn last_ran_ns(text: &[u8]) -> Option<u64> {
    let line = lines(text).find(|line| line.starts_with(b"se.exec_start"))?;
    let value = words(line).last()?;
    let point = value.iter().position(|byte| *byte == b'.')?;
    let (milliseconds, fraction) = value.split_at_checked(point)?;
    let nanoseconds = number(fraction.get(1..7)?)?;
    number(milliseconds)?
        .checked_mul(1_000_000)?
        .checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn when_a_thread_last_ran() {
        let text = b"sleep (12511, #threads: 1)\n---\nse.exec_start                                :      12791363.666053\nse.vruntime : 1.5\n";
        assert_eq!(last_ran_ns(text), Some(12_791_363_666_053));
        assert_eq!(last_ran_ns(b"se.exec_start : 1"), None);
        assert_eq!(last_ran_ns(b""), None);
    }

    #[test]
    fn a_sleep_is_as_long_on_every_processor() {
        let root = Root::live();
        let ours = sched_getaffinity(None).unwrap();
        let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| ours.is_set(*cpu));
        for cpu in cpus {
            let before = std::time::Instant::now();
            let (say, hear) = mpsc::channel();
            let (end, ended) = mpsc::channel::<()>();
            let sleeper = std::thread::spawn(move || {
                let _there = There::go(cpu).unwrap();
                let tid = rustix::thread::gettid().as_raw_nonzero();
                let asleep = std::time::Instant::now();
                say.send((tid, asleep)).unwrap();
                let _ = ended.recv();
            });
            let (tid, asleep) = hear.recv().unwrap();
            let task = format!("proc/{}/task/{tid}", std::process::id());
            while root.read(format!("{task}/syscall")).unwrap() == b"running\n" {
                std::thread::yield_now();
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            let at_most = before.elapsed();
            let slept = std::time::Duration::from_nanos(slept_ns(&root, &task).unwrap());
            drop(end);
            sleeper.join().unwrap();
            // A tick may pass before either clock is brought up to date.
            let tick = std::time::Duration::from_millis(10);
            assert!(
                slept <= at_most.max(asleep.elapsed()) + tick,
                "{cpu}: {slept:?}"
            );
        }
        assert_eq!(sched_getaffinity(None).unwrap(), ours, "and we are home");
    }
}
