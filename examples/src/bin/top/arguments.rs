// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::error::Error;

use lexopt::prelude::*;
use retrans_sdk::Filter;

use crate::source::Origin;

pub(crate) const HELP: &str = "\
Shows this host's attempts to retransmit TCP segments in the terminal as they are made: how often each result and kind
comes about, which remote addresses they fail for, and what was lost on the way here.

usage: top [TERM…] [--or TERM…]… [--source SOURCE | --replay FILE [--speed FACTOR]]

  TERM            only attempts for which all terms hold, as for watch: key=a,b  key!=a,b  daddr=PREFIX  key=-
  --or            starts another set of terms; one set that holds is enough
  --source SOURCE this one or none: tp_enum, tp_err, fexit, kretprobe, tp_success; without it the best there is
  --replay FILE   a recording, as `watch > FILE` makes one, instead of this host; needs no privilege
  --speed FACTOR  so many times as fast as it was recorded, 1 unless set; inf: all at once

Keys: s sort, f filter, p pause, ? help, q quit. At the end of a live one `stats …` and `seen …` go to stderr, as with watch.
Exit status: 0; 1 if the stream, the recording or the terminal failed; 2 if it could not start.";

/// What is asked for: the origin and the first filter.
pub(crate) type Arguments = (Origin, Filter);

/// `None` if help is.
pub(crate) fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let mut terms: Vec<String> = Vec::new();
    let (mut source, mut path, mut speed) = (None, None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(term) => terms.push(term.string()?),
            Long("or") => terms.push("--or".to_owned()),
            Long("source") => source = Some(parser.value()?.parse().map_err(|error| format!("--source: {error}"))?),
            Long("replay") => path = Some(parser.value()?.into()),
            Long("speed") => {
                let factor: f64 = parser.value()?.parse().map_err(|error| format!("--speed: {error}"))?;
                if factor.is_nan() || factor <= 0.0 {
                    return Err("--speed is more than 0".into());
                }
                speed = Some(factor);
            }
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    let origin = match (path, source, speed) {
        (Some(_), Some(_), _) => return Err("--source and --replay exclude each other".into()),
        (None, _, Some(_)) => return Err("--speed goes with --replay".into()),
        (Some(path), None, speed) => Origin::Recording { path, speed: speed.unwrap_or(1.0) },
        (None, source, None) => Origin::Live(source),
    };
    Ok(Some((origin, terms.join(" ").parse()?)))
}
