// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every file that is tracked says under which licence it is, but those that are named here, each with why.

use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const LICENCES: [&str; 4] =
    ["MIT OR Apache-2.0", "GPL-2.0-only OR BSD-2-Clause", "(GPL-2.0-only OR BSD-2-Clause)", "GPL-2.0-only"];

/// Those in which no such line can stand.
fn is_excepted(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    // The licences themselves.
    name.starts_with("LICENSE-")
        // Written by cargo, and by the compiler, the tests and the benches, which would drop the line.
        || name == "Cargo.lock"
        || [".stderr", ".snap", ".log", ".kv", ".svg", ".txt"].iter().any(|extension| name.ends_with(extension))
        // Three words for git.
        || name == ".gitignore"
}

/// Of a line such as `// SPDX-License-Identifier: MIT OR Apache-2.0`.
fn licence(line: &str) -> Option<&str> {
    let (_, licence) = line.split_once("SPDX-License-Identifier: ")?;
    Some(licence.trim_end_matches("-->").trim_end_matches("*/").trim_end_matches("\",").trim())
}

fn tracked() -> Vec<String> {
    let listed = Command::new("git")
        .args(["-c", "safe.directory=*", "-C", ROOT, "ls-files", "-z", "--full-name"])
        .output()
        .expect("git, which the files are tracked by");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("paths in UTF-8");
    names.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn every_file_names_its_licence() {
    let files = tracked();
    let mut without = Vec::new();
    let mut looked_at = 0;
    for path in &files {
        let file = Path::new(ROOT).join(path);
        // retrans-sdk/bpf is a link to a folder. One that was removed, and that is not yet committed, says nothing.
        if is_excepted(path) || file.is_symlink() || !file.exists() {
            continue;
        }
        looked_at += 1;
        let text = fs::read_to_string(&file).expect("a text");
        if !text.lines().filter_map(licence).any(|licence| LICENCES.contains(&licence)) {
            without.push(path.as_str());
        }
    }
    println!("{looked_at} of {} files", files.len());
    // What is looked for is there: no list of files, and no exception, hides it.
    for path in ["Makefile", ".ci/run", "README.md", "bpf/retrans.h", "tests/live.sh", "retrans-sdk/src/lib.rs"] {
        assert!(files.iter().any(|file| file == path) && !is_excepted(path), "{path}");
    }
    assert!(without.is_empty(), "without a line that names a licence: {without:#?}");
}

#[test]
fn a_line_is_told_from_one_that_is_not() {
    assert_eq!(licence("// SPDX-License-Identifier: MIT OR Apache-2.0"), Some("MIT OR Apache-2.0"));
    assert_eq!(licence("<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->"), Some("MIT OR Apache-2.0"));
    assert_eq!(licence("  \"$comment\": \"SPDX-License-Identifier: GPL-2.0-only\","), Some("GPL-2.0-only"));
    assert_eq!(licence("/* SPDX-License-Identifier: GPL-2.0-only */"), Some("GPL-2.0-only"));
    assert_eq!(licence("// SPDX-License-Identifier MIT"), None);
}
