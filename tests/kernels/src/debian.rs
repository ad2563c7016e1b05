// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's archive. Apt reads it with separate sources and lists.
//!
//! The address of the archive is from the system's own apt sources, which are not changed. Only the
//! suites differ.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use retrans_lab::command::run_within;
use retrans_lab::{Context, Error, Result};

use crate::apt_sources::Mirror;
use crate::list::{Package, Pinned};

/// The limit for one step: an update, a download, an extraction.
const LIMIT: Duration = Duration::from_secs(300);

/// The keys with which all suites are signed.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Debian's archive, and a cache of its packages.
#[derive(Debug)]
pub struct Archive {
    /// The directory of the lists and downloads.
    apt: PathBuf,
    /// Lists are fetched at most once, and only if a package is missing.
    updated: OnceLock<Result<()>>,
}

impl Archive {
    /// Opens an archive with its state in this directory, for these suites.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be created, or if the system's apt sources do not
    /// name Debian's archive.
    pub fn new(apt: PathBuf, suites: &BTreeSet<&str>) -> Result<Self> {
        if !Path::new(KEYRING).exists() {
            return Err(Error::new(format!("no {KEYRING}: install debian-archive-keyring")));
        }
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            make(&apt.join(sub))?;
        }
        let sources = apt.join("sources.list");
        fs::write(&sources, lines_for(suites, &Mirror::of_this_system()?))
            .with_context(|| format!("cannot write {sources:?}"))?;
        // An empty status file makes apt assume that no package is installed.
        fs::write(apt.join("status"), "").context("cannot write a package list")?;
        Ok(Self { apt, updated: OnceLock::new() })
    }

    /// Returns the wanted package. If the archive no longer has it, returns the newest package of
    /// its series.
    ///
    /// # Errors
    /// Returns an error if the archive has no package of the series.
    pub fn resolve(&self, pinned: &Pinned) -> Result<Package> {
        if self.downloaded(&pinned.package).exists() {
            return Ok(pinned.package.clone());
        }
        let chosen = choice(self.offered(&pinned.suite, &same_series(pinned)?)?, &pinned.package)?;
        chosen.ok_or_else(|| Error::new(format!("the archive has no package of {} in {}", pinned.series, pinned.suite)))
    }

    /// Returns whether the archive has this package.
    ///
    /// # Errors
    /// Returns an error if apt fails.
    pub fn has(&self, suite: &str, package: &Package) -> Result<bool> {
        if self.downloaded(package).exists() {
            return Ok(true);
        }
        Ok(self.offered(suite, &format!("^{}$", escaped(&package.name)))?.contains(package))
    }

    /// Downloads a package unless it is in the cache, and unpacks it into a new directory `to`.
    ///
    /// # Errors
    /// Returns an error if apt or dpkg fails.
    pub fn unpack(&self, package: &Package, to: &Path) -> Result<()> {
        if !self.downloaded(package).exists() {
            self.update()?;
            let mut download = self.apt("apt-get");
            run_within(LIMIT, {
                download.current_dir(self.apt.join("cache/archives")).args(["download", &package.to_string()]);
                download
            })?;
        }
        extract(&self.downloaded(package), to)
    }

    /// Downloads a package with all its dependencies, including libc, and unpacks them into a new
    /// directory `to`.
    ///
    /// # Errors
    /// Returns an error if apt or dpkg fails.
    pub fn unpack_whole(&self, pinned: &Pinned, package: &Package, to: &Path) -> Result<()> {
        self.update()?;
        let archives = self.apt.join(format!("cache/{}", package.file_name()));
        make(&archives.join("partial"))?;
        let mut install = self.apt("apt-get");
        install.arg("-o").arg(format!("Dir::Cache::Archives={}", archives.display()));
        install.args(["-t", &pinned.suite, "install", "--no-install-recommends", "--download-only", "-y"]);
        install.arg(package.to_string());
        run_within(LIMIT, install)?;
        for entry in fs::read_dir(&archives).with_context(|| format!("cannot read {archives:?}"))? {
            let path = entry.context("cannot read a directory")?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                extract(&path, to)?;
            }
        }
        fs::remove_dir_all(&archives).with_context(|| format!("cannot remove {archives:?}"))
    }

    fn downloaded(&self, package: &Package) -> PathBuf {
        self.apt.join("cache/archives").join(package.file_name())
    }

    /// Returns the packages of a suite whose names match this expression.
    fn offered(&self, suite: &str, names: &str) -> Result<Vec<Package>> {
        self.update()?;
        let mut search = self.apt("apt-cache");
        search.args(["search", "--names-only", names]);
        let found = run_within(LIMIT, search)?;
        let names: Vec<_> = found.lines().filter_map(|line| line.split(' ').next()).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut madison = self.apt("apt-cache");
        madison.arg("madison").args(names);
        Ok(of_suite(&run_within(LIMIT, madison)?, suite))
    }

    fn update(&self) -> Result<()> {
        let update = || {
            let mut update = self.apt("apt-get");
            update.args(["update", "--error-on=any"]);
            run_within(LIMIT, update).map(drop)
        };
        match self.updated.get_or_init(update) {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::new(error.to_string())),
        }
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut set = |option: &str, path: &Path| {
            command.arg("-o").arg(format!("{option}={}", path.display()));
        };
        set("Dir::Etc::SourceList", &self.apt.join("sources.list"));
        set("Dir::Etc::SourceParts", Path::new("-"));
        set("Dir::Etc::PreferencesParts", Path::new("-"));
        set("Dir::State", &self.apt.join("state"));
        set("Dir::State::status", &self.apt.join("status"));
        set("Dir::Cache", &self.apt.join("cache"));
        // Apt's own user may have no access to the cache.
        command.args(["-q", "-o", "APT::Sandbox::User=root", "-o", "APT::Architecture=amd64"]);
        command
    }
}

