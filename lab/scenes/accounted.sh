#!/bin/sh
# Memory of one kind after the other, each in a group of its own, and the account of the host before and after
# each: what the account must show on other kernels and cgroup v2. Wants a swap disk, zram (which on 6.1 wants
# lzo-rle) and the modules that sock_diag(7) is answered by, which no guest loads by itself.
#
#   sh accounted.sh COUNT SQUEEZE CASE...      a CASE is KIND:PART:LIMIT, as `victim KIND PART` takes it
#
# The group of a kind is /KIND, and LIMIT is its memory.max. In the end that of /anon is lowered to SQUEEZE, and the
# rest of it is in swap.
#
# Leaves in /out:
#   idle/look-1.json ...      COUNT looks before anything was taken
#   KIND/look-1.json ...      as many once this kind is held too, and all those before it
#   KIND/held                 how many bytes it holds
#   captured.tar              what `plimsoll capture` wrote in the end
set -e

count=$1 squeeze=$2
shift 2

# A file that is in the page cache has to be on a disk. Blocks full of one byte take no memory in zram.
echo 1G > /sys/block/zram0/disksize
mke2fs -b 4096 /dev/zram0 > /dev/null
mount -t ext4 /dev/zram0 /mnt
export TMPDIR=/mnt

ip link set lo up

free_kib() { sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo; }

# Until free memory stands still: what was just started or ended may still take and give back.
settle() {
    before=$(free_kib)
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        sleep 1
        now=$(free_kib)
        moved=$((now - before))
        [ ${moved#-} -lt 512 ] && return
        before=$now
    done
}

# looks INTO: several, of which the reader takes the median
looks() {
    mkdir -p /out/"$1"
    settle
    for number in $(seq "$count"); do
        plimsoll look --json > /out/"$1"/look-"$number".json
    done
}

# hold KIND PART LIMIT: returns when it is held; it stays so until the guest ends
hold() {
    group=/sys/fs/cgroup/$1
    mkdir "$group" /out/"$1"
    echo "$3" > "$group"/memory.max
    : > /out/"$1"/said
    sleep 1000000 | sh -c 'echo $$ > "$0"/cgroup.procs && exec "$@"' "$group" victim "$1" "$2" > /out/"$1"/said &
    until grep -q ready /out/"$1"/said; do
        kill -0 $! || exit 1
        sleep 0.2
    done
    sed 's/ready //' /out/"$1"/said > /out/"$1"/held
}

looks idle
for case in "$@"; do
    IFS=: read -r kind part limit << END
$case
END
    hold "$kind" "$part" "$limit"
    looks "$kind"
done
echo "$squeeze" > /sys/fs/cgroup/anon/memory.max
settle
plimsoll capture /tmp/captured > /dev/null
tar -C /tmp -cf /out/captured.tar captured
