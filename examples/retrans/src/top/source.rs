// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the events come from: this host's kernel, or a recording.

mod live;
mod recorded;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use retrans_sdk::attach::AttachMethod;
use retrans_sdk::event::Timestamp;
use retrans_sdk::{Event, Filter, Stats};

use self::live::Live;
use self::recorded::Recorded;
use crate::args::Input;
use crate::top::model::Counters;

/// What to open, again and again with another filter each time.
#[derive(Debug)]
pub(crate) enum Origin {
    /// This host, from this source or the best.
    Live(Option<AttachMethod>),
    /// A recording, so many times as fast as it was recorded.
    Recording { path: PathBuf, speed: f64, input: Input },
}

/// What is open, in words.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) what: String,
    /// Whether attempts that failed are seen; `None` if a recording does not tell.
    pub(crate) observes_failures: Option<bool>,
    /// What cannot be seen; none of it, if a recording does not tell.
    pub(crate) unobservable: Vec<String>,
}

/// How far a source has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    GoesOn,
    /// A recording's end.
    Ended,
    /// Why the recording cannot be read on.
    Broken(String),
}

pub(crate) enum Source {
    Live(Live),
    Recorded(Box<Recorded>),
}

impl Source {
    pub(crate) fn open(origin: &Origin, filter: &Filter) -> Result<Self, Box<dyn Error>> {
        Ok(match origin {
            Origin::Live(forced) => Self::Live(Live::open(*forced, filter)?),
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

    /// When it is there.
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::Live(live) => live.now(),
            Self::Recorded(recorded) => recorded.now(),
        }
    }

    /// Gives what is there, up to a deadline: there may be more.
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

    /// The counters of a live one.
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
