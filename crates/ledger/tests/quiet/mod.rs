//! The acceptance of the host's account, on a machine where nothing else happens: `cargo xtask test` runs these tests
//! alone. Where somebody else takes or gives back memory in mid-measurement all the same, [`up_to_three_times`] measures again.

mod idle;
mod owners;

use plimsoll_ledger::found::discovered;
use plimsoll_ledger::host::{Accounted, account};
use plimsoll_proc::host::HostSampler;
use plimsoll_proc::{Root, found};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

/// One measurement at a time, also where another runner runs tests in parallel.
static ALONE: Mutex<()> = Mutex::new(());

/// Measures until what was measured is right, three times at most, and always by the same rule.
pub(crate) fn up_to_three_times(mut measure: impl FnMut() -> Result<(), String>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for attempt in 1..=3 {
        match measure() {
            Ok(()) => return,
            Err(wrong) => println!("measurement {attempt} of 3: {wrong}"),
        }
    }
    panic!("wrong three times");
}

const SAMPLES: usize = 15;

/// The account whose `unattributed` is the median of several.
fn measure() -> Accounted {
    let root = Root::live();
    let mut sampler = HostSampler::open(&root).unwrap();
    let mut accounts: Vec<Accounted> = (0..SAMPLES)
        .map(|_| {
            sleep(Duration::from_millis(20));
            let page = plimsoll_proc::page_size::read(&root).unwrap();
            let found = found::look(&root, page).unwrap();
            let sample = sampler.sample().unwrap();
            account(&sample, &discovered(&found, &sample))
        })
        .collect();
    accounts.sort_by_key(|account| account.host.unattributed_bytes);
    accounts.swap_remove(SAMPLES / 2)
}

/// Waits until free memory stands still: what ended before may still be giving back.
fn settle() {
    let root = Root::live();
    let mut sampler = HostSampler::open(&root).unwrap();
    let mut free = move || sampler.sample().unwrap().meminfo.mem_free.unwrap();
    let mut last = free();
    for _ in 0..20 {
        sleep(Duration::from_millis(500));
        let now = free();
        if now.signed_sub(last).unsigned_abs() < 1 << 20 {
            return;
        }
        last = now;
    }
}

fn mib(bytes: i64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
