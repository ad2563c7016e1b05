// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every tracked file names its licence: in an SPDX line, or by a pattern in `REUSE.toml`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

const LICENCES: [&str; 5] = [
    "MIT OR Apache-2.0",
    "GPL-2.0-only OR BSD-2-Clause",
    "(GPL-2.0-only OR BSD-2-Clause)",
    "GPL-2.0-only",
    // The schema of the Kubernetes project.
    "Apache-2.0",
];

#[derive(Deserialize)]
struct Reuse {
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    path: Vec<String>,
    #[serde(rename = "SPDX-License-Identifier")]
    licence: String,
}

/// Matches as REUSE does: `*` does not match a slash, `**` does.
fn covers(pattern: &str, path: &str) -> bool {
    let Some((literal, rest)) = pattern.split_once('*') else { return pattern == path };
    let Some(path) = path.strip_prefix(literal) else { return false };
    let (rest, any) = rest.strip_prefix('*').map_or((rest, false), |rest| (rest, true));
    let longest = if any { path.len() } else { path.find('/').unwrap_or(path.len()) };
    (0..=longest).any(|at| path.is_char_boundary(at) && covers(rest, &path[at..]))
}

/// Returns the licence in a line such as `// SPDX-License-Identifier: MIT OR Apache-2.0`.
fn licence(line: &str) -> Option<&str> {
    let (_, licence) = line.split_once("SPDX-License-Identifier: ")?;
    Some(licence.trim_end_matches("-->").trim_end_matches("*/").trim_end_matches("\",").trim())
}

fn tracked_files() -> Vec<String> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "-C", ROOT, "ls-files", "-z", "--full-name"])
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("paths in UTF-8");
    names.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn every_tracked_file_names_its_licence() {
    let root = Path::new(ROOT);
    let text = fs::read_to_string(root.join("REUSE.toml")).expect("REUSE.toml exists");
    let reuse: Reuse = toml::from_str(&text).expect("REUSE.toml parses");
    for annotation in &reuse.annotations {
        assert!(LICENCES.contains(&annotation.licence.as_str()), "{}", annotation.licence);
    }
    let patterns: Vec<&String> = reuse.annotations.iter().flat_map(|annotation| &annotation.path).collect();
    let files = tracked_files();
    assert!(files.iter().any(|file| file == "REUSE.toml"), "git lists the files of this checkout: {files:?}");

    for pattern in &patterns {
        assert!(files.iter().any(|file| covers(pattern, file)), "REUSE.toml: no file matches {pattern}");
    }
    let unlicensed: Vec<&String> = files
        .iter()
        .filter(|file| {
            let path = root.join(file);
            // REUSE exempts licence texts and symbolic links. A removed file may be tracked until
            // the next commit.
            let is_exempt = file.rsplit('/').next().is_some_and(|name| name.starts_with("LICENSE"));
            !is_exempt && !path.is_symlink() && path.exists()
        })
        .filter(|file| !patterns.iter().any(|pattern| covers(pattern, file)))
        .filter(|file| {
            let text = fs::read_to_string(root.join(file)).expect("a text file");
            !text.lines().filter_map(licence).any(|licence| LICENCES.contains(&licence))
        })
        .collect();
    assert!(unlicensed.is_empty(), "neither an SPDX line nor a pattern in REUSE.toml: {unlicensed:#?}");
}

#[test]
fn patterns_match_as_in_reuse() {
    assert!(covers("Cargo.lock", "Cargo.lock") && !covers("Cargo.lock", "a/Cargo.lock"));
    assert!(covers("a/*.rs", "a/b.rs") && !covers("a/*.rs", "a/b/c.rs") && !covers("a/*.rs", "a/b.rsx"));
    assert!(covers("a-*/b", "a-c/b") && !covers("a-*/b", "a-c/d/b"));
    assert!(covers("**.snap", "a/b.snap") && covers("**.snap", "b.snap") && !covers("**.snap", "b.snap.new"));
    assert!(covers("a/**", "a/b/c") && !covers("a/**", "b/a/c"));
}

#[test]
fn licences_are_read_from_spdx_lines() {
    assert_eq!(licence("// SPDX-License-Identifier: MIT OR Apache-2.0"), Some("MIT OR Apache-2.0"));
    assert_eq!(licence("<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->"), Some("MIT OR Apache-2.0"));
    assert_eq!(licence("  \"$comment\": \"SPDX-License-Identifier: GPL-2.0-only\","), Some("GPL-2.0-only"));
    assert_eq!(licence("/* SPDX-License-Identifier: GPL-2.0-only */"), Some("GPL-2.0-only"));
    assert_eq!(licence("// SPDX-License-Identifier MIT"), None);
}
