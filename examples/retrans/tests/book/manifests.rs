// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that `toml` blocks are manifests: they parse, and the packages and features of this
//! project that they name exist.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use toml::{Table, Value};

use crate::page::{pages, root};

/// The path of the checkout, relative to the reader's crate.
const CHECKOUT: &str = "../retrans/";

/// Returns the folder and the manifest of a package of the workspace.
pub(crate) fn package(name: &str) -> Option<(PathBuf, Table)> {
    let read = |path: PathBuf| fs::read_to_string(path).expect("a manifest").parse::<Table>().expect("TOML");
    let workspace = read(root().join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().expect("members").iter();
    let folders = members.map(|member| root().join(member.as_str().expect("a folder")));
    let mut packages = folders.map(|folder| (folder.clone(), read(folder.join("Cargo.toml"))));
    packages.find(|(_, manifest)| manifest["package"]["name"].as_str() == Some(name))
}

/// Runs `cargo add` with these arguments in a new crate, without changing it.
pub(crate) fn adds(arguments: &[String]) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        let output = cargo.current_dir(folder.path()).args(arguments).output().expect("cargo");
        output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
    };
    cargo(&["init", "--vcs", "none", "--name", "attempts"])?;
    let here = format!("{}/", root().display());
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.replace(CHECKOUT, &here)).collect();
    cargo(&[&["add", "--offline", "--dry-run"], &*arguments.iter().map(String::as_str).collect::<Vec<_>>()].concat())
}

#[test]
fn each_manifest_names_existing_packages_and_features() {
    let mut count = 0;
    for page in pages() {
        for block in page.blocks_that(|info| info == "toml") {
            let at = page.at(&block);
            let manifest: Table = block.text.parse().unwrap_or_else(|error| panic!("{at}: {error}"));
            assert!(manifest["package"]["edition"].as_str() == Some("2024"), "{at}");
            for section in ["dependencies", "dev-dependencies"] {
                let Some(dependencies) = manifest.get(section).and_then(Value::as_table) else { continue };
                for (name, dependency) in dependencies {
                    let Some(path) = dependency.get("path").and_then(Value::as_str) else { continue };
                    let (folder, of_package) = package(name).unwrap_or_else(|| panic!("{at}: no package {name}"));
                    assert_eq!(path.strip_prefix(CHECKOUT).map(|path| root().join(path)), Some(folder), "{at}: {name}");
                    let known = of_package.get("features").and_then(Value::as_table);
                    let asked = dependency.get("features").and_then(Value::as_array);
                    for feature in asked.into_iter().flatten().filter_map(Value::as_str) {
                        let is_there = known.is_some_and(|known| known.contains_key(feature));
                        assert!(is_there, "{at}: {name} has no feature {feature}");
                    }
                    count += 1;
                }
            }
        }
    }
    assert!(count > 2, "{count}");
}
