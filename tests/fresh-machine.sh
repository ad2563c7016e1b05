#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs the README's commands on minimal installations of Debian and Ubuntu, as a user with sudo.
#
# usage: tests/fresh-machine.sh SUITE…      such as bookworm, trixie, noble, trixie-minimal
#
# Each installation is a new chroot created by debootstrap. It contains this machine's Rust
# toolchain and a clone of HEAD, runs on this machine's kernel, and contains nothing else of this
# machine. Requires root and debootstrap. Prints a line for each command and the path of the log. A
# suite whose archive is not reachable is reported as not tried, which is not a failure. A failing
# command is a failure.
#
# With SUITE-minimal the installation contains this machine's rustup, and the toolchain as rustup
# installs it with the minimal profile, which the official images of Rust contain. Its `rustfmt` is
# a proxy that fails. Then the SDK and the lab are built, and nothing is run.
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

# The commands for SUITE-minimal. The lab depends on the SDK.
build_commands=("make build-deps" "cargo build --locked --package retrans-lab")

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

# Replaces the toolchain by rustup's proxies and a toolchain without optional components. The
# proxies read RUSTUP_HOME, which as_user sets.
minimize() {
	local root=$1 rust=$1/opt/rust home=$1/opt/rustup proxy
	mkdir -p "$home/toolchains"
	mv "$rust" "$home/toolchains/minimal"
	rm -f "$home"/toolchains/minimal/bin/{rustfmt,cargo-fmt,cargo-clippy,clippy-driver}
	mkdir -p "$rust/bin"
	cp "$(command -v rustup)" "$rust/bin/rustup"
	for proxy in cargo rustc rustdoc rustfmt; do
		ln "$rust/bin/rustup" "$rust/bin/$proxy"
	done
	chroot "$root" chown user: /opt/rustup
	# Otherwise nothing is tested.
	as_user "$root" "command -v rustfmt && ! rustfmt --version" || {
		echo "fresh-machine: there is no rustfmt that fails" >&2
		return 1
	}
}

# Runs a command in the system, as the user, in the checkout.
as_user() {
	unshare --mount --propagation private sh -euc '
		mount -t proc proc "$1/proc"
		mount --rbind /sys "$1/sys"
		mount --rbind /dev "$1/dev"
		exec chroot "$1" su - user -c "
			PATH=/opt/rust/bin:\$PATH
			[ ! -d /opt/rustup ] || export RUSTUP_HOME=/opt/rustup RUSTUP_TOOLCHAIN=minimal
			cd retrans && $2"
	' sh "$@" </dev/null
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
	as_user "$root" "$command" >"$out" 2>&1 || status=$?
	cat "$out"
	if [ "$status" = 0 ] && grep -q '^REPLAY\|NOT RUN' "$out"; then
		status="0, but not live"
	fi
	echo "### $suite: $command: exit $status after $((SECONDS - start)) s" | tee -a "$summary"
	[ "$status" = 0 ]
}

try() {
	local suite=$1 root=$2 command failed=0 steps=("${commands[@]}")
	bootstrap "${suite%-minimal}" "$root"
	furnish "$root"
	if [[ $suite = *-minimal ]]; then
		minimize "$root"
		steps=("${build_commands[@]}")
	fi
	for command in "${steps[@]}"; do
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
	status=0 archive=${suite%-minimal}
	if [ "$archive" != "$suite" ] && ! command -v rustup >/dev/null; then
		echo "### $suite: NOT TRIED: requires rustup" | tee -a "$summary"
		continue
	fi
	wget --quiet --spider --tries 1 --timeout 20 "$(mirror_of "$archive")/dists/$archive/Release" || status=$?
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
