//! What the host's account costs from open descriptors, and how steady what it leaves over is.

use anyhow::{Context, Result};
use plimsoll_bench::timing::{Spread, print_machine, time};
use plimsoll_ledger::host::{Discovered, account};
use plimsoll_proc::Root;
use plimsoll_proc::host::HostSampler;
use std::hint::black_box;
use std::time::Duration;

const REPEATS: usize = 1000;

fn main() -> Result<()> {
    print_machine();
    let root = Root::live();
    let mut sampler = HostSampler::open(&root)?;
    let nothing_found = Discovered::default();
    let sampling = time(REPEATS, || {
        sampler.sample().map(|sample| drop(black_box(sample)))
    })?;
    let with_account = time(REPEATS, || {
        let sample = sampler.sample()?;
        black_box(account(&sample, &nothing_found));
        anyhow::Ok(())
    })?;
    let mut left_over_kib = Vec::new();
    for _ in 0..REPEATS {
        let sample = sampler.sample()?;
        left_over_kib.push(account(&sample, &nothing_found).host.unattributed_bytes / 1024);
        std::thread::sleep(Duration::from_millis(2)); // so that the host moves between two samples
    }
    let nothing = "nothing was measured";
    println!("sampling alone: {}", Spread::of(sampling).context(nothing)?);
    println!(
        "with the account, slab by name: {}",
        Spread::of(with_account).context(nothing)?
    );
    println!("asked: a median of at most 1 ms");
    println!(
        "unattributed, KiB: {}",
        Spread::of(left_over_kib).context(nothing)?
    );
    Ok(())
}
