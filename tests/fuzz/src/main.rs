// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs a fuzz target: with libFuzzer if it was built by `make fuzz`, and otherwise on the files
//! that the command line names.
//!
//! With libFuzzer, the environment variable `RETRANS_FUZZ_TARGET` selects the target, and the
//! command line contains libFuzzer's own options.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
#[allow(missing_docs, unreachable_pub, unsafe_code, reason = "the expansion of a macro of libfuzzer-sys")]
mod with_libfuzzer {
    use std::env;
    use std::sync::LazyLock;

    use retrans_fuzz::{Target, target};

    static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
        let name = env::var("RETRANS_FUZZ_TARGET").expect("RETRANS_FUZZ_TARGET names a target");
        target(&name).expect("RETRANS_FUZZ_TARGET names a target")
    });

    libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
}

#[cfg(not(fuzzing))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Write as _;
    use std::{env, fs, io};

    use retrans_fuzz::{TARGETS, target};

    let mut out = io::stdout().lock();
    let mut arguments = env::args_os().skip(1);
    let Some(name) = arguments.next() else {
        for target in TARGETS {
            writeln!(out, "{} {}", target.name, target.max_len)?;
        }
        return Ok(());
    };
    let target =
        name.to_str().and_then(target).ok_or("usage: fuzz [TARGET FILE...]; without arguments, lists the targets")?;
    for file in arguments {
        (target.run)(&fs::read(&file)?);
        writeln!(out, "{}: no finding", std::path::Path::new(&file).display())?;
    }
    Ok(())
}
