#!/bin/sh
# One daemon after another beside one trouble after another, in one guest with cgroup v2: what died, what stood still, for how long.
#
#   sh rivals.sh swap|store SEED TIMES DAEMONS SCENARIOS
#
# Every daemon meets every scenario so many times, in an order drawn by the seed.
#
# swap: the guest's disk is swap, for all daemons alike. store: it is a file system, for the guard's stores and for files that a
# scenario reads, and there is no swap. Daemons: see rivals/daemons.sh. Scenarios: see `trouble`. Rivals lie in /rivals, and so does
# stress-ng where it is asked for (lab/scenes/rivals/fetch.sh).
# /out/runs gets a line of JSON for each; /out/log.N what the daemon said.
config=$1 seed=$2 times=$3 daemons=$4 scenarios=$5
. "${0%/*}/rivals/daemons.sh"
mkdir -p /out /etc/plimsoll /var/lib/plimsoll/parked $top/work /disk
echo +memory +pids > $top/cgroup.subtree_control
echo +memory +pids > $top/work/cgroup.subtree_control
disk=/dev/vda
if [ "$config" = store ]; then
    swapoff $disk
    mke2fs -b 4096 $disk > /dev/null 2>&1
    mount -t ext4 $disk /disk && mkdir -p -m 700 /disk/parked /disk/files || exit 1
    mount -o bind /disk/parked /var/lib/plimsoll/parked || exit 1
    timeout 20 victim rounds 120 /disk/files > /dev/null # makes them
fi

now() { cut -d' ' -f1 /proc/uptime | tr -d .; } # hundredths of a second
kills() { sed -n 's/^oom_kill //p' /proc/vmstat; }

# Starts one, in a group; what it says, and how and when it ended, is written down.
start() {
    name=$1
    shift
    (in_group work/$name "$@" < /dev/null > $run/said.$name 2>&1; echo "$name $? $(now)" >> $run/ended) &
}

agents() { # COUNT MIB: such that sit there and hold memory
    for n in $(seq "$1"); do start agent$n victim hog "$2" 0; done
    sleep 2
}

stress() { start hog env LD_LIBRARY_PATH=/rivals/lib /rivals/lib/ld-linux-x86-64.so.2 /rivals/stress-ng --quiet --temp-path /tmp "$@"; }

# SCENARIO: for how many seconds it is looked at, beside how many idle ones of how many MiB
scene() {
    case $1 in
    hog) echo 8 8 20 ;;
    crowd) echo 10 24 7 ;;
    leak) echo 10 8 20 ;;
    thrash) echo 20 8 18 ;;
    build) echo 20 8 20 ;;
    benign) echo 600 8 12 ;;
    *) echo 20 8 20 ;;
    esac
}

trouble() {
    case $1 in
    hog | crowd) start hog victim hog 4000 0 ;;
    leak) start hog victim hog 4000 40 ;;
    # Files that are read over and over and fit, were it not for one who takes memory and keeps it.
    thrash) start reader victim rounds 120 /disk/files; sleep 2; start hog victim hog 85 40 ;;
    through) start hog victim rounds 560 ;;
    stress) stress --brk 2 --stack 2 --bigheap 2 ;;
    build) start build victim build 150 8 ;;
    bomb) start hog sh -c 'while :; do victim hog 8 0 & usleep 40000; done' ;;
    respawner) start hog sh -c 'while :; do victim hog 4000 0; done' ;;
    # Builds that fit, one after the other, and files that are read.
    benign) start build sh -c 'while victim build 40 8; do :; done'; start reader victim rounds 48 /disk/files ;;
    esac
}

# Processor time of those that did not cause the trouble and were ended before they had done their work, in milliseconds.
lost() {
    sort -u $run/ended | while read -r name status _; do
        [ "$name" = hog ] || [ "$status" = 0 ] || sed -n 's/^usage_usec //p' $top/work/$name/cpu.stat
    done | awk '{ sum += $1 } END { print int(sum / 1000) }'
}

# What the guard did, how often: "freeze 1 park 4".
deeds() { sed -n '/"act":{"at_ms":[0-9]*,"whom":{/{s/.*"deed":\({"rung":\)\?"\([a-z-]*\)".*/\2/p}' $run/acts 2> /dev/null | sort | uniq -c | awk '{ printf "%s %s ", $2, $1 }'; }

one() { # DAEMON SCENARIO
    run=/out/run$count
    mkdir -p $run
    : > $run/ended
    echo 3 > /proc/sys/vm/drop_caches
    [ "$config" = swap ] && swapoff $disk && swapon $disk
    set -- "$1" "$2" $(scene "$2")
    agents "$4" "$5"
    printf '[files]\nlog = "%s/acts"\n' "$run" > $run/toml
    daemon "$1"
    sleep 6 # they are idle by now
    before=$(kills)
    in_group pulse victim pulse "$3" > $run/pulse &
    pulse=$!
    begun=$(now)
    trouble "$2"
    wait $pulse
    killed=$(($(kills) - before))
    ended=$(head -c 300 $run/ended | tr '\n' ';')
    wrong=$(grep -c '^agent\|^reader' $run/ended)
    hogs=$(grep -c '^hog' $run/ended)
    held=$(cat $top/work/*/memory.current | awk '{ sum += $1 } END { print int(sum / 1048576) }')
    first=$(awk -v from="$begun" '$3 >= from { print ($3 - from) * 10; exit }' $run/ended)
    act=$(sed -n '/"act":{/{s/.*"at_ms":\([0-9]*\),"whom":{.*/\1/p;q}' $run/acts 2> /dev/null)
    [ -n "$act" ] && act=$((act - begun * 10))
    rounds=$(cat $run/said.* | grep '^[0-9]*$' | tail -n 1)
    echo "{\"daemon\":\"$1\",\"scenario\":\"$2\",\"config\":\"$config\",\"place\":$count,$(cat $run/pulse),\"first_act_ms\":${act:-null},\"first_death_ms\":${first:-null},\"wrong\":$wrong,\"hog_ends\":$hogs,\"lost_ms\":$(lost),\"rounds_mib\":${rounds:-null},\"kernel_kills\":$killed,\"held_mib\":$held,\"deeds\":\"$(deeds)\",\"ended\":\"$ended\"}" | tee -a /out/runs
    cp $run/log /out/log.$count 2> /dev/null
    [ -d $top/daemon ] && echo 1 > $top/daemon/cgroup.kill
    [ -d $top/manager ] && echo 1 > $top/manager/cgroup.kill
    sleep 0.5
    plimsoll guard thaw > /dev/null 2>&1
    echo 1 > $top/work/cgroup.kill
    sleep 0.3
    rm -rf /run/plimsoll /run/systemd /var/lib/plimsoll/parked/* $run/said.*
    killall victim plimsoll 2> /dev/null
    sleep 0.3
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
