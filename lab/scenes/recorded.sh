#!/bin/sh
# A guest that swaps as hard as it can. A recorder was started before; beside it runs what people do instead: a shell that prints
# /proc/slabinfo once a second.
#
#   sh recorded.sh SECONDS      so long at least
#
# Leaves in /out: recorder (the recorder's lines), recordings, script (the uptime at each round of the shell, in seconds),
# swapped (pages in and out meanwhile).
set -e
seconds=$1
mkdir -p /out

plimsoll record /out/recordings --json > /out/recorder 2> /out/recorder.err &
recorder=$!
until grep -q Recording /out/recorder.err; do sleep 0.1; done

while :; do
    cat /proc/slabinfo > /dev/null
    cut -d ' ' -f 1 /proc/uptime >> /out/script
    sleep 1
done &
script=$!

# Each goes through memory of its own, again and again; together they want twice what there is.
hogs=
for hog in 1 2 3; do
    sleep 1000 | victim large > /dev/null &
    hogs="$hogs $!"
done
sleep "$seconds"
# a slow machine takes its time to swap
until [ "$(awk '/^pswpin / { print $2 }' /proc/vmstat)" -gt 20000 ]; do sleep 1; done
grep -E '^(pswpin|pswpout|pgmajfault|oom_kill) ' /proc/vmstat > /out/swapped

kill $hogs $script
kill "$recorder"
wait "$recorder"
cat /out/recorder.err
