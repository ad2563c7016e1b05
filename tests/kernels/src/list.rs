// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which kernels: `tests/kernels/kernels.list`.

use std::fmt;

use retrans_tests::{Error, Result};

use crate::patched_kernels::{self, NUMBERINGS};

/// A package of Debian's archive at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Package {
    /// The name that `apt-get download` gives the file. Also what its contents are kept under.
    pub fn file_name(&self) -> String {
        // Sources are for all.
        let architecture = if self.name.starts_with("linux-source-") { "all" } else { "amd64" };
        format!("{}_{}_{architecture}.deb", self.name, self.version.replace(':', "%3a"))
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.version)
    }
}

/// A package that is wanted, and where from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Of a kernel the first two parts of its version; else a word.
    pub series: String,
    /// The suite.
    pub suite: String,
    /// The package.
    pub package: Package,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The emulator.
    pub emulator: Pinned,
    /// The kernels, in the order of the file.
    pub kernels: Vec<Pinned>,
}

impl Wanted {
    /// Takes it from the text of the file.
    ///
    /// # Errors
    /// Which line is not understood.
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

    /// The kernels of these series; all, if none is named.
    ///
    /// # Errors
    /// When there is none of one of them.
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
}

/// So many of the file are booted however much time it takes.
pub const LEAST: usize = 5;

/// By which series are sorted: 6.2 before 6.12, and 6.12 before ours of it. `None` if it is not two numbers.
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
    fn reads_the_file() {
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
    fn refuses_what_it_does_not_understand() {
        assert!(Wanted::parse("6.1 new i 1\n").is_err(), "no emulator");
        assert!(Wanted::parse("emulator trixie q\n").is_err());
        assert!(Wanted::parse(&format!("{TEXT}six new i 1\n")).is_err());
    }

    #[test]
    fn the_first_are_those_that_are_never_left_out() {
        let wanted = Wanted::parse(include_str!("../kernels.list")).unwrap();
        let first: Vec<_> = wanted.kernels.iter().take(LEAST).map(|kernel| kernel.series.as_str()).collect();
        assert_eq!(first, ["5.10", "6.1", "6.12", "6.17", "7.3"]);
    }
}
