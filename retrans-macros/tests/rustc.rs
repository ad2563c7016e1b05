// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mistakes that the compiler reports, not the macro: one error, with this code, at this token. The
//! messages differ between compilers, so there are no `.stderr` files for them.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The name of a file in `tests/rustc/`, the error's code, the start of the line, and the tokens
/// that the error points at.
const EXPECTED: [(&str, &str, &str, &[&str]); 5] = [
    ("class_not_a_table", "E0599", "#[reason_table(", &["Class"]),
    ("class_not_found", "E0425", "#[reason_table(", &["Class"]),
    ("class_variant_not_found", "E0599", "#[reason(", &["Okay"]),
    ("unlisted_variant_not_found", "E0599", "#[reason_table(", &["Missing"]),
    ("unlisted_only_from_raw", "E0451", "let _ = T::Unlisted(", &["raw", "table"]),
];

#[test]
fn the_compiler_reports_one_error_at_the_token() {
    let macros = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rustc");
    fs::create_dir_all(package.join("src/bin")).expect("a folder");
    let sdk = macros.join("../retrans-sdk");
    let manifest = format!(
        "[package]\nname = \"rustc-cases\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [dependencies]\nretrans-sdk.path = {sdk:?}\n[workspace]\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).expect("a file");
    fs::copy(macros.join("../Cargo.lock"), package.join("Cargo.lock")).expect("a file");
    for (case, ..) in EXPECTED {
        let from = macros.join("tests/rustc").join(case).with_extension("rs");
        fs::copy(from, package.join("src/bin").join(case).with_extension("rs")).expect("a file");
    }

    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--bins", "--keep-going", "--message-format=json"])
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", package.join("target"))
        .output()
        .expect("cargo");
    let messages: Vec<Value> =
        output.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    for (case, code, line, tokens) in EXPECTED {
        let errors: Vec<&Value> = messages
            .iter()
            .filter(|message| message["target"]["name"] == case)
            .map(|message| &message["message"])
            // The message "aborting due to …" has no span.
            .filter(|error| error["level"] == "error" && error["spans"] != Value::Array(Vec::new()))
            .collect();
        assert_eq!(errors.len(), 1, "{case}: {errors:#?}\n{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(errors[0]["code"]["code"], code, "{case}: {}", errors[0]["message"]);

        let primary: Vec<_> = errors[0]["spans"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|span| span["is_primary"] == true)
            .map(|span| &span["text"][0])
            .map(|text| {
                let whole = text["text"].as_str().expect("the line");
                assert!(whole.trim_start().starts_with(line), "{case}: {whole}");
                let at = |key: &str| text[key].as_u64().expect("a column") as usize - 1;
                &whole[at("highlight_start")..at("highlight_end")]
            })
            .collect();
        assert_eq!(primary, tokens, "{case}");
    }
}
