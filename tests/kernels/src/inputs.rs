// SPDX-License-Identifier: MIT OR Apache-2.0
//! The inputs of the kernel matrix and their hash.
//!
//! # Design
//! A row of the results is evidence for the sources that it was booted with. The hash covers what
//! decides a scenario's result: the BPF programs, the part of the SDK that loads them, the lab, and
//! which kernels are booted and how the patched ones are made. It is computed from the files alone,
//! so that it is the same in a checkout and in an unpacked archive. Nothing is normalized.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use retrans_lab::{Context, Error, Result};
use sha2::{Digest, Sha256};

/// Files, and directories with everything below them, relative to the top of the tree.
pub const INPUTS: [&str; 5] =
    ["bpf", "retrans-sdk/src/kernel", "tests/lab", "tests/kernels/kernels.list", "tests/kernels/patches"];

/// Returns the hash of the [`INPUTS`] of this tree: SHA-256, in hexadecimal.
///
/// # Errors
/// Returns an error if one of them does not exist or cannot be read.
pub fn hash(tree: &Path) -> Result<String> {
    hash_of(tree, &INPUTS)
}

fn hash_of(tree: &Path, inputs: &[&str]) -> Result<String> {
    let mut files = Vec::new();
    for input in inputs {
        collect(&tree.join(input), &mut files)?;
    }
    let mut files: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(tree).unwrap_or(&file);
            (name.to_string_lossy().into_owned(), file)
        })
        .collect();
    files.sort();
    let mut sum = Sha256::new();
    for (name, path) in files {
        let bytes = contents(&path).with_context(|| format!("cannot read {path:?}"))?;
        // With both lengths, so that no byte can move from one file into another.
        sum.update((name.len() as u64).to_le_bytes());
        sum.update(name);
        sum.update((bytes.len() as u64).to_le_bytes());
        sum.update(bytes);
    }
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Of a symbolic link where it leads to: the file itself may not be an input.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    if path.is_symlink() {
        return Ok(fs::read_link(path)?.into_os_string().into_encoded_bytes());
    }
    fs::read(path)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let kind = fs::symlink_metadata(path).with_context(|| format!("input {path:?} of the kernel matrix"))?.file_type();
    if kind.is_file() || kind.is_symlink() {
        files.push(path.to_owned());
    } else if kind.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("cannot read {path:?}"))? {
            collect(&entry.with_context(|| format!("cannot read {path:?}"))?.path(), files)?;
        }
    } else {
        return Err(Error::new(format!("input {path:?} of the kernel matrix is not a file, a link or a directory")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::scratch::Scratch;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_hash_changes_with_each_input_and_with_nothing_else() {
        let tree = Scratch::new("inputs");
        let inputs = ["bpf", "list"];
        let at = |name: &str| tree.path().join(name);
        write(at("bpf/a.h"), "one");
        write(at("bpf/deep/b.h"), "two");
        write(at("list"), "5.10");
        let hash = || hash_of(tree.path(), &inputs).unwrap();
        let first = hash();
        assert_eq!(first.len(), 64);
        assert_eq!(hash(), first, "the same files");

        write(at("results.tsv"), "not an input");
        assert_eq!(hash(), first);
        write(at("bpf/deep/b.h"), "two ");
        let changed = hash();
        assert_ne!(changed, first, "contents");
        write(at("bpf/deep/b.h"), "two");
        assert_eq!(hash(), first);
        fs::rename(at("bpf/a.h"), at("bpf/c.h")).unwrap();
        assert_ne!(hash(), first, "a name");
        fs::rename(at("bpf/c.h"), at("bpf/a.h")).unwrap();
        write(at("bpf/new.h"), "");
        assert_ne!(hash(), first, "an empty file");
        fs::remove_file(at("bpf/new.h")).unwrap();
        // The same bytes in a row, split in another place.
        write(at("bpf/a.h"), "onet");
        write(at("bpf/deep/b.h"), "wo");
        assert_ne!(hash(), first);
    }

    #[test]
    fn an_input_that_does_not_exist_is_an_error() {
        let tree = Scratch::new("no_input");
        let error = hash_of(tree.path(), &["bpf"]).unwrap_err().to_string();
        assert!(error.contains("bpf") && error.starts_with("input "), "{error}");
    }

    #[test]
    fn the_inputs_of_this_tree_exist_and_the_results_are_none_of_them() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        assert_eq!(hash(tree).unwrap().len(), 64);
        let results = Path::new(crate::results::PATH);
        assert!(INPUTS.iter().all(|input| !results.starts_with(input)), "{INPUTS:?}");
    }
}
