#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Tests the SDK as a dependency of a crate outside of this checkout: by path, by git (the committed
# state), and as it would be published. Each time the crate is built, and run without privileges.
#
# All three share a target directory, so that the SDK's dependencies are compiled once. Fetched and
# unpacked sources go to a temporary directory.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=tests/outside/crate.sh
source tests/outside/crate.sh
root=$PWD
work=$(mktemp -d "${TMPDIR:-/tmp}/outside.XXXXXX")
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/outside

# From here on, only the registry and the configuration of the user's CARGO_HOME are shared.
cargo fetch --locked --quiet
home=${CARGO_HOME:-$HOME/.cargo}
mkdir "$work/home"
ln -s "$home/registry" "$work/home/registry"
[ ! -e "$home/config.toml" ] || ln -s "$home/config.toml" "$work/home/config.toml"
export CARGO_HOME=$work/home

# try NAME EXPECTED: builds and runs the crate NAME, whose SDK must come from EXPECTED.
try() {
	local name=$1 expected=$2 start=$SECONDS
	shift 2
	(
		cd "$work/$name"
		# Only a git dependency must be fetched; everything else is available.
		[ "$name" != git ] || cargo fetch --quiet
		# Checks the source, so that it is certain which of the three is used.
		cargo tree --offline --invert retrans-macros --depth 0 --prefix none | grep -F "$expected"
		cargo build --offline --quiet
	)
	must_run "$CARGO_TARGET_DIR/debug/outside-crate"
	echo "--- $name: built and run in $((SECONDS - start)) s"
}

new_crate "$work/path" <<<"[dependencies]
retrans-sdk = { path = \"$root/retrans-sdk\" }"
try path "($root/retrans-macros)"

# A new repository with the committed state, because cargo cannot fetch from a shallow clone, which
# a CI may use.
mkdir "$work/repository"
git -c safe.directory='*' archive HEAD | tar -x -C "$work/repository"
cd "$work/repository"
git init --quiet
git add --all
git -c user.name=outside -c user.email=outside@localhost commit --quiet --message "what is committed"
revision=$(git rev-parse HEAD)
cd "$root"
new_crate "$work/git" <<<"[dependencies]
retrans-sdk = { git = \"file://$work/repository\", rev = \"$revision\" }"
try git "(file://$work/repository?rev=$revision#"

cargo package --quiet --offline --package retrans-macros --package retrans-sdk --allow-dirty --no-verify
mkdir "$work/unpacked"
for package in macros sdk; do
	files=("$CARGO_TARGET_DIR"/package/retrans-"$package"-*.crate)
	[ "${#files[@]}" = 1 ] || { echo "outside: ${#files[@]} packages of retrans-$package" >&2; exit 1; }
	mkdir "$work/unpacked/$package"
	tar -xzf "${files[0]}" --strip-components 1 -C "$work/unpacked/$package"
done
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$work/unpacked/sdk/Cargo.toml" | head -1)
new_crate "$work/packaged" <<<"[dependencies]
retrans-sdk = \"=$version\"

[patch.crates-io]
retrans-macros = { path = \"$work/unpacked/macros\" }
retrans-sdk = { path = \"$work/unpacked/sdk\" }"
try packaged "($work/unpacked/macros)"
