#!/bin/sh
# A server and a client of NFS in one guest: the client walks over many files, as a build does that looks for its headers, and keeps
# their inodes and names until memory is short.
#
#   sh nfs.sh FILES
#
# Wants the modules nfsd and nfsv4. There is no user space of NFS here: the kernel's caches of exports are told beforehand what mountd(8) would
# answer, and version 4 needs neither rpcbind nor mountd. Leaves in /out what `plimsoll explain` says before and after (before.json,
# after.json, after.txt), and slabinfo.
set -e
files=$1
mkdir -p /out /export /mnt/nfs /var/lib/nfs/v4recovery
ip link set lo up

mount -t tmpfs -o size=100%,nr_inodes=0 tmpfs /export
per_directory=500
directory=0
made=0
while [ "$made" -lt "$files" ]; do
    mkdir /export/d$directory
    cd /export/d$directory
    file=0
    while [ "$file" -lt "$per_directory" ]; do
        : > header$file.h
        file=$((file + 1))
    done
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
umount /mnt/nfs
echo 0 > /proc/fs/nfsd/threads
