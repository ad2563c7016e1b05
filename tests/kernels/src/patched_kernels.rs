// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patched kernels, which have the proposal's enum: `tests/kernels/patches`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use retrans_lab::command::run;
use retrans_lab::{Context, Error, Result};

use crate::debian::Archive;
use crate::image::{Kernel, remove};
use crate::list::{Package, Pinned};

/// One numbering of the enum.
#[derive(Debug)]
pub struct Numbering {
    /// The name in the build script.
    pub name: &'static str,
    /// All differences between the enumerators and the SDK's table, in the words of the SDK's
    /// check.
    pub differs: &'static [&'static str],
}

/// All numberings, in the order of their names.
pub const NUMBERINGS: [Numbering; 4] = [
    Numbering { name: "ours", differs: &[] },
    Numbering {
        name: "v1",
        differs: &[
            "TCP_RETRANS_END_SEQ_ERROR is 2, in the table 3",
            "TCP_RETRANS_ERR_DEFAULT is missing",
            "TCP_RETRANS_FRAG_NOMEM is 5, in the table 6",
            "TCP_RETRANS_IN_HOST_QUEUE is 1, in the table 2",
            "TCP_RETRANS_PSKB_COPY_NOBUFS is 8, in the table 9",
            "TCP_RETRANS_RCV_ZERO_WINDOW is 7, in the table 8",
            "TCP_RETRANS_ROUTE_FAIL is 6, in the table 7",
            "TCP_RETRANS_SUCCESS is 0, in the table 1",
            "TCP_RETRANS_TRIM_HEAD_NOMEM is 3, in the table 4",
            "TCP_RETRANS_UNCLONE_NOMEM is 4, in the table 5",
            "TCP_RETRANS_CANCELED = 10 is in no table",
            "TCP_RETRANS_QUIT_UNDEFINED = 9 is in no table",
        ],
    },
    // This one has the numbers of the SDK's table.
    Numbering { name: "v2", differs: &[] },
    Numbering {
        name: "v4",
        differs: &[
            "TCP_RETRANS_FRAG_NOMEM is missing",
            "TCP_RETRANS_PSKB_COPY_NOBUFS is missing",
            "TCP_RETRANS_RCV_ZERO_WINDOW is 6, in the table 8",
            "TCP_RETRANS_ROUTE_FAIL is 5, in the table 7",
            "TCP_RETRANS_TRIM_HEAD_NOMEM is missing",
            "TCP_RETRANS_UNCLONE_NOMEM is missing",
            "TCP_RETRANS_NOMEM = 4 is in no table",
        ],
    },
];

/// Returns the name of a row, such as `6.12-ours`.
pub fn series(of: &str, numbering: &Numbering) -> String {
    format!("{of}-{}", numbering.name)
}

/// Returns the numbering of a row, if its kernel is patched.
pub fn numbering_of(series: &str) -> Option<&'static Numbering> {
    let (_, name) = series.split_once('-')?;
    NUMBERINGS.iter().find(|numbering| numbering.name == name)
}

/// Returns the kernel of this row from `cache`. If it is not in the cache, it is built if `build`
/// is true. Otherwise the result is `None`.
///
/// # Errors
/// Returns an error if the source cannot be fetched, or if the build fails.
pub fn fetch(archive: &Archive, cache: &Path, pinned: &Pinned, build: bool) -> Result<Option<Kernel>> {
    let numbering = numbering_of(&pinned.series).ok_or_else(|| Error::new("no numbering of that name"))?;
    let package = archive.resolve(pinned)?;
    let built = cache.join("own");
    let inputs = inputs(&package)?;
    let is_built = fs::read_to_string(built.join("inputs")).is_ok_and(|before| before == inputs);
    if !is_built {
        if !build {
            return Ok(None);
        }
        remove(&built)?;
        self::build(archive, &package, cache, &built)?;
        fs::write(built.join("inputs"), inputs).context("cannot write the inputs of the build")?;
    }
    let of_numbering = built.join(numbering.name);
    holds(numbering, &of_numbering)?;
    Ok(Some(Kernel { packages: vec![package], image: of_numbering.join("vmlinuz"), modules: Vec::new() }))
}

/// Returns whether the kernel of this row is built already, from the current inputs.
pub fn is_built(archive: &Archive, cache: &Path, pinned: &Pinned) -> bool {
    // This is read first, because apt may have to fetch the archive's lists for the rest.
    let Ok(before) = fs::read_to_string(cache.join("own/inputs")) else { return false };
    archive.resolve(pinned).and_then(|package| inputs(&package)).is_ok_and(|wanted| before == wanted)
}

/// Returns the directory of the patches, the configuration and the build script.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("patches")
}

/// Returns everything that the kernels depend on, in a few lines.
fn inputs(package: &Package) -> Result<String> {
    let mut sums = Command::new("sh");
    sums.current_dir(directory()).args(["-c", "find . -type f | LC_ALL=C sort | xargs sha256sum"]);
    let mut compiler = Command::new("gcc");
    compiler.arg("--version");
    let mut pahole = Command::new("pahole");
    pahole.arg("--version");
    Ok(format!("{package}\n{}{}{}", run(compiler)?, run(pahole)?, run(sums)?))
}

fn build(archive: &Archive, package: &Package, cache: &Path, built: &Path) -> Result<()> {
    let source = cache.join("source");
    remove(&source)?;
    archive.unpack(package, &source)?;
    let name = format!("usr/src/{}.tar.xz", package.name);
    // The build needs minutes, so its output is shown at once.
    let status = Command::new(directory().join("build.sh")).arg(source.join(name)).arg(built).status();
    remove(&source)?;
    match status.context("cannot run tests/kernels/patches/build.sh")? {
        status if status.success() => Ok(()),
        status => Err(Error::new(format!("tests/kernels/patches/build.sh: {status}"))),
    }
}

/// Checks that the kernel's own headers differ from the tables exactly as the numbering does.
fn holds(numbering: &Numbering, tree: &Path) -> Result<()> {
    let report = retrans_sdk::check::header(tree).context("cannot check the headers")?;
    let found: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    if found == numbering.differs {
        return Ok(());
    }
    Err(Error::new(format!("the headers of {} differ from the tables in {found:#?}", numbering.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_row_selects_its_numbering() {
        for numbering in &NUMBERINGS {
            assert_eq!(numbering_of(&series("6.12", numbering)).map(|found| found.name), Some(numbering.name));
            assert!(
                directory().join(format!("variants/{}.patch", numbering.name)).exists() || numbering.name == "ours"
            );
        }
        assert!(numbering_of("6.12").is_none() && numbering_of("6.12-v9").is_none());
    }
}
