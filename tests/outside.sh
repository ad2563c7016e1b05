#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The SDK as somebody else's dependency: a crate outside of this checkout takes it by path, by git (what is committed), and as it
# would be published, and is built and run each time, without privileges.
#
# All three share a folder for what is built, so that what the SDK depends on is compiled once; what git fetches and what is
# unpacked goes to a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=tests/outside/crate.sh
source tests/outside/crate.sh
root=$PWD
work=$(mktemp -d "${TMPDIR:-/tmp}/outside.XXXXXX")
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/outside

# For all that follows: only the registry is shared with the user's own.
cargo fetch --locked --quiet
home=${CARGO_HOME:-$HOME/.cargo}
mkdir "$work/home"
ln -s "$home/registry" "$work/home/registry"
[ ! -e "$home/config.toml" ] || ln -s "$home/config.toml" "$work/home/config.toml"
export CARGO_HOME=$work/home

# try NAME EXPECTED [PREPARE…]: the crate NAME, in whose dependencies the SDK has to come from EXPECTED.
try() {
	local name=$1 expected=$2 start=$SECONDS
	shift 2
	(
		cd "$work/$name"
		# A checkout is fetched by nothing else; all else is there.
		[ "$name" != git ] || cargo fetch --quiet
		# By name, so that it is seen not to be another of the three.
		cargo tree --offline --invert retrans-macros --depth 0 --prefix none | grep -F "$expected"
		cargo build --offline --quiet
	)
	must_run "$CARGO_TARGET_DIR/debug/somebody-elses"
	echo "--- $name: built and run in $((SECONDS - start)) s"
}

new_crate "$work/path" <<<"[dependencies]
retrans-sdk = { path = \"$root/retrans-sdk\" }"
try path "($root/retrans-macros)"

# A repository of its own of what is committed: cargo fetches nothing from a shallow one, as a CI may have.
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
