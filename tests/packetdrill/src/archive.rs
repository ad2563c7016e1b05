// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own scripts, from a source package of the system's archive.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use retrans_kernels::debian::Archive;
use retrans_kernels::list::{Package, Pinned};
use retrans_lab::command::run_within;
use retrans_lab::{Context, Error, Result};

/// The package with the scripts. Linux 6.12 contains only some of them.
const SERIES: &str = "7.3";
const SUITE: &str = "trixie-backports";
const VERSION: &str = "7.3.4-1~bpo13+1";

/// The directory of the scripts in the kernel's sources.
const SCRIPTS: &str = "tools/testing/selftests/net/packetdrill";

/// Returns the directory of the kernel's scripts. Fetches them if they are not cached.
///
/// # Errors
/// Returns an error if the package is not available, or cannot be unpacked.
pub fn scripts() -> Result<PathBuf> {
    let cache = cache()?;
    let package = Package { name: format!("linux-source-{SERIES}"), version: VERSION.to_owned() };
    let pinned = Pinned { series: SERIES.to_owned(), suite: SUITE.to_owned(), package };
    let directory = |package: &Package| cache.join(package.file_name());
    if directory(&pinned.package).exists() {
        return Ok(directory(&pinned.package));
    }
    // The package is large, and only its scripts are kept.
    let scratch = cache.join(format!("part-{}", std::process::id()));
    remove(&scratch)?;
    let archive = Archive::new(scratch.join("apt"), &BTreeSet::from([SUITE]))?;
    let package = archive.resolve(&pinned)?;
    if directory(&package).exists() {
        remove(&scratch)?;
        return Ok(directory(&package));
    }
    println!("fetching {package}");
    archive.unpack(&package, &scratch.join("package"))?;
    let sources = scratch.join(format!("package/usr/src/{}.tar.xz", package.name));
    let unpacked = scratch.join("scripts");
    fs::create_dir_all(&unpacked).with_context(|| format!("cannot create {unpacked:?}"))?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(&sources).arg("--directory").arg(&unpacked);
    tar.args(["--strip-components=6", "--wildcards", &format!("*/{SCRIPTS}/*")]);
    run_within(Duration::from_secs(600), tar)?;
    remove(&directory(&package))?;
    fs::rename(&unpacked, directory(&package)).context("cannot move the scripts to the cache")?;
    remove(&scratch)?;
    Ok(directory(&package))
}

fn cache() -> Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let cache = cache.ok_or_else(|| Error::new("neither XDG_CACHE_HOME nor HOME is set"))?;
    Ok(cache.join("retrans-packetdrill"))
}

fn remove(path: &Path) -> Result<()> {
    if path.exists() { fs::remove_dir_all(path).with_context(|| format!("cannot remove {path:?}")) } else { Ok(()) }
}
