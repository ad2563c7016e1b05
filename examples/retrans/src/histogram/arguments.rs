// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of `histogram`.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use retrans_sdk::Filter;
use retrans_sdk::attach::AttachMethod;

use super::prefix::Prefixes;
use crate::args::{Attach, Format, Input, Terms, attach_method, check_for_recording, seconds};

/// Counts attempts by remote prefix over time
///
/// Each row is a prefix of remote addresses, and each column is a time span. Reads a recording: the
/// output of `retrans watch`, JSON, or the text of tracefs, perf or trace-cmd. With --for, observes
/// this host instead. Counts failed attempts, or all attempts with --count all.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "retrans histogram [OPTIONS] FILE [TERM]... [--or TERM...]\n       \
        retrans histogram [OPTIONS] --for SECONDS [TERM]... [--or TERM...]",
    after_help = "\
Exit status: 0 success; 1 a malformed line, too many columns, or a write error (the attempts counted before it are still printed); 2 \
usage error, or the subcommand cannot start, for example because failures cannot be observed.

Examples:
  retrans histogram attempts.kv --v4-prefix 16
  sudo retrans histogram --for 60 --count all"
)]
pub(crate) struct Arguments {
    /// Recording to read; `-` is stdin
    file: Option<PathBuf>,
    #[command(flatten)]
    terms: Terms,
    /// Count the attempts of this host for this time, in seconds, or until SIGINT or SIGTERM
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    limit: Option<Duration>,
    /// Use only this attach method (default: the best that the kernel supports)
    #[arg(long, value_name = "METHOD", value_parser = attach_method(), requires = "limit")]
    attach_method: Option<AttachMethod>,
    /// Read the BTF of the running kernel from this file (default: /sys/kernel/btf/vmlinux)
    #[arg(long, value_name = "FILE", requires = "limit")]
    btf: Option<PathBuf>,
    /// Attempts that the columns count
    #[arg(long, value_name = "WHICH", default_value = "failed")]
    count: Which,
    /// Width of a column in seconds, at least 0.001 (default: chosen so that there are at most 40
    /// columns)
    #[arg(long, value_name = "SECONDS", value_parser = bucket, allow_negative_numbers = true)]
    bucket: Option<u64>,
    /// Length of IPv4 prefixes in bits; IPv4-mapped addresses count as IPv4
    #[arg(long, value_name = "BITS", default_value = "24", value_parser = clap::value_parser!(u8).range(0..=32))]
    v4_prefix: u8,
    /// Length of IPv6 prefixes in bits
    #[arg(long, value_name = "BITS", default_value = "64", value_parser = clap::value_parser!(u8).range(0..=128))]
    v6_prefix: u8,
    /// Maximum number of prefixes to show; one more row contains the sum of all others
    #[arg(long, value_name = "N", default_value = "20")]
    rows: usize,
    /// Output format: auto, table, kv or json. auto and table print rows with bars, kv prints one
    /// key=value line per row, and json prints one object
    #[arg(long, value_name = "FORMAT", default_value = "auto", hide_possible_values = true)]
    format: Format,
    /// Also draw the histogram to this SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    input: Input,
}

/// The attempts that the columns count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// Failed attempts
    #[default]
    Failed,
    /// All attempts, including those that succeeded
    All,
}

pub(crate) enum Origin {
    Recording(PathBuf, Input),
    Live { limit: Duration, attach: Attach },
}

/// The parsed arguments.
pub(crate) struct Parsed {
    pub(crate) origin: Origin,
    pub(crate) filter: Filter,
    pub(crate) prefixes: Prefixes,
    /// In nanoseconds.
    pub(crate) bucket: Option<u64>,
    pub(crate) rows: usize,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) format: Format,
    pub(crate) which: Which,
}

impl Arguments {
    pub(crate) fn parse(self) -> Result<Parsed, Box<dyn Error>> {
        let Self {
            file,
            mut terms,
            limit,
            attach_method,
            btf,
            count,
            bucket,
            v4_prefix,
            v6_prefix,
            rows,
            format,
            svg,
            input,
        } = self;
        let origin = match (limit, file) {
            (Some(limit), first) => {
                // Without a file, the first operand is a term.
                if let Some(term) = first {
                    terms.0.insert(0, term.into_os_string().into_string().map_err(|_| "a term is not UTF-8")?);
                }
                Origin::Live { limit, attach: Attach { method: attach_method, btf } }
            }
            (None, Some(path)) => Origin::Recording(path, input),
            (None, None) => return Err("missing operand FILE, or --for SECONDS (see --help)".into()),
        };
        let prefixes = Prefixes { v4: v4_prefix, v6: v6_prefix };
        let filter = terms.parse()?;
        if let Origin::Recording(..) = origin {
            check_for_recording(&filter)?;
        }
        Ok(Parsed { origin, filter, prefixes, bucket, rows, svg, format, which: count })
    }
}

/// Parses the width of a column, and returns it in nanoseconds.
fn bucket(text: &str) -> Result<u64, String> {
    let nanos = u64::try_from(seconds(text)?.as_nanos()).unwrap_or(u64::MAX);
    if nanos < 1_000_000 { Err("a column must be at least 0.001 seconds wide".to_owned()) } else { Ok(nanos) }
}
