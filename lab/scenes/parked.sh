#!/bin/sh
# Victims that check all their memory while they change it, parked and resumed round after round: by a store while the
# host has no swap, and by swap on the swap disk. Wants zram for the disk that stores lie on.
#
#   sh parked.sh ROUNDS
#
# Leaves in /out/parked one line for each victim: means, kind, rounds, and its last words. Ends with 1 at the first
# thing that goes wrong.
set -e
rounds=$1
mkdir -p /out

echo 1G > /sys/block/zram0/disksize
mke2fs -b 4096 /dev/zram0 > /dev/null
mount -t ext4 /dev/zram0 /mnt

# try MEANS KIND: rounds with one victim
try() {
    means=$1 kind=$2
    rm -f /tmp/in
    mkfifo /tmp/in
    : > /tmp/said
    victim "$kind" < /tmp/in > /tmp/said &
    victim=$!
    exec 3> /tmp/in
    until grep -q ready /tmp/said; do sleep 0.1; done
    plimsoll check --via "$means" --store /mnt/stores "$victim"
    for round in $(seq "$rounds"); do
        plimsoll park --json --via "$means" --store /mnt/stores "$victim"
        # it stands still: what it does to its memory is over
        grep -q '^State:.[STtD]' /proc/"$victim"/status
        plimsoll resume --json "$victim"
        sleep 0.2
    done
    exec 3>&-
    wait "$victim"
    echo "$means $kind $rounds $(tail -n 1 /tmp/said)" >> /out/parked
    plimsoll parked --json
    [ -z "$(ls /mnt/stores 2> /dev/null)" ]
    [ -z "$(find /sys/fs/cgroup -name 'plimsoll-*')" ]
}

swap=$(sed -n '2s/ .*//p' /proc/swaps)
for kind in memory threads epoll; do
    swapoff "$swap"
    try store "$kind"
    swapon "$swap"
    try swap "$kind"
done
