#!/bin/sh
# Troubles of several kinds at once, each made cheaply: groups close to memory.max and memory.high, groups that were removed and still
# hold pages, a packet ring. What `plimsoll explain` says of them is left in /out/troubles.json. Wants `victim`, no swap, and the module
# af_packet_diag.
set -e
mkdir -p /out /tmp/troubles
groups=/sys/fs/cgroup

# fill GROUP FILE: 37 MiB of a tmpfs under a limit of 40
fill() {
    mkdir $groups/"$1"
    echo 40M > $groups/"$1"/"$2"
    sh -c 'echo $$ > "$0"/cgroup.procs && exec dd if=/dev/zero of=/tmp/troubles/"$1" bs=1M count=37' $groups/"$1" "$1" 2> /dev/null
}
fill near memory.max
fill slowed memory.high

# Each gets a page of its own, which it keeps when it is removed.
cd $groups
seq 1050 | sed 's/^/gone/' | xargs mkdir
for group in gone*; do
    echo $$ > "$group"/cgroup.procs
    echo page > /tmp/troubles/"$group"
done
echo $$ > cgroup.procs
rmdir gone*
cd /

mkfifo /tmp/troubles/until
sleep 1000 > /tmp/troubles/until &
holder=$!
victim packet-ring 3 < /tmp/troubles/until > /tmp/troubles/said &
until grep -q ready /tmp/troubles/said; do sleep 0.1; done
plimsoll explain --json > /out/troubles.json
kill "$holder"
wait || true
