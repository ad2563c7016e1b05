#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs the README's commands on bare installations of Debian and Ubuntu, as an unprivileged user with sudo.
#
# usage: tests/fresh-machine.sh SUITE…      such as bookworm, trixie, noble
#
# Each is a chroot made by debootstrap for the purpose, with this machine's kernel and Rust toolchain, a clone of HEAD, and
# nothing else that is ours. Needs root and debootstrap. Prints a line for each command, and where the whole log is. A suite
# whose archive cannot be reached is named as not tried, which is no failure; a command that fails is.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "fresh-machine: needs root" >&2; exit 2; }
[ $# -gt 0 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }
for program in debootstrap wget unshare; do
	command -v "$program" >/dev/null || { echo "fresh-machine: needs $program" >&2; exit 2; }
done

# As they stand there: lines of its shell blocks that a newcomer would type.
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

# Makes the bare system. An Ubuntu as it is installed has universe; a debootstrap older than a suite has no script for it, but
# they are all the same one.
bootstrap() {
	local suite=$1 root=$2 options=() script=/usr/share/debootstrap/scripts/$1
	! is_ubuntu "$suite" || options=(--components=main,universe)
	[ -e "$script" ] || { is_ubuntu "$suite" && script=${script%/*}/gutsy || script=${script%/*}/sid; }
	debootstrap --variant=minbase --include=sudo,ca-certificates,make "${options[@]}" \
		"$suite" "$root" "$(mirror_of "$suite")" "$script"
}

# What a user has before the README begins: sudo, a checkout, make and a toolchain, which needs a linker.
furnish() {
	local root=$1
	# So that it resolves, and trusts, what this machine does.
	cp -L /etc/hosts /etc/resolv.conf "$root/etc/" 2>/dev/null || true
	cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
	chroot "$root" useradd --create-home --shell /bin/bash user
	echo 'user ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/user"
	mkdir -p "$root/opt/rust"
	cp -a "$(rustc --print sysroot)/." "$root/opt/rust/"
	git -c safe.directory="*" clone --quiet --no-hardlinks . "$root/home/user/retrans"
	chroot "$root" chown -R user: /home/user/retrans
}

try() {
	local suite=$1 root=$2
	bootstrap "$suite" "$root" || return 1
	furnish "$root" || return 1
	local command start status=0 failed=0
	for command in "${commands[@]}"; do
		start=$SECONDS
		echo "### $suite: $command"
		# In a mount namespace of its own, so that however it ends nothing stays mounted.
		unshare --mount --propagation private sh -euc '
			mount -t proc proc "$1/proc"
			mount --rbind /sys "$1/sys"
			mount --rbind /dev "$1/dev"
			exec chroot "$1" su - user -c "PATH=/opt/rust/bin:\$PATH; cd retrans && $2"
		' sh "$root" "$command" </dev/null && status=0 || status=$?
		[ "$status" = 0 ] || failed=1
		echo "### $suite: $command: exit $status after $((SECONDS - start)) s" | tee -a "$summary"
	done
	return "$failed"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/fresh-machine.XXXXXX")
summary=$work/summary
# --one-file-system: should something be mounted there after all, it is not ours to delete.
trap 'rm -rf --one-file-system "$work"/root-*' EXIT
failed=0
for suite in "$@"; do
	if ! wget --quiet --spider --tries 1 --timeout 20 "$(mirror_of "$suite")/dists/$suite/Release"; then
		echo "### $suite: NOT TRIED: its archive cannot be reached" | tee -a "$summary"
		continue
	fi
	try "$suite" "$work/root-$suite" >"$work/$suite.log" 2>&1 || { failed=1; echo "### $suite: FAILED" >>"$summary"; }
	rm -rf --one-file-system "$work/root-$suite"
done
cat "$summary"
echo "logs: $work"
exit "$failed"