/// Returns the source lines of these suites.
fn lines_for(suites: &BTreeSet<&str>, mirror: &Mirror) -> String {
    let line = |suite: &&str| {
        let uri = mirror.of_suite(suite);
        format!("deb [arch=amd64 signed-by={KEYRING} target=Packages] {uri} {suite} main\n")
    };
    suites.iter().map(line).collect()
}

/// Returns the wanted package if it is available, else the newest one.
fn choice(offered: Vec<Package>, wanted: &Package) -> Result<Option<Package>> {
    if offered.contains(wanted) {
        return Ok(Some(wanted.clone()));
    }
    let mut newest: Option<Package> = None;
    for package in offered {
        let is_newer = |other: &Package| is_newer(&package.version, &other.version);
        if newest.as_ref().map_or(Ok(true), is_newer)? {
            newest = Some(package);
        }
    }
    Ok(newest)
}

/// Returns an expression for the names of all packages of the same series and sort, without meta
/// packages.
fn same_series(pinned: &Pinned) -> Result<String> {
    let name = &pinned.package.name;
    if !name.ends_with("-amd64") {
        return Ok(format!("^{}$", escaped(name)));
    }
    let (sort, _) = name
        .split_once(&format!("-{}.", pinned.series))
        .ok_or_else(|| Error::new(format!("{name} is not of {}", pinned.series)))?;
    Ok(format!("^{}-{}\\.[0-9].*-cloud-amd64$", escaped(sort), escaped(&pinned.series)))
}

/// Escapes a name for an extended regular expression.
fn escaped(name: &str) -> String {
    name.replace('.', "\\.").replace('+', "\\+")
}

/// Reads `name | version | archive suite/main amd64 Packages`.
fn of_suite(madison: &str, suite: &str) -> Vec<Package> {
    let package = |line: &str| {
        let mut columns = line.split('|').map(str::trim);
        let (name, version, origin) = (columns.next()?, columns.next()?, columns.next()?);
        let (_, place) = origin.split_once(' ')?;
        let is_of_suite = place.split('/').next() == Some(suite) && place.ends_with(" Packages");
        is_of_suite.then(|| Package { name: name.to_owned(), version: version.to_owned() })
    };
    madison.lines().filter_map(package).collect()
}

