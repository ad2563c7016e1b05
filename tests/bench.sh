#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs benches of retrans-tests, keeps what they print in docs/benchmarks.txt, and draws it as docs/benchmarks.svg. Fails if one
# did not end well or a bar was not met, but only after all were run.
#
# usage: tests/bench.sh BENCH…
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || { echo "usage: tests/bench.sh BENCH…" >&2; exit 2; }
text=docs/benchmarks.txt
picture=docs/benchmarks.svg
printed=$(mktemp)
drawn=$(mktemp)
trap 'rm -f "$printed" "$drawn"' EXIT

# Built before anything is measured, all of it, and `retrans` for the bench that starts it. Not as root: it is run so.
cargo build --locked --release --quiet --package retrans-cli
cargo build --locked --release --quiet --package retrans-tests --bin bench_plot
cargo bench --locked --quiet --package retrans-tests --no-run "${@/#/--bench=}"

failed=()
for bench in "$@"; do
	echo "bench=$bench"
	cargo bench --locked --quiet --package retrans-tests --bench "$bench" || failed+=("$bench")
done > >(tee "$printed")
# The last of it may still be on its way.
wait $! || true

# Not copied: the scratch file is for nobody else to read.
cat "$printed" >"$text"
# The runner, which makes a program root, is for what measures.
mapfile -t runners < <(compgen -e | grep '^CARGO_TARGET_.*_RUNNER$' || true)
env "${runners[@]/#/--unset=}" \
	cargo run --locked --release --quiet --package retrans-tests --bin bench_plot <"$printed" >"$drawn" || failed+=(bench_plot)
[ ! -s "$drawn" ] || cat "$drawn" >"$picture"

missed=$(grep -c '^bar=.* ok=no$' "$printed" || true)
echo "benches: $# run, ${#failed[@]} failed${failed[*]:+ (${failed[*]})}, $missed bars not met; $text, $picture"
[ "${#failed[@]}" = 0 ] && [ "$missed" = 0 ]
