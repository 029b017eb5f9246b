# Daemons to be tried beside each other, and groups to run them in; to be read by a scene, which sets `run`: the directory for what
# they say (log), with a configuration of the guard (toml) in it.
#
# Daemons: none, earlyoom, nohang, oomd, dry-run, kill-only, guard.
top=/sys/fs/cgroup

# in_group GROUP COMMAND...
in_group() {
    group=$top/$1
    shift
    mkdir -p "$group"
    sh -c 'echo $$ > "$0/cgroup.procs"; exec "$@"' "$group" "$@"
}

daemon() {
    rival() { LD_LIBRARY_PATH=/rivals/lib in_group daemon /rivals/lib/ld-linux-x86-64.so.2 "$@" > $run/log 2>&1 & }
    guard() {
        in_group daemon plimsoll guard --config $run/toml "$@" 2> $run/log &
        until grep -q 'at work' $run/log; do sleep 0.1; done
    }
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
}
