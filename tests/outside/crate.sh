# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
# Sourced at the root of the checkout: creates a crate outside of this workspace, and checks it.

# new_crate DIRECTORY: creates a crate with the locked versions of this checkout, so that cargo need
# not resolve anything. The dependency on the SDK, and the rest of the manifest, comes from stdin.
new_crate() {
	mkdir -p "$1/src"
	cp Cargo.lock "$1/"
	cp tests/outside/main.rs "$1/src/"
	{
		printf '[package]\nname = "outside-crate"\nversion = "1.0.0"\nedition = "2024"\n'
		cat
	} >"$1/Cargo.toml"
}

# must_run PROGRAM: runs it without privileges, and expects the error for missing capabilities.
must_run() {
	local unprivileged=() said
	[ "$(id -u)" != 0 ] || unprivileged=(setpriv --bounding-set -all --inh-caps -all --no-new-privs)
	said=$("${unprivileged[@]}" "$1") || { echo "$1 failed: $said" >&2; return 1; }
	echo "$said"
	grep -q '^severity=bad ts=1.000000000 result=route_fail ' <<<"$said" &&
		grep -q '^not opened: missing CAP_BPF and CAP_PERFMON: ' <<<"$said" || {
		echo "outside: unexpected output" >&2
		return 1
	}
}
