#!/bin/sh
# Gathers Debian's earlyoom, nohang, systemd-oomd and, where it is installed, stress-ng, with all that they need for `lab/scenes/rivals.sh`: a guest has no libraries.
#
#   sh fetch.sh DIRECTORY        then --copy-in DIRECTORY:/rivals
#
# systemd-oomd is told by systemd's process 1 which groups to watch; in the guest `manager.py` says it in its place.
set -e
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/lib" "$1/home/lib/python3.11/lib-dynload"
cd "$1"
packages=$(mktemp -d)
(cd "$packages" && apt-get download -q earlyoom nohang systemd-oomd libsystemd-shared)
for package in "$packages"/*.deb; do dpkg-deb -x "$package" "$packages/root"; done
root=$packages/root
cp "$root/usr/bin/earlyoom" "$root/usr/sbin/nohang" "$root/etc/nohang/nohang.conf" "$root/lib/systemd/systemd-oomd" "$here/manager.py" .
cp /usr/bin/python3.11 python3
[ ! -e /usr/bin/stress-ng ] || cp /usr/bin/stress-ng .

# what nohang imports, by the path of each module
/usr/bin/python3.11 -S -E -W ignore -c '
import os, re, signal, ctypes, operator, sre_constants, logging, threading, shlex, encodings.ascii, encodings.latin_1, sys
for module in list(sys.modules.values()):
    if getattr(module, "__file__", None): print(module.__file__)' | while read -r file; do
    to=home/lib/python3.11/$(dirname "${file#/usr/lib/python3.11/}")
    mkdir -p "$to"
    cp "$file" "$to/"
done

shared=$(dirname "$(find "$root" -name 'libsystemd-shared-*.so')")
LD_LIBRARY_PATH=$shared ldd earlyoom systemd-oomd python3 $(ls stress-ng 2> /dev/null) home/lib/python3.11/lib-dynload/*.so |
    sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u | while read -r library; do cp -L "$library" lib/; done
cp -L /lib64/ld-linux-x86-64.so.2 lib/
rm -r "$packages"
