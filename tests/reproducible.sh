#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Packages both crates of the last commit in two clones, at different paths and times, and fails if
# the files differ.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for clone in one another/below; do
	git clone --quiet . "$scratch/$clone"
	# The verification builds the crates, which `make package` does.
	(cd "$scratch/$clone" && cargo package --quiet --locked --no-verify --package retrans-macros --package retrans-sdk \
		--target-dir "$scratch/$clone/target")
	(cd "$scratch/$clone/target/package" && sha256sum -- *.crate) >"$scratch/${clone%%/*}.sums"
	# A time in a file would differ.
	sleep 2
done
[ "$(wc -l <"$scratch/one.sums")" = 2 ] || { echo "reproducible: not two crates:"; cat "$scratch/one.sums"; exit 1; }
diff "$scratch/one.sums" "$scratch/another.sums" || { echo "reproducible: the crates differ"; exit 1; }
sed 's/^/reproducible: /' "$scratch/one.sums"
