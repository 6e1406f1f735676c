#!/bin/busybox sh
# The guest's first process: kernel file systems, modules, a disk for temporary files, then the agent.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/root
/bin/busybox mkdir -p /bin /sbin /proc /sys /dev /run /tmp /root /usr/bin /var/tmp /newroot
for place in /bin /usr/bin; do /bin/busybox --install -s $place; done 2>/dev/null
# pivot_root(2) refuses to leave the file system that the kernel began with, but not a mount of it.
mount --bind / /newroot
cd /newroot || exit 1
mount --move . /
exec chroot . /bin/busybox sh /init.inside "$@"
