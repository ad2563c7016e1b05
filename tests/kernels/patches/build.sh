#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the patched kernels, which have the proposal's enum: build.sh TARBALL OUT
#
# TARBALL is the source archive of Debian's linux-source package. OUT must not exist. It receives a
# directory for each numbering with the kernel, its configuration, and the headers that are compared
# with the tables. All are built in one tree, which is removed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tarball=$(realpath "$1")
out=$2

# In build order. The first has the patches only.
variants="ours v1 v2 v4"

step() {
	local what=$1 start=$SECONDS
	shift
	"$@"
	echo "patched kernels: $what: $((SECONDS - start)) s"
}

# A fixed name next to OUT, so that the next run finds and removes what a killed run left.
part=$out.part
rm -rf "$part"
mkdir -p "$part/out"
trap 'rm -rf "$part"' EXIT

unpack() {
	mkdir "$part/tree"
	tar --extract --file "$tarball" --directory "$part/tree" --strip-components 1
}

# Uses the script of the tree that the patches are for. Errors and warnings fail. There is no git
# history in which commits could be looked up.
checkpatch() {
	perl scripts/checkpatch.pl --no-tree --root=. --quiet "$here"/0*.patch
}

apply() { patch --batch --quiet --fuzz=0 --strip 1 "$@"; }

configure() {
	make -s tinyconfig
	scripts/kconfig/merge_config.sh -m -O . .config "$here/config" >/dev/null
	make -s olddefconfig
	# An option whose dependencies are missing is dropped silently.
	grep '^CONFIG_' "$here/config" | while read -r line; do
		grep -qxF -- "$line" .config || { echo "patched kernels: the configuration lacks $line" >&2; exit 1; }
	done
}

# The same inputs give the same kernel.
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' KBUILD_BUILD_USER=retrans KBUILD_BUILD_HOST=retrans

build() {
	make -s -j"$(nproc)" LOCALVERSION="-$1" bzImage
	mkdir "$part/out/$1"
	cp arch/x86/boot/bzImage "$part/out/$1/vmlinuz"
	cp --parents include/net/tcp_states.h include/uapi/linux/tcp.h include/linux/tcp.h .config "$part/out/$1/"
}

step unpack unpack
cd "$part/tree"
step checkpatch checkpatch
for patch in "$here"/0*.patch; do
	apply --input "$patch"
done
step configure configure
for variant in $variants; do
	[ "$variant" = ours ] || apply --input "$here/variants/$variant.patch"
	step "$variant" build "$variant"
	[ "$variant" = ours ] || apply --reverse --input "$here/variants/$variant.patch"
done
mv "$part/out" "$out"
