#!/bin/sh
# Writes the kernel files that the readers' tests stand on into /fixtures, named KIND-KERNEL[-WHAT].txt:
#
#   cargo xtask lab run --kernel 6.1 --swap 128M --module zram --module lzo-rle --copy-in lab/scenes:/scenes \
#       --copy-out /fixtures:DIR -- sh /scenes/loaded.sh sh /scenes/fixtures.sh
set -e
kernel=$(uname -r | cut -d. -f1,2)
proc=/fixtures/proc
mkdir -p $proc

for file in meminfo vmstat zoneinfo slabinfo buddyinfo pagetypeinfo vmallocinfo swaps; do
    cat /proc/$file > $proc/$file-$kernel.txt
done
cat /proc/pressure/memory > $proc/pressure-memory-$kernel.txt
cat /proc/self/mountinfo > $proc/mountinfo-$kernel.txt

hog=$(head -n 1 /sys/fs/cgroup/work/hog/cgroup.procs)
for file in status stat smaps smaps_rollup maps cgroup; do
    cat /proc/"$hog"/$file > $proc/$file-$kernel-swapped.txt
done

# One read of /dev/kmsg is one record, and the last one waits for more.
timeout 1 cat /dev/kmsg > /tmp/kmsg || true
grep -A 200 'invoked oom-killer' /tmp/kmsg > $proc/kmsg-$kernel-group-oom.txt

for group in hog files oom; do
    into=/fixtures/cgroup/v2-$kernel-$group
    mkdir -p "$into"
    for file in cgroup.controllers cgroup.events cgroup.freeze cgroup.procs cgroup.stat; do
        cat /sys/fs/cgroup/work/$group/$file > "$into/$file"
    done
    for file in /sys/fs/cgroup/work/$group/memory.*; do
        # memory.reclaim is only for writing.
        cat "$file" > "$into/${file##*/}" 2> /dev/null || rm "$into/${file##*/}"
    done
done
