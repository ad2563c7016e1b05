// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of kernels: `tests/kernels/kernels.list`.

use std::collections::BTreeSet;
use std::fmt;

use retrans_lab::{Error, Result};

use crate::patched_kernels::{self, NUMBERINGS};

/// A Debian package at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Package {
    /// Returns the file name that `apt-get download` uses, which is also the name of its directory
    /// in the cache.
    pub fn file_name(&self) -> String {
        // Source packages are for all architectures.
        let architecture = if self.name.starts_with("linux-source-") { "all" } else { "amd64" };
        format!("{}_{}_{architecture}.deb", self.name, self.version.replace(':', "%3a"))
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.version)
    }
}

/// A package, and the suite that contains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The first two parts of a kernel's version, or a word.
    pub series: String,
    /// The suite.
    pub suite: String,
    /// The package.
    pub package: Package,
}

/// The packages of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The package of the emulator.
    pub emulator: Pinned,
    /// The kernels, in the order of the file.
    pub kernels: Vec<Pinned>,
}

impl Wanted {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// Returns an error with the first line that is malformed.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut emulator, mut kernels) = (None, Vec::new());
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let [series, suite, name, version] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                return Err(Error::new(format!("not a series, a suite, a package and a version: {line:?}")));
            };
            let package = Package { name: name.to_owned(), version: version.to_owned() };
            let pinned = Pinned { series: series.to_owned(), suite: suite.to_owned(), package };
            if series == "emulator" {
                emulator = Some(pinned);
            } else if series == "own" {
                let version = pinned.package.name.trim_start_matches("linux-source-").to_owned();
                kernels.extend(NUMBERINGS.iter().map(|numbering| Pinned {
                    series: patched_kernels::series(&version, numbering),
                    ..pinned.clone()
                }));
            } else if order(series).is_some() {
                kernels.push(pinned);
            } else {
                return Err(Error::new(format!("not a series: {line:?}")));
            }
        }
        Ok(Self { emulator: emulator.ok_or_else(|| Error::new("no emulator"))?, kernels })
    }

    /// Returns the kernels of these series, or all kernels if the slice is empty.
    ///
    /// # Errors
    /// Returns an error if the list has no kernel of one of the series.
    pub fn of_series(&self, series: &[String]) -> Result<Vec<Pinned>> {
        if series.is_empty() {
            return Ok(self.kernels.clone());
        }
        let find = |wanted: &String| {
            let found = self.kernels.iter().find(|kernel| kernel.series == *wanted).cloned();
            let known = || self.kernels.iter().map(|kernel| kernel.series.as_str()).collect::<Vec<_>>().join(" ");
            found.ok_or_else(|| Error::new(format!("no kernel {wanted}; there are {}", known())))
        };
        series.iter().map(find).collect()
    }

    /// Returns the suites that contain the packages.
    pub fn suites(&self) -> BTreeSet<&str> {
        self.kernels.iter().chain([&self.emulator]).map(|pinned| pinned.suite.as_str()).collect()
    }

    /// Returns the names of the kernels.
    pub fn names(&self) -> Vec<&str> {
        self.kernels.iter().map(|kernel| kernel.series.as_str()).collect()
    }

    /// Returns the oldest kernel.
    pub fn oldest(&self) -> Option<&Pinned> {
        self.kernels.iter().min_by_key(|kernel| order(&kernel.series))
    }

    /// Returns the kernel whose turn it is. All kernels except the oldest have turns, in the order
    /// of the file. If `is_built` is false for a patched kernel, the next one is used instead,
    /// because building it lasts longer than the gate permits.
    pub fn by_rotation(&self, number: u64, is_built: impl Fn(&Pinned) -> bool) -> Option<Pinned> {
        let oldest = self.oldest()?;
        let others: Vec<_> = self.kernels.iter().filter(|kernel| *kernel != oldest).collect();
        let first = usize::try_from(number % u64::try_from(others.len()).ok().filter(|count| *count > 0)?).ok()?;
        let is_there = |kernel: &&&Pinned| patched_kernels::numbering_of(&kernel.series).is_none() || is_built(kernel);
        others.iter().cycle().skip(first).take(others.len()).find(is_there).map(|kernel| (*kernel).clone())
    }
}

/// Returns the sort key of a series: 6.2 before 6.12, and 6.12 before its patched kernels. Returns
/// `None` if the series is not two numbers.
pub fn order(series: &str) -> Option<(u32, u32, &str)> {
    let (version, numbering) = series.split_once('-').unwrap_or((series, ""));
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?, numbering))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# a comment\n\nemulator trixie q 1:2-3\n5.10 old linux-image-5.10.0-46-x 5.10.262-1\n6.1 new i 1\n";

    #[test]
    fn the_file_is_read() {
        let wanted = Wanted::parse(TEXT).unwrap();
        assert_eq!(wanted.emulator.package.file_name(), "q_1%3a2-3_amd64.deb");
        assert_eq!(wanted.kernels[0].package.to_string(), "linux-image-5.10.0-46-x=5.10.262-1");
        assert_eq!(wanted.kernels[0].suite, "old");
        assert_eq!(wanted.of_series(&[]).unwrap(), wanted.kernels);
        assert_eq!(wanted.of_series(&["6.1".to_owned()]).unwrap(), wanted.kernels[1..]);
        let error = wanted.of_series(&["6.2".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "no kernel 6.2; there are 5.10 6.1");
    }

    #[test]
    fn malformed_lines_are_rejected() {
        assert!(Wanted::parse("6.1 new i 1\n").is_err(), "no emulator");
        assert!(Wanted::parse("emulator trixie q\n").is_err());
        assert!(Wanted::parse(&format!("{TEXT}six new i 1\n")).is_err());
    }

    #[test]
    fn the_file_of_this_tree_is_valid() {
        let wanted = Wanted::parse(include_str!("../kernels.list")).unwrap();
        assert_eq!(wanted.oldest().unwrap().series, "5.10");
        assert!(wanted.suites().contains("bullseye-security"));
        assert!(wanted.kernels.len() >= 15);
    }

    #[test]
    fn all_kernels_except_the_oldest_have_turns() {
        let wanted = Wanted::parse(&format!("{TEXT}6.2 new i 1\nown new linux-source-6.3 1\n")).unwrap();
        let turn = |number, is_built: bool| wanted.by_rotation(number, |_| is_built).unwrap().series;
        assert_eq!([0, 1, 2, 5, 6].map(|number| turn(number, true)), ["6.1", "6.2", "6.3-ours", "6.3-v4", "6.1"]);
        // If a patched kernel is not built, the next available kernel is used.
        assert_eq!([1, 2, 5].map(|number| turn(number, false)), ["6.2", "6.1", "6.1"]);
        let alone = Wanted::parse("emulator trixie q 1\n5.10 old i 1\n").unwrap();
        assert!(alone.by_rotation(3, |_| true).is_none());
    }
}
