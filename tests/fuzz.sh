#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the fuzz targets with libFuzzer and runs each for SECONDS_EACH seconds (default 20).
# TARGETS selects some of them. New inputs are kept in target/fuzz/corpus, and an input that fails
# in target/fuzz/findings. Prints a line for each target, and fails if any has a finding.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly seconds=${SECONDS_EACH:-20}
readonly directory=${CARGO_TARGET_DIR:-target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
readonly host

# The options by which cargo-fuzz instruments a build. All of them are options of the stable
# compiler. `--target` keeps build scripts and macros out of it.
instrumented=(
	--cfg fuzzing
	-Cpasses=sancov-module
	-Cllvm-args=-sanitizer-coverage-level=4
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters
	-Cllvm-args=-sanitizer-coverage-pc-table
	-Cllvm-args=-sanitizer-coverage-trace-compares
	-Cdebug-assertions=on
	-Coverflow-checks=on
	-Ccodegen-units=1
)
RUSTFLAGS="${instrumented[*]}" cargo build --locked --release --target "$host" --target-dir "$directory" \
	--package retrans-fuzz --bin fuzz
readonly program=$directory/$host/release/fuzz

# The program without libFuzzer lists the targets with their maximum lengths.
list=$(cargo run --locked --quiet --package retrans-fuzz --bin fuzz)
failed=()
while read -r name length; do
	if [ -n "${TARGETS:-}" ] && [[ " $TARGETS " != *" $name "* ]]; then
		continue
	fi
	mkdir -p "$directory/corpus/$name" "$directory/findings"
	log=$directory/$name.log
	seeds=("$directory/corpus/$name" "tests/fuzz/corpus/$name")
	# The texts from the field are seeds, too.
	if [ "$name" = kernel_text ] || [ "$name" = recording ]; then
		seeds+=(retrans-sdk/tests/kernel_text)
	fi
	dictionary=tests/fuzz/dictionaries/$name.txt
	status=0
	RETRANS_FUZZ_TARGET=$name "$program" -max_total_time="$seconds" -max_len="$length" -timeout=10 \
		-rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$directory/findings/$name-" \
		$([ ! -e "$dictionary" ] || echo "-dict=$dictionary") "${seeds[@]}" >"$log" 2>&1 || status=$?
	value() { sed -n "s/^stat::$1: *//p" "$log"; }
	coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
	echo "fuzz target=$name seconds=$seconds executions=$(value number_of_executed_units) edges=$coverage" \
		"slowest_s=$(value slowest_unit_time_sec) peak_mib=$(value peak_rss_mb) status=$status"
	if [ "$status" != 0 ]; then
		failed+=("$name")
		grep -m 5 -E 'panicked at|^ *(left|right):|ERROR|SUMMARY|Test unit written' "$log" || tail -5 "$log"
	fi
done <<<"$list"

if [ ${#failed[@]} -gt 0 ]; then
	echo "findings: ${failed[*]}; repeat one with: cargo run -p retrans-fuzz --bin fuzz -- TARGET $directory/findings/FILE"
	exit 1
fi
