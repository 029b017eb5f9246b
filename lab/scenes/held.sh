#!/bin/sh
# Memory of one kind after the other, each in a hold that it is too large for: what was kept of both numbers. To be run in a
# mount namespace of its own: what a killed load leaves in /dev/shm goes with the mount.
#
#   sh held.sh OUT RAM SWAP CASE...      a CASE is KIND:PART, as `victim KIND PART` takes it
#
# Leaves in OUT a KIND.json for each, what `plimsoll holds --json` said of it after the load. That the load is killed within
# its hold is what some of them are for.
set -e
out=$1 ram=$2 swap=$3
shift 3

# first: the first process of the hold that was looked at last
first() { head -n 1 "$(sed -n 's/.*"group":"\([^"]*\)".*/\1/p' "$seen")"/cgroup.procs; }

for case in "$@"; do
    kind=${case%:*} part=${case#*:} name=${case%:*}-$$ seen=$out/${case%:*}.json
    mount -t tmpfs tmpfs /dev/shm
    # TCP waits for room where others make some or are killed.
    case $kind in tcp-*) bound="timeout -s KILL 5" ;; *) bound= ;; esac
    # It stops itself after the load, which takes no memory where there is none left to be had.
    plimsoll run --quiet --ram "$ram" --swap "$swap" --name "$name" -- sh -c '
        $2 victim "$0" "$1" < /dev/null > /dev/null 2>&1
        kill -STOP $$
    ' "$kind" "$part" "$bound" &
    until plimsoll holds "$name" --json > "$seen" 2> /dev/null && grep -q '^State:.T' /proc/"$(first)"/status; do
        kill -0 $!
        sleep 0.1
    done
    plimsoll holds "$name" --json > "$seen"
    kill -CONT "$(first)"
    wait $!
    umount /dev/shm
done
