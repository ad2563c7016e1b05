#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs a command of cargo, and also fails if cargo prints a warning. `-D warnings` denies the
# warnings of rustc and clippy, but not those of build scripts, which pass on the warnings of clang.
# Cargo repeats them if nothing must be built.
#
# usage: tests/no-warnings.sh COMMAND [ARGUMENT…]
set -euo pipefail

[ $# -gt 0 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }
printed=$(mktemp)
trap 'rm -f "$printed"' EXIT
CARGO_TERM_COLOR=never "$@" 2>&1 | tee "$printed"
! grep -q '^warning: ' "$printed" || { echo "no-warnings: the warnings above are errors" >&2; exit 1; }
