#!/bin/sh
# A server and a client of NFS in one guest: the client walks over many files, as a build does that looks for its headers, and keeps
# their inodes and names until memory is short. Then the guest swaps as hard as it can, with a recorder beside it (`recorded.sh`).
#
#   sh nfs.sh FILES SECONDS
#
# Wants the modules nfsd and nfsv4, a swap disk, and zram (which on 6.1 wants lzo-rle). There is no user space of NFS here: the kernel's caches of exports are told beforehand what mountd(8) would
# answer, and version 4 needs neither rpcbind nor mountd. Leaves in /out what `plimsoll explain` says before and after (before.json,
# after.json, after.txt), and slabinfo.
set -e
files=$1 seconds=$2
swap=$(sed -n '2s/ .*//p' /proc/swaps)
swapoff "$swap"
mkdir -p /out /export /mnt/nfs /var/lib/nfs/v4recovery
ip link set lo up

mount -t tmpfs -o size=100%,nr_inodes=0 tmpfs /export
per_directory=500
directory=0
made=0
while [ "$made" -lt "$files" ]; do
    mkdir /export/d$directory
    cd /export/d$directory
    seq "$per_directory" | sed 's/$/.h/' | xargs touch
    made=$((made + per_directory))
    directory=$((directory + 1))
done
cd /

mount -t nfsd nfsd /proc/fs/nfsd
for_ever=4000000000
# The first makes the domain that the others name.
echo "nfsd 127.0.0.1 $for_ever *" > /proc/net/rpc/auth.unix.ip/channel
# rw, insecure port, async, no root squash, no subtree check, fsid 0
echo "* /export $for_ever 9234 65534 65534 0" > /proc/net/rpc/nfsd.export/channel
echo "* 1 \\x00000000 $for_ever /export" > /proc/net/rpc/nfsd.fh/channel
echo 10 > /proc/fs/nfsd/nfsv4gracetime
echo 10 > /proc/fs/nfsd/nfsv4leasetime
echo "-2 -3 +4" > /proc/fs/nfsd/versions || true
echo 2 > /proc/fs/nfsd/threads
mount -t nfs4 -o vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1 127.0.0.1:/ /mnt/nfs

plimsoll explain --json > /out/before.json
find /mnt/nfs -name "*.h" -size +1 | wc -l
# Something else wants memory now.
free=$(awk '/^MemFree/ { print int($2 / 1024) }' /proc/meminfo)
dd if=/dev/zero of=/export/wanted bs=1M count=$((free - 16)) 2> /dev/null
plimsoll explain --json > /out/after.json
plimsoll explain > /out/after.txt
cat /proc/slabinfo > /out/slabinfo
cat /proc/meminfo > /out/meminfo

rm /export/wanted
swapon "$swap"
echo 64M > /sys/block/zram0/disksize
mkswap /dev/zram0 > /dev/null
swapon /dev/zram0
plimsoll explain --json > /out/two-swaps.json
swapoff /dev/zram0
sh /scenes/recorded.sh "$seconds"
umount /mnt/nfs
echo 0 > /proc/fs/nfsd/threads
