//! What is said about a hold, in words.

use plimsoll_hold::plan::Remark;

/// One sentence or two.
pub(super) fn of(remark: &Remark) -> String {
    match remark {
        Remark::MoreThanTheHost { ram_bytes } => {
            format!("it may have more RAM than the host has ({ram_bytes}): the host runs out first")
        }
        Remark::NoSwap => "this host has no swap, so only RAM is there to be had: over it caches go, then the kernel kills \
             within the hold. It is not slowed down, which would free nothing. The way out before that: \
             plimsoll park PID takes idle work out of memory without swap"
            .to_owned(),
        Remark::LessSwap { swap_bytes } => {
            format!("this host has only {swap_bytes} of swap, for everybody")
        }
        Remark::SwapInZram { area } => format!(
            "over RAM its pages go to {area}, which is compressed RAM: no disk is touched while it has room. What they \
             take there is not counted in the hold"
        ),
        Remark::SwapInZswap { never_to_disk: false } => {
            "over RAM its pages are compressed by zswap, in RAM that counts in the hold, and go to disk only when \
             zswap's pool is full"
                .to_owned()
        }
        Remark::SwapInZswap { never_to_disk: true } => {
            "over RAM its pages are compressed by zswap, in RAM that counts in the hold, and never go to disk: this \
             host's zswap would write them there while there is room (shrinker_enabled). When its pool is full, \
             the hold can't swap any more"
                .to_owned()
        }
        Remark::SwapOnDisk { area } => format!(
            "over RAM its pages go to {area} at once, with disk I/O; zswap would keep them in RAM, compressed, while there \
             is room: echo Y > /sys/module/zswap/parameters/enabled"
        ),
        Remark::SwapNotCounted => "this kernel does not count swap by group, so that the sum is not kept: RAM is, swap is without \
             limit (v1: boot with swapaccount=1)"
            .to_owned(),
        Remark::TcpApart { tcp_bytes } => format!(
            "cgroup v1 counts TCP buffers apart: they may be {tcp_bytes}, and all else that much less than the RAM asked for"
        ),
        Remark::NotSlowed => "cgroup v1 has nothing that slows a workload down: over RAM an allocation waits for what it \
             reclaims itself, and that is all"
            .to_owned(),
        Remark::NotHere { setting } => format!("its group has no {setting}, so that this is not kept"),
        Remark::ChargesStay => "it shared its group and was moved into one of its own: what it held before stays charged \
             where it came from, and is not counted here"
            .to_owned(),
        Remark::BesideSystemd => "systemd knows no limit on RAM and swap together on cgroup v1, so its files were written: \
             a restart of the unit ends the hold"
            .to_owned(),
    }
}
