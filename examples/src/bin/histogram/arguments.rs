// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lexopt::prelude::*;
use retrans_sdk::Filter;
use retrans_sdk::attach::AttachMethod;

use crate::prefix::Prefixes;

pub(crate) const HELP: &str = "\
Counts attempts to retransmit that failed by remote prefix over time.

usage: histogram FILE [TERM…] [--or TERM…]… [OPTION…]
       histogram --for SECONDS [TERM…] [--or TERM…]… [--source SOURCE] [OPTION…]

  FILE               a recording, as `watch > FILE` makes one, or what tracefs or `perf script` printed; `-` is stdin
  --for SECONDS      this host's attempts, for so long or until SIGINT or SIGTERM; needs the privileges that watch needs
  TERM               only attempts for which all terms hold, as for watch: key=a,b  key!=a,b  daddr=PREFIX  key=-
  --or               starts another set of terms; one set that holds is enough
  --source SOURCE    this one or none: tp_enum, tp_err, fexit, kretprobe

  --bucket SECONDS   how long each column is, from 0.001 on; unless set, as long as it takes for 40 columns at most
  --v4-prefix BITS   how long IPv4 prefixes are, 24 unless set; IPv4-mapped addresses are IPv4
  --v6-prefix BITS   how long IPv6 prefixes are, 64 unless set
  --rows N           shows the N prefixes with most failures, 20 unless set; the rest is summed up in one row
  --svg FILE         draws it there too

Exit status: 0; 1 at a line that is not an event's, if more columns are needed than can be, or if something cannot be
written: what was counted before is shown; 2 if it could not start, also where failures are unobservable.";

pub(crate) enum Origin {
    Recording(PathBuf),
    Live { limit: Duration, source: Option<AttachMethod> },
}

pub(crate) struct Arguments {
    pub(crate) origin: Origin,
    pub(crate) filter: Filter,
    pub(crate) prefixes: Prefixes,
    /// In nanoseconds.
    pub(crate) bucket: Option<u64>,
    pub(crate) rows: usize,
    pub(crate) svg: Option<PathBuf>,
}

/// `None` if help is asked for.
pub(crate) fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let mut values: Vec<OsString> = Vec::new();
    let (mut limit, mut source, mut bucket, mut rows, mut svg) = (None, None, None, 20, None);
    let mut prefixes = Prefixes::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(value) => values.push(value),
            Long("or") => values.push("--or".into()),
            Long("for") => limit = Some(seconds("--for", &parser.value()?)?),
            Long("source") => source = Some(parsed("--source", &parser.value()?)?),
            Long("bucket") => {
                let nanos = u64::try_from(seconds("--bucket", &parser.value()?)?.as_nanos()).unwrap_or(u64::MAX);
                if nanos < 1_000_000 {
                    return Err("--bucket is 0.001 at least".into());
                }
                bucket = Some(nanos);
            }
            Long("v4-prefix") => prefixes.v4 = length("--v4-prefix", &parser.value()?, 32)?,
            Long("v6-prefix") => prefixes.v6 = length("--v6-prefix", &parser.value()?, 128)?,
            Long("rows") => rows = parsed("--rows", &parser.value()?)?,
            Long("svg") => svg = Some(parser.value()?.into()),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut values = values.into_iter();
    let origin = match limit {
        Some(limit) => Origin::Live { limit, source },
        None if source.is_some() => return Err("--source goes with --for".into()),
        None => Origin::Recording(values.next().ok_or("which recording, or --for how long? (see --help)")?.into()),
    };
    let terms = values.map(|term| term.string()).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Arguments { origin, filter: terms.join(" ").parse()?, prefixes, bucket, rows, svg }))
}

fn parsed<T: FromStr<Err: Display>>(name: &str, value: &OsString) -> Result<T, Box<dyn Error>> {
    let value = value.clone().string()?;
    value.parse().map_err(|error| format!("{name}: {error}").into())
}

fn seconds(name: &str, value: &OsString) -> Result<Duration, Box<dyn Error>> {
    Duration::try_from_secs_f64(parsed(name, value)?).map_err(|error| format!("{name}: {error}").into())
}

fn length(name: &str, value: &OsString, longest: u8) -> Result<u8, Box<dyn Error>> {
    match parsed(name, value)? {
        bits if bits <= longest => Ok(bits),
        _ => Err(format!("{name} is {longest} at most").into()),
    }
}
