// SPDX-License-Identifier: MIT OR Apache-2.0
//! Adding an enumerator in the one declaration changes Display, FromStr, filter and JSON: shown with a copy of the SDK
//! that has one more, and a program that was never told of it but by its name.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use retrans_sdk::{Filter, RetransResult};

/// The declaration that is added, in front of another.
const ADDED: &str = "    /// The moon was in the way.
    #[reason(value = \"moon_phase\", class = Drop)]
    MoonPhase = 10,
";
const IN_FRONT_OF: &str = "    /// No memory (-ENOMEM), and nothing proves at which site.\n";

const PROGRAM: &str = r#"
use retrans_sdk::{Event, Filter, ResultClass, RetransResult};

fn main() {
    let result = RetransResult::MoonPhase;
    assert_eq!(result.to_string(), "moon_phase");
    assert_eq!("moon_phase".parse(), Ok(result));
    assert_eq!(RetransResult::from_raw(10), result);
    assert_eq!(result.class(), ResultClass::Drop);
    assert_eq!(result.description(), "The moon was in the way.");

    let line = std::env::args().nth(1).expect("a line");
    let event: Event = line.parse().expect("a line of an event");
    assert_eq!(event.result, result);
    assert_eq!(event.to_string(), line);
    for (filter, matches) in [("result=moon_phase", true), ("result!=moon_phase", false), ("class=drop", true)] {
        assert_eq!(filter.parse::<Filter>().expect(filter).matches(&event), matches, "{filter}");
    }
    let error = "result=sun_phase".parse::<Filter>().unwrap_err().to_string();
    assert!(error.contains(" moon_phase "), "{error}");
    assert_eq!(serde_json::to_value(&event).expect("JSON")["result"], "moon_phase");
    println!("it does");
}
"#;

const LINE: &str = "ts=1.000000000 result=moon_phase err=-99 kind=rto family=inet saddr=10.0.0.1 sport=1 daddr=10.0.0.2 \
    dport=2 state=established segs=1 class=drop";

#[test]
fn one_more_enumerator_is_everywhere() {
    assert!("moon_phase".parse::<RetransResult>().is_err());
    assert!("result=moon_phase".parse::<Filter>().is_err());

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("one-declaration");
    if copy.exists() {
        fs::remove_dir_all(&copy).expect("the copy of an earlier run");
    }
    for package in ["retrans-macros", "retrans-sdk"] {
        copy_folder(&root.join(package), &copy.join(package));
    }
    let result = copy.join("retrans-sdk/src/event/result.rs");
    let declaration = fs::read_to_string(&result).expect("the declaration");
    assert_eq!(declaration.matches(IN_FRONT_OF).count(), 1);
    fs::write(&result, declaration.replace(IN_FRONT_OF, &format!("{ADDED}{IN_FRONT_OF}"))).expect("the copy");

    let workspace = fs::read_to_string(root.join("Cargo.toml")).expect("the workspace");
    let members = r#"members = ["retrans-macros", "retrans-sdk", "examples", "tests"]"#;
    assert!(workspace.contains(members));
    let workspace = workspace.replace(members, r#"members = ["retrans-macros", "retrans-sdk", "program"]"#);
    fs::write(copy.join("Cargo.toml"), workspace).expect("the copy");
    fs::copy(root.join("Cargo.lock"), copy.join("Cargo.lock")).expect("the copy");
    fs::create_dir_all(copy.join("program/src")).expect("a folder");
    fs::write(copy.join("program/src/main.rs"), PROGRAM).expect("the program");
    fs::write(
        copy.join("program/Cargo.toml"),
        r#"
        [package]
        name = "program"
        version = "0.0.0"
        edition = "2024"
        [dependencies]
        retrans-sdk = { workspace = true, features = ["serde"] }
        serde_json = "1"
        "#,
    )
    .expect("the program");

    // Offline: all it needs was fetched to build this test.
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--package", "program", "--", LINE])
        .current_dir(&copy)
        .env("CARGO_TARGET_DIR", copy.with_file_name("one-declaration-target"))
        .output()
        .expect("cargo");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "it does\n", "{stderr}");
}

/// With what symbolic links point at in their place.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        if path.is_dir() {
            if name != OsStr::new("tests") && name != OsStr::new("target") {
                copy_folder(&path, &to.join(name));
            }
        } else {
            fs::copy(&path, to.join(name)).expect("a file");
        }
    }
}
