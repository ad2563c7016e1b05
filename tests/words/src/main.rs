// SPDX-License-Identifier: MIT OR Apache-2.0
//! `make words`: checks the words and the widths of every file that git knows, in this checkout or
//! in the one that the first argument names. Without git it reads every file except build results.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use retrans_words::list::{allowed, entries};
use retrans_words::report::Report;

fn main() -> ExitCode {
    match check() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("words: {error}");
            ExitCode::from(2)
        }
    }
}

fn check() -> Result<bool, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tree = match env::args_os().nth(1) {
        Some(tree) => PathBuf::from(tree),
        None => here.ancestors().nth(2).ok_or("no checkout")?.to_owned(),
    };
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("cannot read {path:?}: {error}"));
    let entries = entries(&read(&here.join("words.tsv"))?)?;
    let allowed = allowed(&read(&here.join("allowed.tsv"))?)?;
    let mut report = Report::new(&entries, &allowed);
    for name in files(&tree)? {
        let path = tree.join(&name);
        if path.is_symlink() || !path.is_file() {
            continue;
        }
        // Other files than text contain no prose.
        if let Ok(text) = String::from_utf8(fs::read(&path).map_err(|error| format!("cannot read {path:?}: {error}"))?)
        {
            report.read(&name, &text);
        }
    }
    report.finish();
    report.findings.iter().for_each(|finding| println!("{finding}"));
    print!("{}", report.table());
    println!("{} files, {} words, {} findings", report.files, report.words, report.findings.len());
    Ok(report.findings.is_empty())
}

/// Returns the names of the files, relative to the tree.
fn files(tree: &Path) -> Result<Vec<String>, String> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(tree).output();
    // An unpacked archive is no checkout.
    let mut names = match output {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8(output.stdout).map_err(|_| "a file name is not UTF-8")?;
            names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    if names.is_empty() {
        collect(tree, tree, &mut names)?;
    }
    if names.is_empty() { Err(format!("no file in {tree:?}")) } else { Ok(names) }
}

fn collect(tree: &Path, directory: &Path, names: &mut Vec<String>) -> Result<(), String> {
    let failed = |error| format!("cannot read {directory:?}: {error}");
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_left_out = [".git", "target"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !path.is_symlink() && !is_left_out {
            collect(tree, &path, names)?;
        } else if let Some(name) = path.strip_prefix(tree).ok().and_then(Path::to_str).filter(|_| path.is_file()) {
            names.push(name.to_owned());
        }
    }
    Ok(())
}
