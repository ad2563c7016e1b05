#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds a Debian package of the command `retrans` and the agent `retrans-agent`, installs it in a
# minimal chroot, and runs it there. Then runs its unit under systemd.
#
# usage: tests/deb.sh [SUITE]      the suite of the chroot (default: that of this machine)
#
# The package requires the C library of the machine that built it, or a newer one. Requires root and
# debootstrap. The package stays in target/deb.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "deb: requires root" >&2; exit 2; }
# shellcheck source=/dev/null
suite=${1:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
target=${CARGO_TARGET_DIR:-$PWD/target}
out=$target/deb
rm -rf "$out"
mkdir -p "$out"

cargo build --locked --release --package retrans-cli
cargo build --locked --release --manifest-path examples/fleet/Cargo.toml --all-features
retrans=$target/release/retrans
agent=${CARGO_TARGET_DIR:-examples/fleet/target}/release/retrans-agent

tree=$out/debian/retrans
put() { install -D --mode="$1" "$2" "$tree/$3"; }
put 755 "$retrans" usr/bin/retrans
put 755 "$agent" usr/bin/retrans-agent
objcopy --strip-debug "$tree/usr/bin/retrans"
objcopy --strip-debug "$tree/usr/bin/retrans-agent"
put 644 examples/fleet/deb/retrans-agent.service usr/lib/systemd/system/retrans-agent.service
put 644 examples/fleet/alerts.yml usr/share/doc/retrans/alerts.yml
put 644 examples/fleet/tables.sql usr/share/doc/retrans/tables.sql
put 644 examples/fleet/views.sql usr/share/doc/retrans/views.sql
put 644 LICENSE-MIT usr/share/doc/retrans/copyright
for licence in LICENSE-APACHE LICENSE-BSD-2-Clause LICENSE-GPL-2.0; do
	{ echo && cat "$licence"; } >>"$tree/usr/share/doc/retrans/copyright"
done
mkdir -p "$tree"/usr/share/{man/man1,bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
"$retrans" man | gzip -9n >"$tree/usr/share/man/man1/retrans.1.gz"
for name in $("$retrans" --help | sed -n '/^Commands:$/,/^$/s/^  \([a-z]\{1,\}\)  .*/\1/p'); do
	"$retrans" man "$name" 2>/dev/null | gzip -9n >"$tree/usr/share/man/man1/retrans-$name.1.gz" ||
		rm -f "$tree/usr/share/man/man1/retrans-$name.1.gz"
done
[ -s "$tree/usr/share/man/man1/retrans-watch.1.gz" ] ||
	{ echo "deb: no manual page of a subcommand" >&2; exit 1; }
"$retrans" completions bash >"$tree/usr/share/bash-completion/completions/retrans"
"$retrans" completions zsh >"$tree/usr/share/zsh/vendor-completions/_retrans"
"$retrans" completions fish >"$tree/usr/share/fish/vendor_completions.d/retrans.fish"

# The libraries that the programs are linked with.
printf 'Source: retrans\n\nPackage: retrans\nArchitecture: any\n' >"$out/debian/control"
depends=$(cd "$out" && dpkg-shlibdeps -O debian/retrans/usr/bin/retrans debian/retrans/usr/bin/retrans-agent | sed 's/^shlibs:Depends=//')
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
mkdir "$tree/DEBIAN"
cat >"$tree/DEBIAN/control" <<-END
	Package: retrans
	Version: $version
	Architecture: $(dpkg --print-architecture)
	Maintainer: the retrans authors <retrans@localhost>
	Depends: $depends
	Section: net
	Priority: optional
	Installed-Size: $(du -sk "$tree/usr" | cut -f 1)
	Description: reports the result of each TCP retransmission attempt
	 The command retrans prints attempts, and the agent retrans-agent exports them to
	 Prometheus, OpenTelemetry collectors and Parquet files. The service retrans-agent is not enabled on installation.
END
package=$out/retrans_${version}_$(dpkg --print-architecture).deb
dpkg-deb --root-owner-group --build "$tree" "$package" >/dev/null
echo "deb: $(du -k "$package" | cut -f 1) KiB, depends on $depends"

# A chroot with nothing of this machine but its kernel.
root=$(mktemp -d "${TMPDIR:-/tmp}/deb.XXXXXX")
# --one-file-system: never deletes a file system that may still be mounted there.
trap 'umount "$root/sys" "$root/proc" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT
# The agent drops its user, which must be able to read /.
chmod 755 "$root"
debootstrap --variant=minbase "$suite" "$root" >"$out/debootstrap.log" 2>&1 ||
	{ tail -3 "$out/debootstrap.log"; echo "deb: cannot create a chroot of $suite" >&2; exit 1; }
cp "$package" "$root/tmp/retrans.deb"
mount -t proc proc "$root/proc"
mount --bind /sys "$root/sys"
chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends /tmp/retrans.deb >"$out/install.log" 2>&1 ||
	{ tail -5 "$out/install.log"; echo "deb: cannot install the package" >&2; exit 1; }
chroot "$root" retrans --version
chroot "$root" retrans-agent --version
# 1: something is not observed on this kernel.
chroot "$root" retrans doctor >"$out/doctor.log" || [ $? = 1 ]
chroot "$root" timeout --signal=TERM --preserve-status 3 retrans-agent --prometheus 127.0.0.1:0 \
	--parquet /var/lib/retrans 2>"$out/agent.log" || { cat "$out/agent.log"; exit 1; }
grep -q '^ready source=' "$out/agent.log"
grep -q '^store written=' "$out/agent.log"
ls "$root"/var/lib/retrans/counts/date=*/host=*/*.parquet >/dev/null
chroot "$root" dpkg --purge retrans >/dev/null
[ ! -e "$root/usr/bin/retrans-agent" ]
echo "deb: installed, run and removed in a chroot of $suite"

# ExecStartPost ends the service once it has notified systemd that it is ready.
UNIT=examples/fleet/deb/retrans-agent.service EDIT='s|/usr/bin/|/usr/local/bin/|;/^ExecStart=/a\
ExecStartPost=/bin/sh -c "kill -TERM $MAINPID"' tests/unit.sh "$tree/usr/bin/retrans-agent" --parquet /var/lib/retrans
