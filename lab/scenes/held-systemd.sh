#!/bin/sh
# Holds under systemd, by its own means: Debian's systemd as the first process of a container in a guest with cgroup v2 and zram for
# swap, and both numbers beside `systemd-run -p MemoryMax`. Wants /debian.tar (systemd/fetch.sh) and the modules zram and lzo-rle.
#
#   sh held-systemd.sh RAM SWAP ANON       ANON is the part of `victim anon` that is more than RAM and SWAP together
#
# Leaves in /out what inside.sh, which runs as a service of that systemd, says there: a line for each thing that was tried.
set -e
ram=$1 swap=$2 anon=$3
root=/debian
mkdir -p $root
tar -xf /debian.tar -C $root
rm /debian.tar
mkdir -p /out $root/out $root/scenes $root/etc/systemd/system/multi-user.target.wants
echo 512M > /sys/block/zram0/disksize
mkswap /dev/zram0 > /dev/null
swapon /dev/zram0
cp /scenes/systemd/inside.sh $root/scenes/
cp /bin/victim $root/usr/bin/
cp /bin/plimsoll $root/usr/bin/
cat > $root/etc/systemd/system/scene.service << UNIT
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh /scenes/inside.sh $ram $swap $anon
ExecStopPost=/usr/bin/touch /out/ended
UNIT
cat > $root/etc/systemd/system/web.service << 'UNIT'
[Service]
ExecStart=/bin/sleep 100000
UNIT
ln -s ../scene.service $root/etc/systemd/system/multi-user.target.wants/scene.service
: > $root/etc/machine-id
# A container's first process: its own processes, mounts and names of groups, and a root that is a mount.
mount -o bind $root $root
for file in proc sys dev; do mkdir -p $root/$file; done
mount -o bind /dev $root/dev
mkdir -p /sys/fs/cgroup/container
echo +memory +pids > /sys/fs/cgroup/cgroup.subtree_control
# It moves into the group itself: who forked it is not to be in there, or no controller could be handed down.
cat > $root/start << 'START'
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo 0 > /sys/fs/cgroup/container/cgroup.procs
umount /sys/fs/cgroup
exec unshare --cgroup /bin/sh -c 'mount -t cgroup2 cgroup2 /sys/fs/cgroup
    exec env container=lab /lib/systemd/systemd --log-target=console --show-status=false'
START
chroot $root /usr/bin/unshare --mount --pid --fork /bin/sh /start > /out/systemd.log 2>&1 < /dev/null &
first=$!
waited=0
until [ -e $root/out/ended ]; do
    kill -0 $first || break
    [ $waited -lt 240 ] || break
    waited=$((waited + 1))
    sleep 1
done
cp $root/out/* /out/
cat /out/said
