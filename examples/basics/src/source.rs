// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments that select the source of the events.

use std::error::Error;
use std::path::PathBuf;

use retrans_sdk::offline::Recording;
use retrans_sdk::{Filter, Stream, StreamBuilder};

/// The source of the events and the filter: `[--replay FILE] [TERM]...`.
#[derive(Debug, clap::Args)]
pub struct Source {
    /// Read a recording at full speed instead of this host's events; requires no privilege
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Report only attempts that match all terms, such as result!=success daddr=10.0.0.0/8. Quote
    /// alternatives as one argument: 'kind=rto --or kind=tlp'
    #[arg(value_name = "TERM")]
    terms: Vec<String>,
}

impl Source {
    /// Parses the filter.
    ///
    /// # Errors
    ///
    /// Returns an error if a term is malformed. The error contains its column.
    pub fn filter(&self) -> Result<Filter, retrans_sdk::filter::FilterError> {
        self.terms.join(" ").parse()
    }

    /// Returns whether the events come from this host.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.replay.is_none()
    }

    /// Opens a live stream, or a replay of the recording.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be opened.
    pub fn open(&self, builder: StreamBuilder) -> Result<Stream, Box<dyn Error>> {
        Ok(match &self.replay {
            Some(path) => builder.replay(Recording::open(path)?)?,
            None => builder.open()?,
        })
    }
}
