// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of `top`.

use std::error::Error;
use std::path::PathBuf;

use retrans_sdk::Filter;
use retrans_sdk::attach::AttachMethod;

use super::source::Origin;
use crate::args::{Attach, Input, Terms, attach_method};

/// Shows attempts in a terminal dashboard, live or from a recording
///
/// Shows rates by result and kind, remote addresses with their failures and attempts, and lost
/// attempts. Press s to sort, d for the droppers, f to filter, p to pause, ? for help, q
/// to quit. After a live run, it
/// prints the counters to stderr: the lines `stats`, `seen` and `failed` that watch prints, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 success; 1 the stream, the recording or the terminal failed after the start; 2 usage error, or the dashboard cannot \
start.

Examples:
  sudo retrans top 'result!=success'
  retrans top --replay attempts.kv --speed 10")]
pub(crate) struct Arguments {
    #[command(flatten)]
    terms: Terms,
    /// Use only this attach method (default: the best that the kernel supports)
    #[arg(long, value_name = "METHOD", value_parser = attach_method(), conflicts_with = "replay")]
    attach_method: Option<AttachMethod>,
    /// Read the BTF of the running kernel from this file (default: /sys/kernel/btf/vmlinux)
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    btf: Option<PathBuf>,
    /// Also record which part of this host dropped segments; press d to see it. Adds a cost for
    /// every packet that the host drops
    #[arg(long, conflicts_with = "replay")]
    drops: bool,
    /// Show a recording instead of this host; requires no privilege
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Speed of the replay as a multiple of the recorded speed; inf replays everything at once
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = speed, requires = "replay", allow_negative_numbers = true)]
    speed: f64,
    #[command(flatten)]
    input: Input,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if factor > 0.0 => Ok(factor),
        _ => Err("expected a number greater than 0, or inf".to_owned()),
    }
}

impl Arguments {
    /// Returns the origin and the first filter.
    pub(super) fn parse(self) -> Result<(Origin, Filter), Box<dyn Error>> {
        let Self { terms, attach_method, btf, drops, replay, speed, input } = self;
        let origin = match replay {
            Some(path) => Origin::Recording { path, speed, input },
            None => Origin::Live { attach: Attach { method: attach_method, btf }, drops },
        };
        Ok((origin, terms.parse()?))
    }
}
