#!/bin/sh
# A program fills the arenas that glibc makes for its threads: memory runs short, and Committed_AS stands still. What the kernel and
# `plimsoll explain` say before and with it is left in /out. Wants `victim`.
set -e
mkdir -p /out
grep Committed_AS /proc/meminfo > /out/committed
plimsoll explain --json > /out/before.json
mkfifo /tmp/until
sleep 1000 > /tmp/until &
holder=$!
victim arenas < /tmp/until > /tmp/said &
until grep -q ready /tmp/said; do sleep 0.1; done
grep Committed_AS /proc/meminfo >> /out/committed
plimsoll explain --json > /out/after.json
plimsoll explain > /out/after.txt
kill "$holder"
wait || true
