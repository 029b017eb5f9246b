#!/bin/sh
# Strict overcommit at ratio 100: one program, asked for ever other sizes, is given what it wants, killed, or refused. What
# `plimsoll explain overcommit` predicts beforehand is in /out/before.json; /out/tries has a line for each try: edge, percent of the
# predicted edge, what became of it. Then the advised setting: /out/advised.json, and RUNS times a program that takes all that it is given: a line each in
# /out/runs, and the count of OOM kills before and after in /out/kills.
#
#   sh overcommit.sh RUNS
set -e
runs=$1
mkdir -p /out
echo 2 > /proc/sys/vm/overcommit_memory
echo 100 > /proc/sys/vm/overcommit_ratio

field() { sed -n "s/.*\"$2\": \"\{0,1\}\([^\",]*\).*/\1/p" "$1" | head -1; }
kills() { awk '/^oom_kill / { print $2 }' /proc/vmstat; }

# takes SIZE: dd takes a buffer of that size, and /dev/zero fills it.
takes() {
    status=0
    dd if=/dev/zero of=/dev/null bs="$1" count=1 2> /dev/null || status=$?
    case $status in
    0) echo fits ;;
    137) echo killed ;;
    *) echo refused ;;
    esac
}

plimsoll explain overcommit --json > /out/before.json
plimsoll explain overcommit > /out/before.txt
plimsoll explain --json > /out/findings.json
fits=$(field /out/before.json fits_bytes)
refused=$(field /out/before.json refused_from_bytes)
for percent in 95 97 99 101 103 105; do
    echo "fits $percent $(takes $((fits / 100 * percent)))" >> /out/tries
done
for percent in 95 97 99 101 103 105; do
    echo "refused $percent $(takes $((refused / 100 * percent)))" >> /out/tries
done

plimsoll explain overcommit --json > /out/advised.json
$(field /out/advised.json command)
kills > /out/kills
run=0
size=$refused
while [ "$run" -lt "$runs" ]; do
    # somewhat more than what fitted the last time
    size=$((size / 100 * 101))
    while [ "$(takes "$size")" = refused ]; do size=$((size / 200 * 199)); done
    echo "$size" >> /out/runs
    run=$((run + 1))
done
kills >> /out/kills
plimsoll explain --json > /out/after.json
