#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs the live test of every outcome repeatedly while all CPUs are busy, and stops at the first
# failure.
#
# usage: tests/soak.sh [RUNS]      default: 50
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-50}
[[ $runs =~ ^[1-9][0-9]*$ ]] || { echo "usage: tests/soak.sh [RUNS]" >&2; exit 2; }
log=$(mktemp)
burners=()
finish() {
	[ "${#burners[@]}" = 0 ] || kill "${burners[@]}" 2>/dev/null || true
	rm -f "$log"
}
trap finish EXIT

# Built before the load starts, because the load would slow the build down.
cargo test --locked --package retrans-tests --test outcomes --no-run
for _ in $(seq $((2 * $(nproc)))); do
	# Ends with this script, however the script ends.
	setpriv --pdeathsig KILL sh -c 'while :; do :; done' &
	burners+=($!)
done
mapfile -t runners < <(compgen -e | grep '^CARGO_TARGET_.*_RUNNER$' || true)
there=$(env "${runners[@]/#/--unset=}" \
	cargo test --quiet --locked --package retrans-tests --test outcomes -- --ignored --list | grep -c ': test$')
total=0
for run in $(seq "$runs"); do
	start=$SECONDS
	if ! cargo test --quiet --locked --package retrans-tests --test outcomes -- --ignored --show-output --test-threads=24 >"$log" 2>&1; then
		cat "$log"
		echo "soak: run $run of $runs FAILED"
		exit 1
	fi
	ran=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log")
	[ "${ran:-0}" -eq "$there" ] || { cat "$log"; echo "soak: run $run of $runs ran ${ran:-no} of $there tests"; exit 1; }
	total=$((total + ran))
	again=$(grep -c '^repeated' "$log" || true)
	echo "run $run of $runs: $ran tests passed in $((SECONDS - start)) s, $again repeated"
done
echo "soak: $runs runs, $total tests, no failure, ${#burners[@]} busy loops on $(nproc) CPUs"
