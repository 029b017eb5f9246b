#!/bin/sh
# Troubles that the kernel's own memory makes, and those of how memory is counted, one after the other: each is made, looked at, ended,
# and looked at again. What `plimsoll explain` says is left in /out: NAME.json while it lasts, NAME-over.json after it; NAME.held is how
# much it was. Wants `victim`, and that the module af_packet_diag is not there: a packet ring that can't be asked for is memory
# that nothing names.
set -e
mkdir -p /out /tmp/here
echo never > /sys/kernel/mm/transparent_hugepage/enabled
plimsoll explain --json > /out/before.json

# held NAME KIND PART [ARGUMENT...]: looks while a victim holds memory of this kind, and when it is gone
held() {
    name=$1 kind=$2 part=$3
    shift 3
    mkfifo /tmp/here/"$name"
    sleep 1000000 > /tmp/here/"$name" &
    holder=$!
    victim "$kind" "$part" < /tmp/here/"$name" > /tmp/here/said &
    victim=$!
    until grep -q ready /tmp/here/said; do
        kill -0 $victim
        sleep 0.2
    done
    sed 's/ready //' /tmp/here/said > /out/"$name".held
    cat /proc/buddyinfo > /out/"$name".buddyinfo
    plimsoll explain --json "$@" > /out/"$name".json
    kill "$holder"
    wait || true
    plimsoll explain --json > /out/"$name"-over.json
}

plimsoll capture /tmp/here/captured > /dev/null
sleep 1.1 # a look is later than another from the next second on
held objects idle-sockets 1 --since /tmp/here/captured
held nameless packet-ring 3
held family relatives 1
held shards shards 8
awk '/DMA32|Normal/ { size = 4096; for (i = 5; i <= NF; i++) { sum += $i * size; size *= 2 } } END { printf "%d\n", sum }' \
    /out/shards.buddyinfo > /out/shards.held

# Pages that a program gives back go to its processor's list first, up to the length that it may have.
bytes_on_lists() { awk '$1 == "count:" { sum += $2 } END { print sum * 4096 }' /proc/zoneinfo; }
# until_lists ABOVE|BELOW BYTES: what programs take and give back moves the lists, some more than others
until_lists() {
    for mib in 40 44 48 52 50 46 42 54 51 47 1 2 3 4 5 6 7 8; do
        dd if=/dev/zero of=/dev/null bs=${mib}M count=1 2> /dev/null
        [ "$1" = above ] && [ "$(bytes_on_lists)" -gt "$2" ] && break
        [ "$1" = below ] && [ "$(bytes_on_lists)" -lt "$2" ] && break
        sleep 1
    done
}
ram=$(awk '/^MemTotal/ { print $2 * 1024 }' /proc/meminfo)
echo 8 > /proc/sys/vm/percpu_pagelist_high_fraction
until_lists above $((ram / 100 * 11))
bytes_on_lists > /out/lists.held
plimsoll explain --json > /out/lists.json
echo 100 > /proc/sys/vm/percpu_pagelist_high_fraction
until_lists below $((ram / 100 * 8))
plimsoll explain --json > /out/lists-over.json
bytes_on_lists > /out/lists.bounded
