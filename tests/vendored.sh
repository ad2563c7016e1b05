#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds and runs a program that enables the feature `vendored` of libbpf-rs, and then the same
# program as a static one, with glibc. Neither libelf nor zlib is visible to the build. To prove
# this, the same build without the feature must fail first and name the missing files.
#
# Runs in its own mount namespace, in which the files of the packages libelf-dev and zlib1g-dev are
# hidden. The registry's sources, in which libbpf-sys builds elfutils, are a copy that is discarded.
# Requires root and dpkg.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "vendored: requires root" >&2; exit 2; }
registry=${CARGO_HOME:-$HOME/.cargo}/registry
if [ "${1-}" != inside ]; then
	# Fetched here, so that nothing is fetched into the copy.
	cargo fetch --locked --quiet
	work=$(mktemp -d "${TMPDIR:-/tmp}/vendored.XXXXXX")
	# After the namespace has ended, nothing is mounted there.
	trap 'rm -rf --one-file-system "$work"' EXIT
	unshare --mount --propagation private "$0" inside "$work"
	exit
fi

# shellcheck source=tests/outside/crate.sh
source tests/outside/crate.sh
work=$2
[ "$(readlink /proc/self/ns/mnt)" != "$(readlink "/proc/$PPID/ns/mnt")" ] || { echo "vendored: run it without arguments" >&2; exit 2; }

# over DIRECTORY NAME: from now on changes of DIRECTORY stay in this namespace.
over() {
	mkdir -p "$work/$2" "$work/$2.work"
	mount -t overlay -o "lowerdir=$1,upperdir=$work/$2,workdir=$work/$2.work" overlay "$1"
}

# Creates whiteouts in the upper layer: no file of this system is changed.
dpkg -L libelf-dev zlib1g-dev | while read -r path; do
	case $path in
	/usr/include/* | /usr/lib/*)
		[ ! -d "$path" ] || [ -L "$path" ] || continue
		mkdir -p "$work/usr/$(dirname "${path#/usr/}")"
		mknod "$work/usr/${path#/usr/}" c 0 0
		;;
	esac
done
over /usr usr
over "$registry" registry
for header in libelf.h gelf.h zlib.h; do
	! echo "#include <$header>" | cc -E - >/dev/null 2>&1 || { echo "vendored: $header is still found" >&2; exit 1; }
done

# If build scripts and the program have the same debug information, libbpf is built only once.
export CARGO_TARGET_DIR=$work/target CARGO_PROFILE_DEV_DEBUG=0
new_crate "$work/plain" <<<"[dependencies]
retrans-sdk = { path = \"$PWD/retrans-sdk\" }"
new_crate "$work/vendored" <<<"[dependencies]
retrans-sdk = { path = \"$PWD/retrans-sdk\" }
libbpf-rs = { version = \"0.27\", features = [\"vendored\"] }"

echo "--- without the feature"
if (cd "$work/plain" && cargo build --offline) >"$work/plain.log" 2>&1; then
	echo "vendored: it built without libelf" >&2
	exit 1
fi
# The error that the README quotes.
grep 'libelf.h\|gelf.h\|zlib.h' "$work/plain.log" | grep 'No such file or directory' || { cat "$work/plain.log"; exit 1; }

echo "--- with it"
start=$SECONDS
(cd "$work/vendored" && cargo build --offline --quiet) || exit
echo "built in $((SECONDS - start)) s"
program=$CARGO_TARGET_DIR/debug/outside-crate
must_run "$program"
if ldd "$program" | grep 'libelf\|libz'; then
	echo "vendored: linked with the system's library" >&2
	exit 1
fi

echo "--- static, with glibc"
start=$SECONDS
host=$(rustc -vV | sed -n 's/^host: //p')
(cd "$work/vendored" && RUSTFLAGS="-C target-feature=+crt-static" cargo build --offline --quiet --target "$host") || exit
echo "built in $((SECONDS - start)) s"
program=$CARGO_TARGET_DIR/$host/debug/outside-crate
must_run "$program"
# ldd fails if the program is not a dynamic executable.
linked=$(ldd "$program" 2>&1 || true)
grep -q 'statically linked\|not a dynamic executable' <<<"$linked" || {
	echo "vendored: not static" >&2
	exit 1
}
