#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs the live tests, and fails unless every one that exists did run.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Counts those of the whole workspace, without the runner, so that none is missed in another package.
mapfile -t runners < <(compgen -e | grep '^CARGO_TARGET_.*_RUNNER$' || true)
there=$(env "${runners[@]/#/--unset=}" \
	cargo test --quiet --locked --workspace --all-features --tests -- --ignored --list | grep -c ': test$' || true)
# Not with --workspace: sudo drops LD_LIBRARY_PATH, which the tests of a proc-macro crate require.
cargo test --locked --package retrans-tests --package retrans-examples --package retrans-cli --all-features --tests -- --ignored 2>&1 | tee "$log"
ran=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')

echo "live tests: $ran of $there ran and passed"
[ "$there" -gt 0 ] && [ "$ran" -eq "$there" ]
