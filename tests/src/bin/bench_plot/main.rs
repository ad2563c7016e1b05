// SPDX-License-Identifier: MIT OR Apache-2.0
//! Draws what the bench `kernel` has printed: reads its lines from standard input, and writes an SVG to standard output.

mod axis;
mod measured;
mod picture;

use std::io::{self, Read, Write};
use std::process::ExitCode;

use measured::Measured;
use retrans_tests::{Context, Result};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_plot: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    let picture = picture::draw(&Measured::parse(&text)?);
    io::stdout().write_all(picture.as_bytes()).context("cannot write the picture")
}
