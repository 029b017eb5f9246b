#!/bin/sh
# The guard beside a load that swaps all the time, for as long as is asked: what its loop takes of memory and processor, whether it
# ever waits for a page, and whether it allocates. Wants a swap disk and the modules ext4, zram and lzo-rle.
#
#   sh hour.sh SECONDS OUTSIDE SYMBOL=OFFSET...
#
# OUTSIDE holds what a release of plimsoll needs: plimsoll itself, and lib64 with the libraries that it is linked to. It is put on a
# file system whose pages the kernel may drop, as on any host. A SYMBOL is a function of libc.so.6, OFFSET where it lies in the
# file: the kernel counts each process's calls of it (uprobes), and what it asks the kernel for. From here:
#
#   nm -D --defined-only /lib/x86_64-linux-gnu/libc.so.6 |
#       sed -n 's/^0*\([0-9a-f]*\) [TW] \(malloc\|calloc\|realloc\|posix_memalign\|aligned_alloc\|free\)@.*/\2=0x\1/p'
#
# The load: one process goes round through more memory than there is, and now and then a build runs; their owner allows the guard
# nothing that would stop them, so that it stays dire. Six agents sit there: they are parked, and one after the other is asked something,
# wakes and is parked again. So the guard looks as often as it ever does, and acts, for the whole time.
#
# Leaves in /out: begun and ended (the loop's status, stat, the kernel's counts), acts, guard.err, and samples, one line a minute: uptime,
# then of the loop minflt, majflt, utime, stime, resident pages and allocations, then the host's pswpin. They are printed, too, so that
# a run that is cut off says what it has seen.
seconds=$1 outside=$2
shift 2
mkdir -p /out /prog /lib64 /etc/plimsoll
top=/sys/fs/cgroup trace=/sys/kernel/tracing
mkdir -p $top/work
echo +memory > $top/cgroup.subtree_control
echo +memory > $top/work/cgroup.subtree_control

echo 64M > /sys/block/zram0/disksize
mke2fs -b 4096 /dev/zram0 > /dev/null 2>&1
mount -t ext4 /dev/zram0 /prog || exit 1
cp -r "$outside"/. /prog
mount -o bind /prog/lib64 /lib64
rm -rf "$outside"
echo 3 > /proc/sys/vm/drop_caches

# in GROUP COMMAND...: runs it in a group of its own
in_group() {
    group=$top/$1
    shift
    mkdir -p "$group"
    sh -c 'echo $$ > "$0/cgroup.procs"; exec "$@"' "$group" "$@"
}

mount -t tracefs none $trace 2> /dev/null
for probe in "$@"; do
    echo "p:libc/${probe%=*} /lib64/libc.so.6:${probe#*=}" >> $trace/uprobe_events || exit 1
done
for event in $trace/events/libc/* $trace/events/syscalls/sys_enter_brk $trace/events/syscalls/sys_enter_mmap; do
    [ -d "$event" ] && echo hist:keys=common_pid > "$event/trigger"
done

cat > /etc/plimsoll/guard.toml << 'TOML'
[files]
log = "/out/acts"
[[workload]]
match = "/work/agent*"
ladder = ["reclaim", "park"]
[[workload]]
match = "/work/*"
ladder = ["reclaim", "page-out"]
TOML
in_group guard env LD_LIBRARY_PATH=/lib64 /prog/plimsoll guard 2> /out/guard.err &
until grep -q 'at work' /out/guard.err; do
    kill -0 $! || { cat /out/guard.err; exit 1; }
    sleep 0.2
done
guard=$(sed -n 1p $top/guard/cgroup.procs)

# How often each function was called by the loop, which is one process.
counts() {
    for event in $trace/events/libc/* $trace/events/syscalls/sys_enter_brk $trace/events/syscalls/sys_enter_mmap; do
        [ -e "$event/hist" ] || continue
        calls=$(sed -n "s/^{ common_pid: *$guard } hitcount: *\([0-9]*\).*/\1/p" "$event/hist")
        echo "${event##*/} ${calls:-0}"
    done
}
# How often it asked libc for memory, in all.
allocations() {
    counts | awk '$1 ~ /alloc|memalign/ { all += $2 } END { print all + 0 }'
}
stand() {
    uptime
    grep -E '^(Vm|Rss)' /proc/"$guard"/status
    awk '{ print "minflt", $10, "majflt", $12, "utime", $14, "stime", $15 }' /proc/"$guard"/stat
    counts
    grep -E '^(pswpin|pswpout|pgmajfault|oom_kill) ' /proc/vmstat
    cat /proc/pressure/memory
}

for n in 1 2 3 4 5 6; do
    mkfifo /tmp/in$n /tmp/out$n
    in_group work/agent$n victim agent 8 <> /tmp/in$n > /tmp/out$n 3<> /tmp/out$n &
    read -r word < /tmp/out$n
done
mkfifo /tmp/never
in_group work/swaps victim large <> /tmp/never > /dev/null &
swaps=$!
sleep 10
stand > /out/begun
cat /out/begun

round=0 end=$(($(cut -d. -f1 /proc/uptime) + seconds))
while [ "$(cut -d. -f1 /proc/uptime)" -lt $end ]; do
    round=$((round + 1)) n=$((round % 6 + 1))
    timeout 60 victim ask /tmp/in$n /tmp/out$n >> /out/answers || echo "agent $n: none" >> /out/answers
    if [ $((round % 3)) = 0 ] && [ ! -e /tmp/building ]; then
        (touch /tmp/building; in_group work/build victim build 30 8; echo "build $?" >> /out/builds; rm /tmp/building) &
    fi
    sleep 20
    if [ $((round % 3)) = 0 ]; then
        echo "$(cut -d' ' -f1 /proc/uptime) $(cut -d' ' -f10,12,14,15,24 /proc/"$guard"/stat) $(allocations) $(sed -n 's/^pswpin //p' /proc/vmstat)" |
            tee -a /out/samples
    fi
done
kill -0 $swaps && kill -0 "$guard" && stand > /out/ended
cat /out/ended
