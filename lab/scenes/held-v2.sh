#!/bin/sh
# Holds on cgroup v2: both numbers kept under every kind of load, without disk I/O where zram takes what is swapped; beside
# a group that has `memory.max` alone, which is what `systemd-run -p MemoryMax` writes; without any swap; and a hold that is
# too small for what runs. Wants zram and a swap disk.
#
#   sh held-v2.sh RAM SWAP ANON CASE...      ANON is the part of `victim anon` that is more than RAM and SWAP; a CASE as in held.sh
#
# Leaves in /out: a KIND.json for each case; sectors, how many sectors of the swap disk were written with zram before it,
# and without; plain and held, the most RAM and swap of ANON in each; unswapped.json and high, the hold without swap and its
# memory.high; refused, what was said of the hold that was too small, and whether its workload lives.
set -e
ram=$1 swap=$2 anon=$3
shift 3
mkdir -p /out

disk=$(sed -n '2s/ .*//p' /proc/swaps)
sectors() { awk '{ print $7 }' /sys/block/"${disk#/dev/}"/stat; }

# Files that are in the page cache have to be on a disk: one that is compressed RAM, like the swap area beside it.
echo 1G > /sys/block/zram0/disksize
mke2fs -b 4096 /dev/zram0 > /dev/null
mount -t ext4 /dev/zram0 /mnt
export TMPDIR=/mnt
second=/dev/zram$(cat /sys/class/zram-control/hot_add)
echo 512M > /sys/block/"${second#/dev/}"/disksize
mkswap "$second" > /dev/null
# The kernel uses the area first that it was given first.
swapoff "$disk"
swapon "$second"
swapon "$disk"
ip link set lo up
# TCP's buffers of the whole host have bounds of their own, made from its RAM: from the second on no socket gets more, which in this
# guest is below the hold (tcp_init_mem, tcp_under_memory_pressure). It is the hold that is to be met here.
echo 100000 200000 300000 > /proc/sys/net/ipv4/tcp_mem

before=$(sectors)
sh /scenes/held.sh /out "$ram" "$swap" "$@"
with_zram=$(($(sectors) - before))

# peaks GROUP: the most RAM and swap of a group
peaks() { echo $(cat "$1"/memory.peak "$1"/memory.swap.peak); }

mkdir /sys/fs/cgroup/plain
echo "$ram" > /sys/fs/cgroup/plain/memory.max
sh -c 'echo $$ > /sys/fs/cgroup/plain/cgroup.procs; exec victim anon "$0"' "$anon" < /dev/null || true
peaks /sys/fs/cgroup/plain > /out/plain
plimsoll run --quiet --ram "$ram" --swap "$swap" --name beyond -- sh -c '
    victim anon "$0" < /dev/null || true
    plimsoll holds beyond > /out/beyond.txt
    for file in peak swap.peak; do cat /sys/fs/cgroup/plimsoll-hold-beyond/memory.$file; done
' "$anon" | tail -n 2 | tr '\n' ' ' > /out/held

swapoff "$second"
before=$(sectors)
plimsoll run --quiet --ram "$ram" --swap "$swap" -- victim anon "$anon" < /dev/null || true
echo "$with_zram $(($(sectors) - before))" > /out/sectors

swapoff "$disk"
plimsoll run --ram "$ram" --swap "$swap" --name unswapped -- sh -c '
    cat /sys/fs/cgroup/plimsoll-hold-unswapped/memory.high > /out/high
    victim anon "$0" < /dev/null || true
    plimsoll holds unswapped --json > /out/unswapped.json
' "$anon" 2> /out/said.txt

mkdir /sys/fs/cgroup/large
sleep 1000000 | sh -c 'echo $$ > /sys/fs/cgroup/large/cgroup.procs; exec victim anon "$0"' "$anon" > /out/large &
until grep -q ready /out/large; do sleep 0.2; done
status=0
plimsoll hold /large --ram "$ram" 2> /out/refused || status=$?
echo "$status $(cat /sys/fs/cgroup/large/memory.max) $(grep -c . /sys/fs/cgroup/large/cgroup.procs)" >> /out/refused
