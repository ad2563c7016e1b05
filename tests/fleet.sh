#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Tests examples/fleet: the unit tests, the alert rules, and, as root, three network namespaces as
# hosts with a real Prometheus. Fails unless every test ran and passed.
#
# Uses prometheus and promtool from PATH. If they are missing, unpacks Debian's package into the
# user's cache instead of installing it, because an installed package starts a service. The Python
# packages duckdb and rotel, a collector of OpenTelemetry, are also installed there.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/retrans-tools/fleet
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
if ! command -v prometheus promtool >/dev/null; then
	if [ ! -x "$cache/usr/bin/promtool" ]; then
		echo "unpacking: prometheus, into $cache"
		mkdir -p "$cache"
		# apt-get download does not need root, but fresh lists do.
		(cd "$cache" && { apt-get download -qq prometheus 2>/dev/null ||
			{ "${sudo[@]}" apt-get update -qq && apt-get download -qq prometheus; }; } &&
			dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb)
	fi
	PATH=$cache/usr/bin:$PATH
fi
# sudo replaces PATH.
PROMETHEUS=$(command -v prometheus)
export PROMETHEUS

# Debian has neither.
if [ ! -x "$cache/python/rotel" ]; then
	echo "installing: duckdb and rotel, into $cache/python"
	python3 -m venv "$cache/python"
	"$cache/python/bin/pip" install --quiet --disable-pip-version-check 'duckdb>=1.4'
	"$cache/python/bin/pip" install --quiet --disable-pip-version-check --pre rotel
	ln -sf "$(echo "$cache"/python/lib/python*/site-packages/rotel/rotel-agent)" "$cache/python/rotel"
fi
export PYTHON=$cache/python/bin/python ROTEL=$cache/python/rotel
"$PYTHON" -c 'import duckdb; print("duckdb:", duckdb.__version__)'

echo "promtool: $(promtool --version 2>&1 | head -1)"
(cd examples/fleet && promtool check rules alerts.yml && promtool test rules alerts_test.yml)

cargo=(cargo test --locked --release --manifest-path examples/fleet/Cargo.toml --all-features)
"${cargo[@]}"
# One after the other, because the costs are measured and a test moves its process to a cgroup.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
listed=$("${cargo[@]}" --quiet --test '*' -- --ignored --list --format terse | grep -c ': test$')
"${cargo[@]}" --test '*' -- --ignored --nocapture --test-threads=1 | tee "$log"
ran=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
echo "fleet: $ran of $listed live tests ran and passed"
[ "$listed" -gt 0 ] && [ "$ran" -eq "$listed" ]
