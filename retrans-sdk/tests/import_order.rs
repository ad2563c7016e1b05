// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modules import downward only. The code that decodes, formats and filters compiles without the
//! module that uses libbpf.

use std::fs;
use std::path::{Path, PathBuf};

/// The top-level modules of the crate, lowest first. A file imports from its own module and lower
/// levels.
const LEVELS: [&[&str]; 9] = [
    &["text"],
    &["error", "rate_limit"],
    &["sys"],
    &["event"],
    &["format", "filter", "stats"],
    &["kernel", "offline"],
    &["stream"],
    &["check"],
    &["harness"],
];

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn level_of(module: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&module))
}

fn rust_files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the crate") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Returns the top-level module of a file.
fn module_of(file: &Path) -> String {
    let below = file.strip_prefix(source_root()).expect("below src");
    let first = below.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Returns the code of a file, without comments and without the test modules at its end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let code = lines.take_while(|(_, line)| !line.ends_with("mod tests {"));
    code.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Returns the modules that a line refers to as `crate::module`.
fn imported(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// Returns the imports of `text`, a file of `module`, that point upward or to the crate root.
fn violations(module: &str, text: &str) -> Vec<String> {
    let own = level_of(module).unwrap_or_else(|| panic!("{module} is in no level of LEVELS"));
    let mut found = Vec::new();
    for (number, line) in code(text) {
        for target in imported(line) {
            let allowed = target == module || level_of(target).is_some_and(|level| level < own);
            if !allowed {
                found.push(format!("{number}: {module} imports crate::{target}"));
            }
        }
    }
    found
}

#[test]
fn modules_import_downward_only() {
    let mut files = Vec::new();
    rust_files(&source_root(), &mut files);
    let mut modules = Vec::new();
    let mut found = Vec::new();
    for file in files {
        let module = module_of(&file);
        if ["lib", "testing"].contains(&module.as_str()) || file.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source file");
        found.extend(violations(&module, &text).into_iter().map(|violation| format!("{}:{violation}", file.display())));
        modules.push(module);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let missing: Vec<_> =
        LEVELS.concat().into_iter().filter(|module| !modules.contains(&(*module).to_owned())).collect();
    assert!(missing.is_empty(), "LEVELS names modules that do not exist: {missing:?}");
}

#[test]
fn an_upward_import_is_found() {
    assert_eq!(violations("event", "use crate::kernel::btf;"), ["1: event imports crate::kernel"]);
    assert_eq!(violations("offline", "let a = 1;\nlet b = crate::stream::BATCH;").len(), 1);
    assert_eq!(violations("stats", "use crate::Event;").len(), 1, "from the root, not from the defining module");
    assert!(violations("stream", "use crate::kernel::btf;\nuse crate::stream::queue;").is_empty());
    assert!(violations("event", "// crate::kernel\nmod tests {\n    use crate::kernel;").is_empty());
}

#[test]
fn only_the_kernel_module_uses_libbpf() {
    let mut files = Vec::new();
    rust_files(&source_root(), &mut files);
    let users = files.iter().filter(|file| {
        let text = fs::read_to_string(file).expect("a source file");
        code(&text).any(|(_, line)| line.contains("libbpf_rs"))
    });
    let elsewhere: Vec<_> = users.filter(|file| module_of(file) != "kernel").collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}
