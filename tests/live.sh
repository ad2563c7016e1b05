#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs the live tests, and fails unless every one that exists did run.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

there=$(cargo test --quiet --workspace --all-features --tests -- --ignored --list 2>/dev/null | grep -c ': test$' || true)
cargo test --workspace --all-features --tests -- --ignored 2>&1 | tee "$log"
ran=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')

echo "live tests: $ran of $there ran and passed"
[ "$there" -gt 0 ] && [ "$ran" -eq "$there" ]
