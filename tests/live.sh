#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs the live tests, and fails unless every existing one ran and passed. Uses the flags of
# `make test`, so that nothing is built twice.
set -euo pipefail
cd "$(dirname "$0")/.."

built=$(mktemp)
log=$(mktemp)
trap 'rm -f "$built" "$log"' EXIT

cargo test --locked --workspace --all-features --tests --no-run 2>&1 | tee "$built" | grep -v '^  Executable' >&2 || true
mapfile -t programs < <(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$built")
[ "${#programs[@]}" -gt 0 ] || { echo "live tests: cargo built no test program" >&2; exit 1; }

# The command with which cargo would run a program, if `make` has set it: sudo.
runner=$(compgen -e | grep '^CARGO_TARGET_.*_RUNNER$' | head -1 || true)
read -ra run <<<"${runner:+${!runner}}"

there=0 failed=()
for program in "${programs[@]}"; do
	# The tests of a proc-macro crate start only with the compiler's libraries, which cargo
	# provides. This crate has no live tests.
	[[ $program != */retrans_macros-* ]] || continue
	list=$("$program" --ignored --list --format terse) || { failed+=("$program, which does not list its tests"); continue; }
	listed=$(grep -c ': test$' <<<"$list" || true)
	[ "$listed" -gt 0 ] || continue
	there=$((there + listed))
	echo "     Running $program"
	"${run[@]}" "$program" --ignored 2>&1 | tee -a "$log" || failed+=("$program")
done
ran=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')

[ "${#failed[@]}" -eq 0 ] || printf 'FAILED: %s\n' "${failed[@]}"
echo "live tests: $ran of $there ran and passed"
[ "${#failed[@]}" -eq 0 ] && [ "$there" -gt 0 ] && [ "$ran" -eq "$there" ]
