// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds a clang that compiles the programs, or says what is wrong with the one that there is.
//!
//! # Design
//!
//! A build that cannot succeed reports the reason in one line (`cargo::error`). A missing libelf is
//! the exception: the build script of libbpf-sys, which links it, runs first.
//!
//! The object must load whichever clang built it. Newer versions remove a bound that they can prove
//! and the verifier cannot, so indices are masked behind a barrier (`barrier_var`), and `-mcpu=v2`
//! selects the same instructions everywhere. Tested with clang 14, 16 and 19.

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

/// The oldest that is known to make an object that loads.
const OLDEST: u32 = 14;

const REMEDY: &str = "Debian, Ubuntu: apt-get install clang. Fedora: dnf install clang. Or CLANG=/path/to/clang in the \
    environment. Documentation alone takes none: DOCS_RS=1.";

/// `CLANG`, or the one on `PATH`: asked for its version, and to compile nothing.
pub(crate) fn find() -> Result<OsString, String> {
    let chosen = std::env::var_os("CLANG");
    let clang = chosen.clone().unwrap_or_else(|| "clang".into());
    let name = match &chosen {
        Some(path) => format!("CLANG={}", path.display()),
        None => "clang".to_owned(),
    };
    let complaint =
        |what: String| format!("{what}: the BPF programs take clang {OLDEST} or newer with the BPF target. {REMEDY}");

    let asked = Command::new(&clang).arg("--version").stdin(Stdio::null()).output().map_err(|error| {
        complaint(match (error.kind(), &chosen) {
            (ErrorKind::NotFound, None) => "there is no clang on PATH".to_owned(),
            (ErrorKind::NotFound, Some(_)) => format!("there is no {name}"),
            _ => format!("{name} cannot be run ({error})"),
        })
    })?;
    let said = String::from_utf8_lossy(&asked.stdout);
    match version(&said) {
        None => return Err(complaint(format!("{name} is no clang, to --version it says {:?}", first_line(&said)))),
        Some((major, full)) if major < OLDEST => {
            return Err(complaint(format!("{name} is clang {full}, which is too old")));
        }
        Some(_) => {}
    }

    let tried = compile_nothing(&clang).map_err(|error| complaint(format!("{name} cannot be run ({error})")))?;
    match tried {
        None => Ok(clang),
        Some(said) => Err(complaint(format!("{name} does not compile for BPF, it says {:?}", first_line(&said)))),
    }
}

/// From `Debian clang version 14.0.6`: 14, and `14.0.6`.
fn version(said: &str) -> Option<(u32, &str)> {
    let full = said.split_once("clang version ")?.1.split_whitespace().next()?;
    Some((full.split('.').next()?.parse().ok()?, full))
}

/// What it complains of, if it cannot.
fn compile_nothing(clang: &OsString) -> std::io::Result<Option<String>> {
    let mut running = Command::new(clang)
        .args(["-target", "bpf", "-x", "c", "-c", "-o", "/dev/null", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // One that ends without having read it tells by its status.
    let _ = running.stdin.take().map(|mut stdin| stdin.write_all(b"int nothing;\n"));
    let output = running.wait_with_output()?;
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn first_line(text: &str) -> &str {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing")
}
