#!/bin/sh
# Memory runs out, in one way after the other; what the kernel says of each is left in /out/WAY.txt, as `dmesg` shows it,
# and what `plimsoll explain oom` makes of it in /out/WAY.json, read from the running kernel's log.
#
#   sh oom.sh WAY...
#
# Wants `victim` for the way `large-piece`, and two NUMA nodes for `cpuset` and `mempolicy`. After `panic` there is no kernel left.
set -e
mkdir -p /out

# in GROUP COMMAND...: a process is in the group before it does anything
in_group() {
    group=/sys/fs/cgroup/$1
    shift
    sh -c 'echo $$ > "$0"/cgroup.procs && exec "$@"' "$group" "$@"
}

# A process that only takes memory until it is killed.
hog() { tail /dev/zero; }

way_global() {
    dd if=/dev/zero of=/tmp/held bs=1M count=24 2> /dev/null
    hog || true
    rm /tmp/held
}

way_group() {
    mkdir -p /sys/fs/cgroup/pair
    echo 48M > /sys/fs/cgroup/pair/memory.max
    echo 1 > /sys/fs/cgroup/pair/memory.oom.group
    in_group pair sleep 1000 &
    in_group pair tail /dev/zero || true
    wait $! || true
}

way_cpuset() {
    mkdir -p /sys/fs/cgroup/bound
    echo 1 > /sys/fs/cgroup/bound/cpuset.mems
    in_group bound tail /dev/zero || true
}

way_mempolicy() {
    mkdir -p /mnt/bound
    mount -t tmpfs -o mpol=bind:1,size=100% bound /mnt/bound
    dd if=/dev/zero of=/mnt/bound/filled bs=1M 2> /dev/null || true
    umount /mnt/bound
}

way_sysrq() {
    sh -c 'echo 500 > /proc/self/oom_score_adj && exec sleep 1000' &
    sleep 1
    echo f > /proc/sysrq-trigger
    wait $! || true
}

way_large_piece() {
    # a message may have control data of more than 20 KiB
    echo 8388608 > /proc/sys/net/core/optmem_max
    # hardly anything is kept whole for later
    echo 1024 > /proc/sys/vm/min_free_kbytes
    echo 0 > /proc/sys/vm/watermark_boost_factor
    # killed first, whatever it is counted for
    sh -c 'echo 1000 > /proc/self/oom_score_adj && exec victim shattered 16' < /dev/zero || true
}

way_panic() {
    echo 1 > /proc/sys/vm/panic_on_oom
    hog
}

for way in "$@"; do
    dmesg -c > /dev/null
    way_"$(echo "$way" | tr - _)"
    dmesg > /out/"$way".txt
    plimsoll explain oom --json > /out/"$way".json || true
done
