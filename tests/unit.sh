#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs docs/retrans-agent.service, or the unit UNIT, under systemd. Then runs it with parts removed,
# which must fail. EDIT is a sed script for all of these runs.
#
# usage: tests/unit.sh PROGRAM [ARGUMENT…]      it must print `ready source=…` on stderr, and end
#
# systemd is process 1 of its own namespaces of every kind except user. Changes of its file system
# are kept in memory and discarded. It has its own /dev, and its /sys and /proc/sys are read-only.
# It starts only this unit. Requires root and an installed systemd, which need not be running.
set -euo pipefail

# Enters its own cgroup, which is the root of the cgroups that systemd sees and changes. Then enters
# the other namespaces.
outer() {
	mkdir "$work/cgroup"
	mount -t cgroup2 none "$work/cgroup"
	mkdir "$work/cgroup/retrans-unit.$$"
	# The outer process must leave the cgroup, so that the cgroup can be removed.
	trap 'echo $$ >"$work/cgroup/cgroup.procs"; find "$work/cgroup/retrans-unit.$$" -depth -type d -exec rmdir {} \;' EXIT
	echo $$ >"$work/cgroup/retrans-unit.$$/cgroup.procs"
	timeout --kill-after 5 60 \
		unshare --mount --propagation private --pid --fork --kill-child --cgroup --net --ipc --uts "$0" inner "$work"
}

inner() {
	local root=$work/root
	mkdir "$work/memory" "$root"
	mount -t tmpfs memory "$work/memory"
	mkdir "$work/memory/upper" "$work/memory/work"
	mount -t overlay -o "lowerdir=/,upperdir=$work/memory/upper,workdir=$work/memory/work" overlay "$root"
	# Other mounts below / are not included, only these.
	mount -t proc proc "$root/proc"
	mount --bind "$root/proc/sys" "$root/proc/sys"
	mount -o remount,bind,ro "$root/proc/sys"
	mount --bind /sys "$root/sys"
	mount -o remount,bind,ro "$root/sys"
	mount -t tmpfs cgroup "$root/sys/fs/cgroup"
	mount -t cgroup2 cgroup "$root/sys/fs/cgroup"
	mount -t tmpfs run "$root/run"
	mount -t tmpfs tmp "$root/tmp"
	mount -t tmpfs dev "$root/dev"
	local name numbers
	while read -r name numbers; do
		# shellcheck disable=SC2086
		mknod -m 666 "$root/dev/$name" c $numbers
	done <<<$'null 1 3\nzero 1 5\nfull 1 7\nrandom 1 8\nurandom 1 9\ntty 5 0\nptmx 5 2'
	mkdir -p "$root/dev/shm" "$root/dev/pts" "$root/dev/mqueue" "$root/dev/hugepages" "$root/usr/local/bin"

	# The output directory: the only directory of this system that it can write to.
	mkdir "$root/run/out"
	mount --bind "$work/out" "$root/run/out"
	mount --bind "$work/program" "$root/usr/local/bin"
	cp "$work/unit" "$root/etc/systemd/system/retrans-agent.service"
	exec env container=other chroot "$root" /lib/systemd/systemd --system --unit=retrans-agent.service --show-status=no
}

# run SED: runs the unit edited by SED. Sets $said to its stderr and $result to systemd's result.
run() {
	rm -rf "$work/out" "$work/cgroup" "$work/root" "$work/memory"
	mkdir "$work/out"
	# More edits: nothing is started before the unit, systemd ends with it, and its output goes
	# to a file.
	sed -e "$1" -e "${EDIT-}" -e "s|^ExecStart=.*|& $arguments|" -e 's/^Restart=.*/Restart=no/' -e '/^\[Unit\]/a\
DefaultDependencies=no\
SuccessAction=exit\
FailureAction=exit' -e '/^\[Service\]/a\
StandardOutput=file:/run/out/stdout\
StandardError=file:/run/out/stderr\
ExecStopPost=+/bin/sh -c "echo $SERVICE_RESULT >/run/out/result"' "${UNIT:-docs/retrans-agent.service}" >"$work/unit"
	unshare --mount --propagation private "$self" outer "$work" </dev/null >"$work/console" 2>&1 || true
	said=$(cat "$work/out/stderr" 2>/dev/null || true)
	result=$(cat "$work/out/result" 2>/dev/null || echo "systemd did not run it: $(cat "$work/console")")
}

# must NAME RESULT PART-OF-STDERR SED
must() {
	run "$4"
	if [ "$result" != "$2" ] || [[ $said != *"$3"* ]]; then
		printf 'unit: %s: FAILED: %s\n%s\n' "$1" "$result" "$said"
		exit 1
	fi
	printf 'unit: %s: %s: %s\n' "$1" "$result" "$(head -1 <<<"$said" | cut -c 1-100)"
}

case ${1-} in
outer | inner)
	work=$2
	"$1"
	exit
	;;
esac

[ "$(id -u)" = 0 ] || { echo "unit: requires root" >&2; exit 2; }
[ $# -gt 0 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }
[ -x /lib/systemd/systemd ] || { echo "unit: requires systemd" >&2; exit 2; }
self=$(realpath "$0") program=$(realpath "$1") arguments=${*:2}
cd "$(dirname "$self")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/unit.XXXXXX")
# --one-file-system: never deletes a file system that may still be mounted there.
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir "$work/program"
cp "$program" "$work/program/retrans-agent"
# The service may run as any user.
chmod 755 "$work" "$work/program"

must "as it is" success "ready source=" ""
# Each of these parts must have an effect: without it the unit fails.
must "without CAP_BPF" exit-code "missing CAP_BPF: " '/^AmbientCapabilities=/s/CAP_BPF //'
must "without CAP_PERFMON" exit-code "missing CAP_PERFMON: " '/^CapabilityBoundingSet=/s/ CAP_PERFMON//'
must "without the system call" exit-code "cannot load the programs: " '/^SystemCallFilter=/s/ bpf / /'
