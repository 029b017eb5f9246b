#!/bin/sh
# Idle agents and a build that needs more than is left, in a guest with cgroup v2: with the guard, or without.
#
#   sh guarded.sh guard|none|COMMAND store|swap|nothing AGENTS AGENT_MIB BUILD_MIB BUILD_S
#
# The guest's disk is where stores lie, or swap, or nothing.
# Leaves in /out: result (a line for each agent: alive or dead, microseconds until it answered; how the build ended; kills by the
# kernel), guard.log and guard.err.
guard=$1 disk_is=$2 agents=$3 mib=$4 build_mib=$5 build_s=$6
mkdir -p /out /etc/plimsoll /var/lib/plimsoll/parked
groups=/sys/fs/cgroup
[ -e $groups/cgroup.controllers ] || mount -t cgroup2 none $groups
echo +memory > $groups/cgroup.subtree_control

disk=$(sed -n '2s/ .*//p' /proc/swaps)
[ "$disk_is" = swap ] || swapoff "$disk"
if [ "$disk_is" = store ]; then
    mke2fs -b 4096 "$disk" > /dev/null 2>&1
    mount -t ext4 "$disk" /var/lib/plimsoll/parked && chmod 700 /var/lib/plimsoll/parked || exit 1
fi

# in GROUP COMMAND...: runs it in a group of its own
in_group() {
    group=$groups/$1
    shift
    mkdir -p "$group"
    sh -c 'echo $$ > "$0/cgroup.procs"; exec "$@"' "$group" "$@"
}

printf '[files]\nlog = "/out/guard.log"\n' > /etc/plimsoll/guard.toml
case $guard in
guard)
    in_group guard plimsoll guard 2> /out/guard.err &
    until grep -q 'at work' /out/guard.err; do sleep 0.2; done
    ;;
none) ;;
*) in_group guard $guard 2> /out/guard.err > /out/guard.out & ;;
esac

for n in $(seq "$agents"); do
    mkfifo /tmp/in$n /tmp/out$n
    in_group agent$n victim agent "$mib" <> /tmp/in$n > /tmp/out$n 3<> /tmp/out$n &
    eval "pid$n=\$!"
    read -r word < /tmp/out$n || exit 1
    [ "$word" = ready ] || exit 1
done
sleep 6 # they are idle by now
date -s "@$(($(date +%s) - 86400))" > /dev/null # a step of the clock, which nobody should decide by

free -m | sed -n 2p
kills=$(sed -n 's/^oom_kill //p' /proc/vmstat)
in_group build victim build "$build_mib" "$build_s"
build=$?
echo "build $build" > /out/result
free -m | sed -n 2p
find /run/plimsoll/parked -maxdepth 1 -name '*-*' | wc -l

for n in $(seq "$agents"); do
    eval "pid=\$pid$n"
    if kill -0 "$pid" 2> /dev/null; then
        answer=$(timeout 30 victim ask /tmp/in$n /tmp/out$n)
        echo check > /tmp/in$n
        read -r whole < /tmp/out$n
        echo "agent $n alive $answer $whole" >> /out/result
    else
        echo "agent $n dead" >> /out/result
    fi
done
echo "kills $(($(sed -n 's/^oom_kill //p' /proc/vmstat) - kills))" >> /out/result
cat /out/result
[ -e /out/guard.err ] && cat /out/guard.err
true
