#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs the README's commands on minimal installations of Debian and Ubuntu, as a user with sudo.
#
# usage: tests/fresh-machine.sh SUITE…      such as bookworm, trixie, noble
#
# Each installation is a new chroot created by debootstrap. It contains this machine's Rust
# toolchain and a clone of HEAD, runs on this machine's kernel, and contains nothing else of this
# machine. Requires root and debootstrap. Prints a line for each command and the path of the log. A
# suite whose archive is not reachable is reported as not tried, which is not a failure. A failing
# command is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "fresh-machine: requires root" >&2; exit 2; }
[ $# -gt 0 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }
for program in debootstrap git rustc unshare wget; do
	command -v "$program" >/dev/null || { echo "fresh-machine: requires $program" >&2; exit 2; }
done

# Checked here, because the path is used as a directory below. An empty path would be the root of
# this machine.
toolchain=$(rustc --print sysroot)
[ -x "$toolchain/bin/rustc" ] || { echo "fresh-machine: no toolchain in '$toolchain'" >&2; exit 2; }

# The commands in the README's shell blocks.
mapfile -t commands < <(sed -n '/^```sh$/,/^```$/{/^make /p}' README.md)
[ "${#commands[@]}" = 2 ] || { echo "fresh-machine: README.md has ${#commands[@]} commands, not 2" >&2; exit 2; }

is_ubuntu() {
	case $1 in
	jammy | noble | plucky | questing | resolute) ;;
	*) return 1 ;;
	esac
}

mirror_of() {
	if is_ubuntu "$1"; then
		echo "http://archive.ubuntu.com/ubuntu"
	else
		echo "http://deb.debian.org/debian"
	fi
}

# Creates the system. Ubuntu's installer enables universe. If debootstrap is older than a suite, it
# has no script for it, but all suites share one.
bootstrap() {
	local suite=$1 root=$2 options=() script=/usr/share/debootstrap/scripts/$1
	! is_ubuntu "$suite" || options=(--components=main,universe)
	[ -e "$script" ] || { is_ubuntu "$suite" && script=${script%/*}/gutsy || script=${script%/*}/sid; }
	# In its own mount namespace, so that nothing stays mounted, however it ends.
	unshare --mount --propagation private \
		debootstrap --variant=minbase --include=sudo,ca-certificates,make "${options[@]}" \
		"$suite" "$root" "$(mirror_of "$suite")" "$script"
}

# Installs what the README expects: sudo, a checkout, make and a toolchain, which requires a linker.
furnish() {
	local root=$1
	# The same name resolution and certificates as on this machine.
	cp -L /etc/hosts /etc/resolv.conf "$root/etc/" 2>/dev/null || true
	cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
	chroot "$root" useradd --create-home --shell /bin/bash user
	echo 'user ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/user"
	mkdir -p "$root/opt/rust"
	cp -a "$toolchain/." "$root/opt/rust/"
	# The checkout may belong to another user. Git accepts that only from a configuration file.
	printf '[safe]\n\tdirectory = *\n' >"$work/gitconfig"
	GIT_CONFIG_GLOBAL=$work/gitconfig git clone --quiet --no-hardlinks . "$root/home/user/retrans"
	chroot "$root" chown -R user: /home/user/retrans
}

# Runs a command of the README as the user. Also fails if the command replayed a recording or left
# out live tests.
run() {
	local suite=$1 root=$2 command=$3 start=$SECONDS status=0 out=$work/$1.out
	echo "### $suite: $command"
	unshare --mount --propagation private sh -euc '
		mount -t proc proc "$1/proc"
		mount --rbind /sys "$1/sys"
		mount --rbind /dev "$1/dev"
		exec chroot "$1" su - user -c "PATH=/opt/rust/bin:\$PATH; cd retrans && $2"
	' sh "$root" "$command" </dev/null >"$out" 2>&1 || status=$?
	cat "$out"
	if [ "$status" = 0 ] && grep -q '^REPLAY\|NOT RUN' "$out"; then
		status="0, but not live"
	fi
	echo "### $suite: $command: exit $status after $((SECONDS - start)) s" | tee -a "$summary"
	[ "$status" = 0 ]
}

try() {
	local suite=$1 root=$2 command failed=0
	bootstrap "$suite" "$root"
	furnish "$root"
	for command in "${commands[@]}"; do
		run "$suite" "$root" "$command" || failed=1
	done
	return "$failed"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/fresh-machine.XXXXXX")
summary=$work/summary
# --one-file-system: never deletes a file system that may still be mounted there.
trap 'rm -rf --one-file-system "$work"/root-*' EXIT
failed=0 tried=0
for suite in "$@"; do
	status=0
	wget --quiet --spider --tries 1 --timeout 20 "$(mirror_of "$suite")/dists/$suite/Release" || status=$?
	if [ "$status" = 8 ]; then
		echo "### $suite: FAILED: the archive has no such suite" | tee -a "$summary"
		failed=1
		continue
	elif [ "$status" != 0 ]; then
		echo "### $suite: NOT TRIED: its archive cannot be reached" | tee -a "$summary"
		continue
	fi
	tried=$((tried + 1))
	# In a subshell, and not as a condition, so that `set -e` ends it at the first failing step.
	(set -e; try "$suite" "$work/root-$suite") >"$work/$suite.log" 2>&1 &
	wait $! || { failed=1; echo "### $suite: FAILED" >>"$summary"; }
	rm -rf --one-file-system "$work/root-$suite"
done
cat "$summary"
echo "logs: $work"
[ "$tried" -gt 0 ] && [ "$failed" = 0 ]
