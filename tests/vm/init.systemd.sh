#!/bin/busybox sh
# What a root file system would have, and then systemd as the first process, which mounts cgroup2.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=755 tmpfs /run
for module in $(cat /modules/order); do insmod "/modules/$module"; done
mkdir -p /disk /var/lib /etc/systemd/system
mount -t ext4 /dev/vda /disk && chmod 1777 /disk
chmod 1777 /tmp
mkdir -p /run/user/1000
chown 1000:1000 /run/user/1000
chmod 700 /run/user/1000
ip link set lo up
: >/etc/machine-id
exec /lib/systemd/systemd --log-level=warning --log-target=console --show-status=no
