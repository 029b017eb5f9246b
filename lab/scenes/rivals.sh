#!/bin/sh
# One daemon after another beside one trouble after another, in one guest with cgroup v2: what died, what stood still, for how long.
#
#   sh rivals.sh swap|store SECONDS SEED TIMES DAEMONS SCENARIOS
#
# Every daemon meets every scenario so many times, in an order drawn by the seed.
#
# swap: the guest's disk is swap, for all daemons alike. store: it is a file system for the guard's stores, and there is no swap.
# Daemons: none, earlyoom, nohang, oomd, dry-run, kill-only, guard. Scenarios: see `trouble`. Rivals lie in /rivals
# (lab/scenes/rivals/fetch.sh). /out/runs gets a line of JSON for each; /out/log.N what the daemon said.
config=$1 seconds=$2 seed=$3 times=$4 daemons=$5 scenarios=$6
top=/sys/fs/cgroup
mkdir -p /out /etc/plimsoll /var/lib/plimsoll/parked $top/work
echo +memory +pids > $top/cgroup.subtree_control
echo +memory +pids > $top/work/cgroup.subtree_control
disk=/dev/vda
if [ "$config" = store ]; then
    swapoff $disk
    mke2fs -b 4096 $disk > /dev/null 2>&1
    mount -t ext4 $disk /var/lib/plimsoll/parked && chmod 700 /var/lib/plimsoll/parked || exit 1
fi

now() { cut -d' ' -f1 /proc/uptime | tr -d .; } # hundredths of a second
kills() { sed -n 's/^oom_kill //p' /proc/vmstat; }

# in GROUP COMMAND...
in_group() {
    group=$top/$1
    shift
    mkdir -p "$group"
    sh -c 'echo $$ > "$0/cgroup.procs"; exec "$@"' "$group" "$@"
}

# Starts one, in a group; how and when it ended is written down.
start() {
    name=$1
    shift
    (in_group work/$name "$@" < /dev/null > /dev/null 2>&1; echo "$name $? $(now)" >> $run/ended) &
}

idle() { # COUNT MIB: such that sit there and hold memory
    for n in $(seq "$1"); do start agent$n victim hog "$2" 0; done
    sleep 6
}

trouble() {
    case $1 in
    hog) start hog victim hog 4000 0 ;;
    leak) start hog victim hog 4000 40 ;;
    build) start build victim build 150 8 ;;
    bomb) start hog sh -c 'while :; do victim hog 8 0 & usleep 40000; done' ;;
    respawner) start hog sh -c 'while :; do victim hog 4000 0; done' ;;
    benign) start build victim build 40 8 ;;
    esac
}

daemon() {
    rival() { LD_LIBRARY_PATH=/rivals/lib in_group daemon /rivals/lib/ld-linux-x86-64.so.2 "$@" > $run/log 2>&1 & }
    guard() {
        in_group daemon plimsoll guard --config $run/toml "$@" 2> $run/log &
        until grep -q 'at work' $run/log; do sleep 0.1; done
    }
    printf '[files]\nlog = "%s/acts"\n' "$run" > $run/toml
    case $1 in
    none) ;;
    earlyoom) rival /rivals/earlyoom ;;
    nohang) PYTHONHOME=/rivals/home rival /rivals/python3 -S /rivals/nohang --monitor --config /rivals/nohang.conf ;;
    oomd)
        PYTHONHOME=/rivals/home LD_LIBRARY_PATH=/rivals/lib in_group manager /rivals/lib/ld-linux-x86-64.so.2 \
            /rivals/python3 -S /rivals/manager.py 2> $run/manager &
        until [ -e /run/systemd/io.system.ManagedOOM ]; do sleep 0.1; done
        rival /rivals/systemd-oomd
        ;;
    dry-run) guard --dry-run ;;
    kill-only)
        printf '[[workload]]\nmatch = "*"\nladder = ["stop", "kill"]\n' >> $run/toml
        guard
        ;;
    guard) guard ;;
    esac
    sleep 2
}

one() { # DAEMON SCENARIO
    run=/out/run$count
    mkdir -p $run
    : > $run/ended
    echo 3 > /proc/sys/vm/drop_caches
    [ "$config" = swap ] && swapoff $disk && swapon $disk
    daemon "$1"
    idle 8 20
    before=$(kills)
    in_group pulse victim pulse "$seconds" > $run/pulse &
    pulse=$!
    begun=$(now)
    trouble "$2"
    wait $pulse
    killed=$(($(kills) - before))
    ended=$(tr '\n' ';' < $run/ended)
    wrong=$(grep -c '^agent' $run/ended)
    held=$(cat $top/work/*/memory.current | awk '{ sum += $1 } END { print int(sum / 1048576) }')
    first=$(awk -v from="$begun" '$3 >= from { print ($3 - from) * 10; exit }' $run/ended)
    act=$(sed -n '/"act":{/{s/.*"at_ms":\([0-9]*\),"whom":{.*/\1/p;q}' $run/acts 2> /dev/null)
    [ -n "$act" ] && act=$((act - begun * 10))
    echo "{\"daemon\":\"$1\",\"scenario\":\"$2\",\"config\":\"$config\",\"place\":$count,$(cat $run/pulse),\"first_act_ms\":${act:-null},\"first_death_ms\":${first:-null},\"wrong\":$wrong,\"kernel_kills\":$killed,\"held_mib\":$held,\"ended\":\"$ended\"}" | tee -a /out/runs
    cp $run/log /out/log.$count 2> /dev/null
    [ -d $top/daemon ] && echo 1 > $top/daemon/cgroup.kill
    [ -d $top/manager ] && echo 1 > $top/manager/cgroup.kill
    sleep 0.5
    plimsoll guard thaw > /dev/null 2>&1
    echo 1 > $top/work/cgroup.kill
    sleep 0.5
    rm -rf /run/plimsoll /run/systemd /var/lib/plimsoll/parked/*
    killall victim plimsoll 2> /dev/null
    sleep 0.5
    rmdir $top/work/* $top/daemon $top/manager $top/pulse 2> /dev/null
}

count=0
order=$(for time in $(seq "$times"); do
    for scenario in $scenarios; do
        for daemon in $daemons; do echo "$daemon/$scenario"; done
    done
done | awk -v seed="$seed" 'BEGIN { srand(seed) } { print rand(), $0 }' | sort -n | cut -d' ' -f2)
for item in $order; do
    count=$((count + 1))
    one "${item%%/*}" "${item#*/}"
done
