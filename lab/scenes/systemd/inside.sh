# Run by systemd, as root, beside nobody: holds of a command, of a service that runs, and what systemd itself says of them.
#
#   sh inside.sh RAM SWAP ANON
#
# /out/said gets a line for each: NAME and what was found. /out/failed is empty where all went well.
ram=$1 swap=$2 anon=$3
exec > /out/said 2>> /out/failed
say() { echo "$@"; }
top=/sys/fs/cgroup

say version "$(systemctl --version | head -n 1)"
say booted "$(cat /proc/1/comm) $([ -d /run/systemd/system ] && echo yes)"

# A command in a scope of its own: it says where it is and what its group's files say.
plimsoll run --ram "$ram" --swap "$swap" --name build -- sh -c '
    group=/sys/fs/cgroup$(sed -n "s/^0:://p" /proc/self/cgroup)
    echo "scope $group"
    for file in max high swap.max; do echo "scope.$file $(cat $group/memory.$file)"; done
    echo "unit $(systemctl show -p MemoryMax,MemoryHigh,MemorySwapMax plimsoll-hold-build.scope | tr "\n" " ")"
    echo "holds $(plimsoll holds build --json)"
    exit 7'
say status $?
say after "$(plimsoll holds --json)"

# Both numbers under a load that is larger than both, beside systemd's own way.
plimsoll run --quiet --ram "$ram" --swap "$swap" --name load -- sh -c '
    victim anon "$0" < /dev/null > /dev/null 2>&1 || true
    group=/sys/fs/cgroup$(sed -n "s/^0:://p" /proc/self/cgroup)
    echo "held $(cat $group/memory.peak) $(cat $group/memory.swap.peak)"' "$anon"
systemd-run --quiet --scope -p MemoryMax="$ram" -- sh -c '
    victim anon "$0" < /dev/null > /dev/null 2>&1 || true
    group=/sys/fs/cgroup$(sed -n "s/^0:://p" /proc/self/cgroup)
    echo "plain $(cat $group/memory.peak) $(cat $group/memory.swap.peak)"' "$anon"

# A service that runs.
systemctl start web.service
group=$top$(systemctl show -p ControlGroup --value web.service)
before=$(cat "$group/memory.max" "$group/memory.swap.max" | tr '\n' ' ')
plimsoll hold web.service --ram "$ram" --swap "$swap" --json > /out/hold.json
say hold $? "$(cat /out/hold.json)"
say service "$(cat "$group/memory.max" "$group/memory.high" "$group/memory.swap.max" | tr '\n' ' ')"
systemctl daemon-reload
say reloaded "$(cat "$group/memory.max" "$group/memory.high" "$group/memory.swap.max" | tr '\n' ' ')"
plimsoll release web.service
say release $?
[ "$(cat "$group/memory.max" "$group/memory.swap.max" | tr '\n' ' ')" = "$before" ] && say restored

# A process of it, which has the unit to itself; and one that shares its unit.
plimsoll hold "$(systemctl show -p MainPID --value web.service)" --ram "$ram" --name pid > /dev/null
say pid $? "$(cat "$group/memory.max")"
plimsoll release pid
plimsoll hold $$ --ram "$ram" --name shared 2> /out/shared
say shared $? "$(head -n 1 /out/shared)"

# Killed, `plimsoll run` leaves its command behind in the scope: it is found, and released.
plimsoll run --quiet --ram "$ram" --name orphan -- sleep 1000 &
runner=$!
until systemctl is-active --quiet plimsoll-hold-orphan.scope; do sleep 0.1; done
kill -KILL $runner
say orphan "$(plimsoll holds orphan --json)"
plimsoll release orphan
say orphan.release $? "$(cat $top/system.slice/plimsoll-hold-orphan.scope/memory.max)"
systemctl stop plimsoll-hold-orphan.scope
say left "$(plimsoll holds --json)"
