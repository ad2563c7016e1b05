// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints the public API of a crate from rustdoc's JSON, one item per line.

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use public_api::Builder;
use retrans_lab::{Context, Error, Result};
use serde_json::Value as Json;

/// The only version of the JSON that the library can read. The library does not check it.
const FORMAT: u64 = 57;

fn main() -> ExitCode {
    let path = env::args_os().nth(1);
    let read = path.ok_or_else(|| Error::new("usage: public_api FILE.json")).and_then(|path| public(Path::new(&path)));
    match read {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("public_api: {error}");
            ExitCode::FAILURE
        }
    }
}

fn public(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
    let json: Json = serde_json::from_str(&text).with_context(|| format!("{path:?} is not JSON"))?;
    if json["format_version"] != FORMAT {
        let version = &json["format_version"];
        return Err(Error::new(format!(
            "{path:?} has version {version} of rustdoc's JSON, not {FORMAT}: the rustdoc of Rust 1.95 is required"
        )));
    }
    // Blanket, auto trait and derived implementations would be two of three lines. Tests of the SDK
    // check which types are `Send` and `Sync`.
    let api = Builder::from_rustdoc_json(path)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    Ok(api.with_context(|| format!("cannot list the API in {path:?}"))?.to_string())
}
