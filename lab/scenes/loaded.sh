#!/bin/sh
# Brings a guest under load of every kind that the readers know, then runs its arguments there.
# Wants zram (which on 6.1 wants lzo-rle) and a swap disk:
#
#   cargo xtask lab run --kernel 6.1 --swap 128M --module zram --module lzo-rle --copy-in lab/scenes:/scenes \
#       -- sh /scenes/loaded.sh COMMAND
#
# /work          no more than 128 MiB; what it holds that no process in it owns, too
#   /work/hog    96 MiB written, 64 allowed: the rest is in swap; a process waits with it
#   /work/files  40 MiB of page cache, 8 MiB of tmpfs, names that are not there; nobody is in it
#   /work/oom    had a process that the kernel killed
set -e

echo 96M > /sys/block/zram0/disksize
mke2fs -b 4096 /dev/zram0 > /dev/null
mount -t ext4 /dev/zram0 /mnt

cgroups=/sys/fs/cgroup
mkdir $cgroups/work
echo +memory +pids > $cgroups/work/cgroup.subtree_control
mkdir $cgroups/work/hog $cgroups/work/files $cgroups/work/oom
echo 128M > $cgroups/work/memory.max
echo 64M > $cgroups/work/hog/memory.max
echo 8M > $cgroups/work/oom/memory.max
echo 0 > $cgroups/work/oom/memory.swap.max

# in GROUP COMMAND...: a process is in the group before it does anything
in_group() {
    group=$1
    shift
    sh -c 'echo $$ > "$0/cgroup.procs" && exec "$@"' "$cgroups/work/$group" "$@"
}

# tail keeps the last 96 MiB until its input ends, which it never does.
{ dd if=/dev/zero bs=64k count=1536 2> /dev/null; exec sleep 1000000; } | in_group hog tail -c 100663296 > /dev/null &
in_group files dd if=/dev/zero of=/mnt/file bs=1M count=40 2> /dev/null
in_group files dd if=/dev/zero of=/tmp/file bs=1M count=8 2> /dev/null
in_group files sh -c 'i=0; while [ $i -lt 2000 ]; do [ ! -e /mnt/no-$i ]; i=$((i+1)); done'
in_group oom dd if=/dev/zero of=/dev/null bs=16M count=1 2> /dev/null || true

# Loaded once the hog has pages in swap and no more come.
swapped=0
while :; do
    now=$(cat $cgroups/work/hog/memory.swap.current)
    [ "$now" -gt 16777216 ] && [ "$now" = "$swapped" ] && break
    swapped=$now
    sleep 1
done

exec "$@"
