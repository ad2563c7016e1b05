// SPDX-License-Identifier: MIT OR Apache-2.0
//! The source of the events: this host's kernel, or a recording.

mod live;
mod recorded;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use retrans_sdk::event::{Clock, Timestamp};
use retrans_sdk::{Event, Filter, Stats};

use self::live::Live;
use self::recorded::Recorded;
use crate::args::{Attach, Input};
use crate::top::model::Counters;

/// The source to open; it is opened again for each filter.
#[derive(Debug)]
pub(crate) enum Origin {
    /// This host.
    Live { attach: Attach, drops: bool },
    /// A recording, at a multiple of its recorded speed.
    Recording { path: PathBuf, speed: f64, input: Input },
}

/// A description of the open source.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) what: String,
    /// `None` for a recording, which does not contain this.
    pub(crate) observes_failures: Option<bool>,
    /// Empty for a recording, which does not contain this.
    pub(crate) unobservable: Vec<String>,
    /// The clock of the source's times.
    pub(crate) clock: Clock,
}

/// The progress of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    GoesOn,
    /// The end of the recording.
    Ended,
    /// The reason why the recording cannot be read further.
    Broken(String),
}

pub(crate) enum Source {
    Live(Live),
    Recorded(Box<Recorded>),
}

impl Source {
    pub(crate) fn open(origin: &Origin, filter: &Filter) -> Result<Self, Box<dyn Error>> {
        Ok(match origin {
            Origin::Live { attach, drops } => Self::Live(Live::open(attach, *drops, filter)?),
            Origin::Recording { path, speed, input } => {
                Self::Recorded(Box::new(Recorded::open(path, *speed, *input, filter)?))
            }
        })
    }

    pub(crate) fn about(&self) -> &About {
        match self {
            Self::Live(live) => &live.about,
            Self::Recorded(recorded) => &recorded.about,
        }
    }

    /// Returns the current time of the source.
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::Live(live) => live.now(),
            Self::Recorded(recorded) => recorded.now(),
        }
    }

    /// Passes the available events to `each` until the deadline. There may be more.
    pub(crate) fn take(&mut self, deadline: Instant, each: impl FnMut(&Event)) -> Result<(), retrans_sdk::Error> {
        match self {
            Self::Live(live) => live.take(deadline, each),
            Self::Recorded(recorded) => {
                recorded.take(deadline, each);
                Ok(())
            }
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        match self {
            Self::Live(live) => Counters::of(&live.stats()),
            Self::Recorded(recorded) => recorded.counters(),
        }
    }

    /// Returns the counters of a live source.
    pub(crate) fn stats(&self) -> Option<Stats> {
        match self {
            Self::Live(live) => Some(live.stats()),
            Self::Recorded(_) => None,
        }
    }

    pub(crate) fn progress(&self) -> &Progress {
        match self {
            Self::Live(_) => &Progress::GoesOn,
            Self::Recorded(recorded) => &recorded.progress,
        }
    }
}
