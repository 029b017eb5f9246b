#!/bin/sh
# A small Debian with systemd for `lab/scenes/held-systemd.sh`, as an archive. Wants debootstrap and root.
#
#   sh fetch.sh FILE.tar        then --copy-in FILE.tar:/debian.tar
set -e
tree=$(mktemp -d)
archive=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian //p' | head -n 1)
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus bookworm "$tree" "$archive" > "$1.log"
# It lies in the guest's memory.
cd "$tree"
rm -rf var/cache/apt var/lib/apt/lists usr/share/doc usr/share/man usr/share/locale usr/share/i18n usr/share/zoneinfo \
    usr/lib/x86_64-linux-gnu/gconv usr/share/perl* usr/lib/x86_64-linux-gnu/perl* dev/*
tar -cf "$1" .
cd /
rm -r "$tree"
