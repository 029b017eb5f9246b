#!/bin/sh
# A hold on a host whose only swap is a disk, with zswap before it, with zswap that would write on to the disk early (shrinker_enabled), and
# without: how many sectors of the disk are written while the hold is over its RAM and the host is idle. Wants the kernel 6.12-general
# and a swap disk; run by hand:
#
#   cargo xtask lab run --kernel 6.12-general --memory 768M --swap 512M --program plimsoll-cli/plimsoll
#       --program plimsoll-testkit/victim --copy-in lab/scenes:/scenes --copy-out /out:OUT -- sh /scenes/held-zswap.sh RAM SWAP MIB
#
# MIB is what `victim agent` takes: more than RAM, less than both; it is compressed to some half. Leaves in /out a line for each way in
# `zswap`: sectors, the most RAM and swap, what zswap keeps of it and what that takes, whether it may write on; what `plimsoll run` said;
# what holds showed.
set -e
ram=$1 swap=$2 mib=$3
mkdir -p /out
disk=$(sed -n '2s/ .*//p' /proc/swaps)
sectors() { awk '{ print $7 }' /sys/block/"${disk#/dev/}"/stat; }
parameter() { echo "$2" > /sys/module/zswap/parameters/"$1"; }

for way in zswap shrinker none; do
    case $way in none) parameter enabled N ;; *) parameter enabled Y ;; esac
    case $way in shrinker) parameter shrinker_enabled Y ;; *) parameter shrinker_enabled N ;; esac
    rm -f /tmp/said /tmp/stood
    before=$(sectors)
    plimsoll run --ram "$ram" --swap "$swap" --name "$way" -- sh -c '
        group=/sys/fs/cgroup/plimsoll-hold-$0
        sleep 1000 | victim agent "$1" > /tmp/said &
        until grep -q ready /tmp/said 2> /dev/null; do kill -0 $!; sleep 0.2; done
        sleep 5
        plimsoll holds "$0" > /out/"$0".txt
        echo $(cat $group/memory.peak $group/memory.swap.peak) \
            $(sed -n "s/^zswapped //p" $group/memory.stat) $(sed -n "s/^zswap //p" $group/memory.stat) \
            $(cat $group/memory.zswap.writeback) > /tmp/stood
        kill $!
    ' "$way" "$mib" 2>> /out/said || true
    echo "$way $(($(sectors) - before)) $(cat /tmp/stood)" | tee -a /out/zswap
done
