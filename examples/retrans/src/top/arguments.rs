// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::error::Error;
use std::path::PathBuf;

use retrans_sdk::Filter;
use retrans_sdk::attach::AttachMethod;

use super::source::Origin;
use crate::args::{Input, Terms, attach_method};

/// Shows attempts in a terminal dashboard as they are made
///
/// Rates by result and kind, remote addresses by failures and attempts, and what was lost. Keys: s sort, f filter, p pause, ? help, q quit.
/// At the end of a live one, `stats …` and `seen …` lines go to stderr, as with watch.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 success; 1 the stream, the recording or the terminal failed; 2 usage error, or it cannot start.

Examples:
  sudo retrans top 'result!=success'
  retrans top --replay attempts.kv --speed 10")]
pub(crate) struct Arguments {
    #[command(flatten)]
    terms: Terms,
    /// Use this attach method only (default: the best that the kernel supports)
    #[arg(long, alias = "source", value_name = "METHOD", value_parser = attach_method(), conflicts_with = "replay")]
    attach_method: Option<AttachMethod>,
    /// Show a recording instead of this host; requires no privilege
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Replay this many times as fast as it was recorded; inf: all at once
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
        let Self { terms, attach_method, replay, speed, input } = self;
        let origin = match replay {
            Some(path) => Origin::Recording { path, speed, input },
            None => Origin::Live(attach_method),
        };
        Ok((origin, terms.parse()?))
    }
}
