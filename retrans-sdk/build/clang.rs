// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds a clang that compiles the BPF programs, or reports the reason that it cannot.
//!
//! # Design
//!
//! A build that cannot succeed reports the reason in one line (`cargo::error`). A missing libelf is
//! the exception: the build script of libbpf-sys, which links it, runs first.
//!
//! The kernel must load the object of every supported clang. Newer versions remove a bound that
//! they can prove and the verifier cannot. Indices are therefore masked after a barrier
//! (`barrier_var`), and `-mcpu=v2` selects the same instructions everywhere. Tested with clang 14,
//! 16 and 19.

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

/// The oldest version of clang whose object is known to load.
const OLDEST: u32 = 14;

const REMEDY: &str = "Debian, Ubuntu: apt-get install clang. Fedora: dnf install clang. Or CLANG=/path/to/clang in the \
    environment. Documentation alone requires no clang: DOCS_RS=1.";

/// Returns the clang that `CLANG` names, or the one on `PATH`, after a check of its version and of
/// the BPF target.
pub(crate) fn find() -> Result<OsString, String> {
    let chosen = std::env::var_os("CLANG");
    let clang = chosen.clone().unwrap_or_else(|| "clang".into());
    let name = match &chosen {
        Some(path) => format!("CLANG={}", path.to_string_lossy()),
        None => "clang".to_owned(),
    };
    let complaint = |what: String| {
        format!("{what}: the BPF programs require clang {OLDEST} or newer with the BPF target. {REMEDY}")
    };

    let asked = Command::new(&clang).arg("--version").stdin(Stdio::null()).output().map_err(|error| {
        complaint(match (error.kind(), &chosen) {
            (ErrorKind::NotFound, None) => "there is no clang on PATH".to_owned(),
            (ErrorKind::NotFound, Some(_)) => format!("there is no {name}"),
            _ => format!("{name} cannot be run ({error})"),
        })
    })?;
    let printed = String::from_utf8_lossy(&asked.stdout);
    match version(&printed) {
        None => return Err(complaint(format!("{name} is not clang; --version prints {:?}", first_line(&printed)))),
        Some((major, full)) if major < OLDEST => {
            return Err(complaint(format!("{name} is clang {full}, which is too old")));
        }
        Some(_) => {}
    }

    let tried = compile_nothing(&clang).map_err(|error| complaint(format!("{name} cannot be run ({error})")))?;
    match tried {
        None => Ok(clang),
        Some(printed) => Err(complaint(format!("{name} cannot compile for BPF: {:?}", first_line(&printed)))),
    }
}

/// Parses the output of `--version`: 14 and `14.0.6` from `Debian clang version 14.0.6`.
fn version(printed: &str) -> Option<(u32, &str)> {
    let full = printed.split_once("clang version ")?.1.split_whitespace().next()?;
    Some((full.split('.').next()?.parse().ok()?, full))
}

/// Compiles an empty program for BPF. Returns the error output if clang fails.
fn compile_nothing(clang: &OsString) -> std::io::Result<Option<String>> {
    let mut running = Command::new(clang)
        .args(["-target", "bpf", "-x", "c", "-c", "-o", "/dev/null", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // A clang that exits before it reads the input is detected by its exit status.
    let _ = running.stdin.take().map(|mut stdin| stdin.write_all(b"int nothing;\n"));
    let output = running.wait_with_output()?;
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn first_line(text: &str) -> &str {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing")
}
