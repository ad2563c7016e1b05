// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plays packetdrill scripts and cross-checks the reported attempts.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::Parser;
use retrans_lab::{Context, Error, Result, privilege};
use retrans_packetdrill::archive;
use retrans_packetdrill::check::{Report, Traces, Variant};
use retrans_packetdrill::parse::parse;
use retrans_packetdrill::script::Script;
use retrans_packetdrill::summary::{Plays, Summary, line};
use rustix::net::sockopt::set_tcp_congestion;
use rustix::net::{AddressFamily, SocketType};

/// Prints a line, and ignores a closed standard output.
macro_rules! say {
    ($($what:tt)*) => {{ let _ = writeln!(io::stdout(), $($what)*); }};
}

const HELP: &str = "\
Each script is played over IPv4, IPv6 and IPv4-mapped addresses, with cubic, reno and, if the kernel
has it, bbr. The scripts are not part of this repository. They are kept in
${XDG_CACHE_HOME:-$HOME/.cache}/retrans-packetdrill.

Exit status:
  0  every attempt matches the kernel, and fewer than 1 % are of an unknown kind
  1  an attempt differs, a play failed, or the plays prove too little; the summary says which
  2  it could not start

Examples:
  packetdrill                       plays all scripts of the kernel's selftests
  packetdrill --verbose user_timeout  plays some, and prints what differs from the scripts";

/// Plays packetdrill scripts and cross-checks the reported attempts
#[derive(Parser)]
#[command(name = "packetdrill", after_help = HELP)]
struct Cli {
    /// Directory of the scripts (default: those of the kernel's selftests, from the system's
    /// archive)
    #[arg(long, value_name = "DIRECTORY")]
    scripts: Option<PathBuf>,
    /// Fetches the kernel's scripts, and plays nothing. Does not require root
    #[arg(long, conflicts_with_all = ["scripts", "names"])]
    fetch: bool,
    /// Number of concurrent plays
    #[arg(long, default_value = "8")]
    jobs: NonZeroUsize,
    /// Prints the first difference between each play and its script
    #[arg(long)]
    verbose: bool,
    /// Parts of the names of the scripts to play (default: all)
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("packetdrill: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    if cli.fetch {
        return archive::scripts().map(|_| true);
    }
    privilege::check()?;
    check_programs()?;
    let directory = match &cli.scripts {
        Some(directory) => directory.clone(),
        None => archive::scripts()?,
    };
    let directory = fs::canonicalize(&directory).with_context(|| format!("no directory {directory:?}"))?;
    let mut summary = Summary::default();
    let scripts = read(&directory, &cli.names, &mut summary)?;
    let controls = congestion_controls()?;
    let mut variants = Vec::new();
    for script in &scripts {
        for control in &controls {
            let variant = |family| Variant { script, directory: &directory, family, congestion_control: control };
            variants.extend(script.families.iter().map(|family| variant(*family)));
        }
    }
    say!("{} scripts, {} plays with {}", scripts.len(), variants.len(), controls.join(", "));
    let traces = Traces::new()?;
    play(&variants, &traces, cli, &mut summary);
    say!("{summary}");
    let is_complete = traces.lost()? == 0;
    if !is_complete {
        say!("FAILED: the trace is incomplete: the kernel dropped events");
    }
    Ok(is_complete && summary.problems().is_empty())
}

/// Checks that there are the programs that the kernel's scripts run. Without one of them the
/// scripts would depart from the kernel in silence.
fn check_programs() -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    for program in ["bash", "ethtool", "python3", "sysctl", "tc"] {
        if !env::split_paths(&path).any(|directory| directory.join(program).exists()) {
            return Err(Error::new(format!("the scripts require {program}, which is not on PATH")));
        }
    }
    Ok(())
}

/// Plays all variants, and prints the results of each script when it is finished.
fn play(variants: &[Variant<'_>], traces: &Traces, cli: &Cli, summary: &mut Summary) {
    let next = Mutex::new(variants.iter());
    let summary = Mutex::new(summary);
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..cli.jobs.get().min(variants.len()) {
            scope.spawn(|| {
                while let Some(variant) = take() {
                    let report = variant.run(traces);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    let name = &variant.script.name;
                    let plays = summary.scripts.entry(name.clone()).or_default();
                    plays.push((variant.to_string(), report));
                    if plays.len() == variants.iter().filter(|other| other.script.name == *name).count() {
                        say!("{name}: {}", line(plays));
                        if cli.verbose {
                            print_differences(plays);
                        }
                    }
                }
            });
        }
    });
}

/// Prints the first difference between each play and its script.
fn print_differences(plays: &Plays) {
    for (variant, report) in plays {
        if let Ok(Report { played, .. }) = report
            && let Some(first) = played.differences.first()
        {
            say!("    {variant}: {} differences, the first in {first}", played.differences.len());
        }
    }
}

/// Returns the scripts of a directory whose names contain one of these. Adds those that are not
/// supported to the summary.
fn read(directory: &Path, names: &[String], summary: &mut Summary) -> Result<Vec<Script>> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {directory:?}"))? {
        let path = entry.with_context(|| format!("cannot read {directory:?}"))?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_wanted = names.is_empty() || names.iter().any(|part| name.contains(part));
        if path.extension().is_none_or(|extension| extension != "pkt") || !is_wanted {
            continue;
        }
        let text = fs::read(&path).with_context(|| format!("cannot read {path:?}"))?;
        match String::from_utf8(text).context("not UTF-8").and_then(|text| parse(&name, &text)) {
            Ok(script) => scripts.push(script),
            Err(error) => drop(summary.unsupported.insert(name, error)),
        }
    }
    if scripts.is_empty() {
        let reasons: String = summary.unsupported.iter().map(|(name, reason)| format!("\n{name}: {reason}")).collect();
        return Err(Error::new(format!("no such scripts in {directory:?} that can be played{reasons}")));
    }
    scripts.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(scripts)
}

/// Returns the congestion controls to play with.
fn congestion_controls() -> Result<Vec<&'static str>> {
    // Loads a module, unlike a look at the list of those that are available.
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).context("cannot create a socket")?;
    let is_available = |control: &&str| set_tcp_congestion(&socket, control).is_ok();
    Ok(["cubic", "reno", "bbr"].into_iter().filter(is_available).collect())
}
