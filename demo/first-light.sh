#!/bin/sh
# Builds an image out of this machine's own programs, runs a container from it, and shows the same
# questions answered on both sides of the glass.
#
# usage: first-light.sh CLOCHE
set -eu

cloche=$(realpath "${1:-.venv/bin/cloche}")

if [ "$(id -u)" -ne 0 ]; then
    echo "this demonstration makes namespaces, mounts and cgroups: run it as root" >&2
    exit 1
fi

# Stores of its own and no bridge, so that it leaves nothing behind.
place=$(mktemp -d "${TMPDIR:-/tmp}/first-light.XXXXXX")
trap 'rm -rf "$place"' EXIT
export CLOCHE_ROOT="$place/root" CLOCHE_STATE="$place/state" CLOCHE_NETWORK=none

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold= plain=; fi
title() { printf '\n%s%s%s\n\n' "$bold" "$*" "$plain"; }
show() { printf '  $ cloche %s\n' "$*"; "$cloche" "$@" 2>&1 | sed 's/^/    /'; }

# Asks one process about itself. Runs unchanged outside and inside, with nothing but sh, cat and ls.
probe='
count() { echo $#; }
field() { while read -r key value; do [ "$key" = "$1:" ] && echo $value && return; done </proc/self/status; }
limit() {
    for file in "/sys/fs/cgroup/$1/$1.$2" "/sys/fs/cgroup/$1.max"; do
        [ -r "$file" ] && cat "$file" && return
    done
    echo none
}
root() { while read -r _ _ _ _ at _ rest; do [ "$at" = / ] && echo "${rest#*- }" && return; done </proc/self/mountinfo; }
kind() { echo "$1"; }
echo "hostname              $(cat /proc/sys/kernel/hostname)"
echo "process id            $$"
echo "processes in sight    $(count /proc/[0-9]*)"
echo "root filesystem       $(kind $(root))"
echo "mounts                $(count $(while read -r line; do echo mount; done </proc/self/mountinfo))"
echo "files in /root        $(count $(ls -A /root 2>/dev/null))"
echo "devices               $(count $(ls /dev))"
echo "network interfaces    $(echo $(ls /sys/class/net))"
echo "memory limit          $(limit memory limit_in_bytes)"
echo "process limit         $(limit pids max)"
echo "capabilities          $(field CapEff)"
echo "new privileges        $([ "$(field NoNewPrivs)" = 1 ] && echo never || echo possible)"
echo "system call filter    $([ "$(field Seccomp)" = 2 ] && echo yes || echo no)"
'

title "An image of this machine's own programs and the libraries they need"
show image from-host first-light /bin/sh /bin/cat /bin/ls
show images

title "The same questions, asked here and inside a container"
printf '  $ cloche run --rm --hostname glass --memory 64m --pids-limit 20 --security-opt no-new-privileges first-light sh -c PROBE\n\n'
sh -c "$probe" >"$place/here"
"$cloche" run --rm --hostname glass --memory 64m --pids-limit 20 --security-opt no-new-privileges first-light sh -c "$probe" >"$place/inside"
printf '    %-22s%-28s%s\n' '' 'here' 'inside'
paste -d '|' "$place/here" "$place/inside" | while IFS='|' read -r here inside; do
    printf '    %-22.22s%-28.27s%s\n' "$here" "${here#??????????????????????}" "${inside#??????????????????????}"
done

# A demonstration that shows something else than isolation is a failed one.
for expected in 'hostname              glass' 'process id            1' 'memory limit          67108864' \
    'process limit         20' 'network interfaces    lo' 'new privileges        never' \
    'system call filter    yes'; do
    grep -qx "$expected" "$place/inside" || { echo "expected inside: $expected" >&2; exit 1; }
done

title "Exit codes and limits are the container's own"
printf '  $ cloche run --rm first-light sh -c "exit 42"\n'
code=0
"$cloche" run --rm first-light sh -c 'exit 42' || code=$?
printf '    exit code %s\n' "$code"
[ "$code" -eq 42 ]

title "And afterwards there is nothing left of it"
show ps --all
