#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs benches of retrans-tests and writes their output to docs/benchmarks.txt. Fails if a bench
# failed or a bar was not met, but only after all benches have run.
#
# usage: tests/bench.sh BENCH…
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || { echo "usage: tests/bench.sh BENCH…" >&2; exit 2; }
text=docs/benchmarks.txt
printed=$(mktemp)
trap 'rm -f "$printed"' EXIT

# Everything is built before anything is measured. This includes `retrans`, which a bench starts.
# The build does not run as root.
cargo build --locked --release --quiet --package retrans-cli
cargo bench --locked --quiet --package retrans-tests --no-run "${@/#/--bench=}"

failed=()
for bench in "$@"; do
	echo "bench=$bench"
	cargo bench --locked --quiet --package retrans-tests --bench "$bench" || failed+=("$bench")
done > >(tee "$printed")
# tee may still be writing.
wait $! || true

# Copied, not moved, because the temporary file is readable only by its owner.
cat "$printed" >"$text"

missed=$(grep -c '^bar=.* ok=no$' "$printed" || true)
echo "benches: $# run, ${#failed[@]} failed${failed[*]:+ (${failed[*]})}, $missed bars not met; $text"
[ "${#failed[@]}" = 0 ] && [ "$missed" = 0 ]
