# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
# To be sourced, at the root of the checkout: a crate that is no part of this workspace, and what it must do.

# new_crate FOLDER: with the versions of this checkout's dependencies, so that nothing has to be looked up; the dependency on
# the SDK, and whatever else its manifest has, comes from stdin.
new_crate() {
	mkdir -p "$1/src"
	cp Cargo.lock "$1/"
	cp tests/outside/main.rs "$1/src/"
	{
		printf '[package]\nname = "somebody-elses"\nversion = "1.0.0"\nedition = "2024"\n'
		cat
	} >"$1/Cargo.toml"
}

# must_run PROGRAM: without any privilege it gets as far as the kernel's no.
must_run() {
	local unprivileged=() said
	[ "$(id -u)" != 0 ] || unprivileged=(setpriv --bounding-set -all --inh-caps -all --no-new-privs)
	said=$("${unprivileged[@]}" "$1") || { echo "$1 failed, and said: $said" >&2; return 1; }
	echo "$said"
	grep -q '^severity=bad ts=1.000000000 result=route_fail ' <<<"$said" &&
		grep -q '^not opened: missing CAP_BPF and CAP_PERFMON: ' <<<"$said" || {
		echo "that is not what it should say" >&2
		return 1
	}
}
