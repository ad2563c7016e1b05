// SPDX-License-Identifier: MIT OR Apache-2.0
//! `retrans check`: compares the SDK's tables with the kernel's enums.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use retrans_sdk::check::{self, EnumSource, Report};
use retrans_sdk::{Error, ErrorKind};
use serde_json::json;

use crate::args::Format;
use crate::output::{Output, Paint};
use crate::{CANNOT_START, FAILED, fail, print};

/// Compares the SDK's tables with the kernel's enums
///
/// A table assigns names to the numbers of an enum. The enums are read from the built BPF object,
/// from the running kernel (BTF), and from C headers. With --generate, prints a table for one enum
/// instead, as Rust source.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 no difference; 1 a difference, or an input that cannot be read; 2 usage error, or the table cannot be generated.

Examples:
  retrans check /usr/include ~/src/linux
  retrans check --generate skb_drop_reason --c-prefix SKB_DROP_REASON_")]
pub(crate) struct Arguments {
    /// C headers, kernel source trees or include directories to check; the environment variable
    /// KERNEL_SRC adds one path
    paths: Vec<PathBuf>,
    /// Print a `#[reason_table]` for this enum, read from the running kernel's BTF or from PATH: a
    /// BTF file, an object file, or a C header (*.h)
    #[arg(long, value_name = "ENUM", conflicts_with = "format")]
    generate: Option<String>,
    /// C prefix of the enumerators in the table (default: derived from their names)
    #[arg(long, value_name = "PREFIX", requires = "generate")]
    c_prefix: Option<String>,
    /// Output format. auto prints a report with one finding per line on a terminal, otherwise one
    /// line per report; json prints one object per report
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Format,
}

pub(crate) fn main(arguments: &Arguments, output: Output) -> ExitCode {
    if let Some(name) = &arguments.generate {
        return generate(name, arguments);
    }
    let format = output.format(arguments.format);
    let mut reports = vec![("BPF object", check::object()), ("running kernel", check::running_kernel())];
    let kernel_src = env::var_os("KERNEL_SRC").map(PathBuf::from);
    let paths = arguments.paths.iter().chain(&kernel_src).filter(|path| !path.as_os_str().is_empty());
    reports.extend(paths.map(|path| ("header", check::header(Path::new(path)))));
    let mut passed = true;
    let mut text = String::new();
    for (what, report) in &reports {
        // A kernel without BTF is not a difference.
        let nothing = matches!(report, Err(error) if *what == "running kernel" && error.kind() == ErrorKind::NoBtf);
        passed &= nothing || report.as_ref().is_ok_and(Report::passed);
        text += &match format {
            Format::Table => as_text(what, report, nothing, output.paint),
            Format::Json => as_json(what, report),
            _ => as_lines(report, nothing),
        };
    }
    if format == Format::Table {
        text += &if passed { output.paint.good("No difference.\n") } else { output.paint.bad("The tables differ.\n") };
    }
    match print(text.as_bytes()) {
        Err(status) => status,
        Ok(()) if passed => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(FAILED),
    }
}

/// Prints the source of a table.
fn generate(name: &str, arguments: &Arguments) -> ExitCode {
    let source = match &arguments.paths[..] {
        [] => EnumSource::RunningKernel,
        [path] if path.extension().is_some_and(|extension| extension == "h") => EnumSource::Header(path),
        [path] => EnumSource::Btf(path),
        _ => return fail(CANNOT_START, "--generate accepts at most one PATH"),
    };
    match check::generate_table(source, name, arguments.c_prefix.as_deref()) {
        Ok(table) => print(table.as_bytes()).err().unwrap_or(ExitCode::SUCCESS),
        Err(error) => fail(CANNOT_START, &error),
    }
}

fn as_lines(report: &Result<Report, Error>, nothing: bool) -> String {
    match report {
        Ok(report) => format!("{report}\n"),
        Err(error) if nothing => format!("running kernel: not checked: {error}\n"),
        Err(error) => format!("cannot check: {error}\n"),
    }
}

fn as_json(what: &str, report: &Result<Report, Error>) -> String {
    let object = match report {
        Ok(report) => json!({
            "subject": report.subject,
            "passed": report.passed(),
            "findings": report.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "notes": report.notes,
            "only_in_kernel": report.kernel_only,
        }),
        Err(error) => json!({ "subject": what, "error": error.to_string() }),
    };
    format!("{object}\n")
}

fn as_text(what: &str, report: &Result<Report, Error>, nothing: bool, paint: Paint) -> String {
    let report = match report {
        Ok(report) => report,
        Err(error) if nothing => return format!("{} {what}: {error}\n", paint.warning("not checked")),
        Err(error) => return format!("{} {what}: {error}\n", paint.bad("cannot check")),
    };
    let verdict = if report.passed() { paint.good("ok") } else { paint.bad("DIFFERS") };
    let mut text = format!("{verdict} {}\n", report.subject);
    for finding in &report.findings {
        text += &format!("  {} {finding}\n", paint.bad("difference:"));
    }
    for note in &report.notes {
        text += &format!("  {note}\n");
    }
    text
}
