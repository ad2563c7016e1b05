// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holds the SDK's tables against the built object, the running kernel and C headers.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use retrans_sdk::check::{self, Report};
use retrans_sdk::{Error, ErrorKind};

const HELP: &str = "\
Holds the SDK's tables against the enums of the built object, of the running kernel and of C headers.

usage: header_check [PATH…]

  PATH   a header file, a kernel tree, or an include folder; KERNEL_SRC is one more

Exit status: 0 if all agree, 1 if something differs or cannot be read.";

fn main() -> ExitCode {
    let paths: Vec<_> =
        env::args_os().skip(1).chain(env::var_os("KERNEL_SRC").filter(|path| !path.is_empty())).collect();
    if paths.iter().any(|path| path == "--help" || path == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let mut good = agrees(check::object());
    match check::running_kernel() {
        // Nothing to hold against: said, and no difference.
        Err(error) if error.kind() == ErrorKind::NoBtf => println!("running kernel: not checked: {error}"),
        report => good &= agrees(report),
    }
    for path in paths {
        good &= agrees(check::header(Path::new(&path)));
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn agrees(report: Result<Report, Error>) -> bool {
    match report {
        Ok(report) => {
            println!("{report}");
            report.passed()
        }
        Err(error) => {
            println!("cannot check: {error}");
            false
        }
    }
}