fn is_newer(version: &str, than: &str) -> Result<bool> {
    let mut dpkg = Command::new("dpkg");
    dpkg.args(["--compare-versions", version, "gt", than]);
    Ok(dpkg.status().context("cannot run `dpkg`")?.success())
}

fn extract(package: &Path, to: &Path) -> Result<()> {
    make(to)?;
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("--extract").arg(package).arg(to);
    run_within(LIMIT, dpkg).map(drop)
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {directory:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn package(name: &str, version: &str) -> Package {
        Package { name: name.to_owned(), version: version.to_owned() }
    }

    fn pinned(series: &str, name: &str) -> Pinned {
        Pinned { series: series.to_owned(), suite: "s".to_owned(), package: package(name, "1") }
    }

    #[test]
    fn the_packages_of_a_suite_are_read() {
        let madison = " linux-image-6.1.0-56-cloud-amd64 |  6.1.192-2 | http://example.org/debian-security bookworm-security/main amd64 Packages\n\
             linux-image-6.1.0-0.deb11.52-cloud-amd64 | 6.1.1-1~deb11u1 | http://example.org/debian-security bullseye-security/main amd64 Packages\n\
             linux-image-6.1.0-56-cloud-amd64 | 6.1.192-2 | http://example.org/debian-security bookworm-security/main Sources\n";
        assert_eq!(of_suite(madison, "bookworm-security"), [package("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2")]);
        assert_eq!(of_suite(madison, "bookworm"), []);
    }

    #[test]
    fn each_suite_has_one_source_line() {
        let etc = Scratch::new("lines");
        fs::write(etc.path().join("sources.list"), "deb http://example.org/debian x main\n").unwrap();
        let mirror = Mirror::from_directory(etc.path()).unwrap();
        let lines = lines_for(&BTreeSet::from(["trixie", "bullseye-security"]), &mirror);
        let line = |rest: &str| format!("deb [arch=amd64 signed-by={KEYRING} target=Packages] {rest} main\n");
        let expected = ["http://example.org/debian-security bullseye-security", "http://example.org/debian trixie"];
        assert_eq!(lines, expected.map(line).concat());
    }

    #[test]
    fn a_series_excludes_longer_series_and_meta_packages() {
        let image = same_series(&pinned("6.1", "linux-image-6.1.0-56-cloud-amd64")).unwrap();
        assert_eq!(image, "^linux-image-6\\.1\\.[0-9].*-cloud-amd64$");
        let binary = same_series(&pinned("7.3", "linux-binary-7.3.4+deb13-cloud-amd64")).unwrap();
        assert_eq!(binary, "^linux-binary-7\\.3\\.[0-9].*-cloud-amd64$");
        assert_eq!(same_series(&pinned("emulator", "qemu-system-x86")).unwrap(), "^qemu-system-x86$");
        assert_eq!(same_series(&pinned("6.12-v2", "linux-source-6.12")).unwrap(), "^linux-source-6\\.12$");
        assert!(same_series(&pinned("6.2", "linux-image-6.1.0-56-cloud-amd64")).is_err());
    }

    #[test]
    fn a_package_that_is_no_longer_available_is_replaced_by_the_newest() {
        let offered = [("a", "6.12.9-1"), ("b", "6.12.117-1"), ("c", "6.12.95-1")].map(|(n, v)| package(n, v));
        let chosen = |offered: &[Package], wanted| choice(offered.to_vec(), &wanted).unwrap();
        assert_eq!(chosen(&offered, package("c", "6.12.95-1")), Some(offered[2].clone()), "the wanted package");
        assert_eq!(chosen(&offered, package("c", "6.12.94-1")), Some(offered[1].clone()));
        assert_eq!(chosen(&[], package("c", "6.12.94-1")), None);
    }

    #[test]
    fn versions_are_compared_as_debian_does() {
        assert!(is_newer("6.12.117-1", "6.12.95-1").unwrap());
        assert!(!is_newer("7.3.4-1~bpo13+1", "7.3.4-1").unwrap());
    }
}
