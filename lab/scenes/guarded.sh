#!/bin/sh
# Idle agents and a build that needs more than is left, in a guest with cgroup v2: with the guard, under another daemon, or without.
#
#   sh guarded.sh guard|none|earlyoom|nohang|oomd store|swap|nothing AGENTS AGENT_MIB BUILD_MIB BUILD_S [PULSE_S [CHECK_EACH]]
#
# The guest's disk is where stores lie, or swap, or nothing. The others lie in /rivals (lab/scenes/rivals/fetch.sh).
# Leaves in /out: result (how the build ended and when; a line for each agent: dead, or alive, microseconds until it answered, whether
# its memory is whole, which is asked of each CHECK_EACH-th; how many live in the end; kills by the kernel; stalls), pulse (what a
# locked program felt for PULSE_S seconds from the first agent on), guard.log, and log (what the daemon said).
daemon=$1 disk_is=$2 agents=$3 mib=$4 build_mib=$5 build_s=$6 pulse_s=${7:-30} check_each=${8:-1}
mkdir -p /out /etc/plimsoll /var/lib/plimsoll/parked
. "${0%/*}/rivals/daemons.sh"
[ -e $top/cgroup.controllers ] || mount -t cgroup2 none $top
echo +memory > $top/cgroup.subtree_control
mkdir $top/work
echo +memory > $top/work/cgroup.subtree_control

disk=$(sed -n '2s/ .*//p' /proc/swaps)
[ "$disk_is" = swap ] || swapoff "$disk"
if [ "$disk_is" = store ]; then
    mke2fs -b 4096 "$disk" > /dev/null 2>&1
    mount -t ext4 "$disk" /var/lib/plimsoll/parked && chmod 700 /var/lib/plimsoll/parked || exit 1
fi

seconds() { cut -d. -f1 /proc/uptime; }
kills() { sed -n 's/^oom_kill //p' /proc/vmstat; }
stalls() { sed 's/.*total=//' /proc/pressure/memory | tr '\n' ' '; } # some, full: microseconds

run=/out
printf '[files]\nlog = "/out/guard.log"\n' > /out/toml
daemon "$daemon"

begun=$(seconds)
in_group pulse victim pulse "$pulse_s" > /out/pulse &
pulse=$!
for n in $(seq "$agents"); do
    mkfifo /tmp/in$n /tmp/out$n
    in_group work/agent$n victim agent "$mib" <> /tmp/in$n > /tmp/out$n 3<> /tmp/out$n &
    eval "pid$n=\$!"
    read -r word < /tmp/out$n || word=none
    [ "$word" = ready ] || echo "agent $n did not come up" >> /out/result
done
sleep 6 # they are idle by now
date -s "@$(($(date +%s) - 86400))" > /dev/null # a step of the clock, which nobody should decide by
echo "agents $(($(seconds) - begun)) s, kills $(kills), stalls $(stalls)" | tee -a /out/result

free -m | sed -n 2p
begun=$(seconds)
in_group work/build victim build "$build_mib" "$build_s"
echo "build $? after $(($(seconds) - begun)) s, kills $(kills), stalls $(stalls)" | tee -a /out/result
free -m | sed -n 2p
echo "parked $(find /run/plimsoll/parked -maxdepth 1 -name '*-*' 2> /dev/null | wc -l)" >> /out/result

for n in $(seq "$agents"); do
    eval "pid=\$pid$n"
    if kill -0 "$pid" 2> /dev/null; then
        answer=$(timeout 60 victim ask /tmp/in$n /tmp/out$n)
        whole=unread
        if [ $((n % check_each)) = 0 ]; then
            echo check > /tmp/in$n
            read -r whole < /tmp/out$n
        fi
        echo "agent $n alive $answer $whole" | tee -a /out/result
    else
        echo "agent $n dead" >> /out/result
    fi
done
living=0
for n in $(seq "$agents"); do
    eval "kill -0 \$pid$n" 2> /dev/null && living=$((living + 1))
done
echo "living $living" >> /out/result # of those that answered, one may have been ended after that
echo "kills $(kills)" >> /out/result
wait $pulse
cat /out/pulse /out/result
dmesg | grep -i 'killed process' | tail -n 50 > /out/killed
[ ! -e /out/log ] || cat /out/log
