// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments that the programs share.

use std::error::Error;
use std::path::PathBuf;

use retrans_sdk::offline::Recording;
use retrans_sdk::{Filter, Stream, StreamBuilder};

/// Where the events come from, and which: `[--replay FILE] [TERM]...`.
#[derive(Debug, clap::Args)]
pub struct Source {
    /// Read a recording at full speed instead of this host's events; requires no privilege
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Only attempts for which all terms hold, such as result!=success or daddr=10.0.0.0/8; 'kind=rto --or kind=tlp' is one argument
    #[arg(value_name = "TERM")]
    terms: Vec<String>,
}

impl Source {
    /// Parses the filter.
    ///
    /// # Errors
    ///
    /// If a term is malformed; the error names its column.
    pub fn filter(&self) -> Result<Filter, retrans_sdk::filter::FilterError> {
        self.terms.join(" ").parse()
    }

    /// Returns whether the events are this host's.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.replay.is_none()
    }

    /// Opens the stream: of this host, or of the recording.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn open(&self, builder: StreamBuilder) -> Result<Stream, Box<dyn Error>> {
        Ok(match &self.replay {
            Some(path) => builder.replay(Recording::open(path)?)?,
            None => builder.open()?,
        })
    }
}
