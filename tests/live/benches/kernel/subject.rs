// SPDX-License-Identifier: MIT OR Apache-2.0
//! The subjects: this stream in several configurations, and other tools for the same attempts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use retrans_lab::observe::filter;
use retrans_lab::{Context, Result, TraceInstance};
use retrans_sdk::stream::Counters;
use retrans_sdk::{FieldSet, Stream};

use crate::consumer::Consumer;
use crate::run_time::{Programs, descriptors_of, programs};
use crate::sandwich::{self, Attached};
use crate::tool::Tool;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The cost of measuring itself.
    Nothing,
    /// The unit of comparison.
    Empty,
    Counters,
    FilteredOut,
    SmallEveryEvent,
    SmallAdaptive,
    FullEveryEvent,
    FullAdaptive,
    Bpftrace,
    Perf,
    Tracefs,
}

impl Subject {
    pub(crate) const ALL: [Self; 11] = [
        Self::Nothing,
        Self::Empty,
        Self::Counters,
        Self::FilteredOut,
        Self::SmallEveryEvent,
        Self::SmallAdaptive,
        Self::FullEveryEvent,
        Self::FullAdaptive,
        Self::Bpftrace,
        Self::Perf,
        Self::Tracefs,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Empty => "empty",
            Self::Counters => "counters",
            Self::FilteredOut => "filtered_out",
            Self::SmallEveryEvent => "small_every_event",
            Self::SmallAdaptive => "small_adaptive",
            Self::FullEveryEvent => "full_every_event",
            Self::FullAdaptive => "full_adaptive",
            Self::Bpftrace => "bpftrace",
            Self::Perf => "perf_record",
            Self::Tracefs => "tracefs",
        }
    }

    /// Attaches it to every attempt of the machine.
    pub(crate) fn attach(self) -> Result<Watching> {
        let before = descriptors_of(process::id())?;
        let every_event = |builder: retrans_sdk::StreamBuilder| builder.max_delay(Duration::ZERO);
        let stream = |builder| Consumer::open(builder).map(How::Stream);
        let how = match self {
            Self::Nothing => How::Nothing,
            Self::Empty => How::Program(sandwich::empty()?),
            Self::Counters => {
                let counters = Stream::builder().open_counters().context("cannot open counters")?;
                How::Counters(Box::new(counters))
            }
            // No attempt of the lab has this port.
            Self::FilteredOut => stream(Stream::builder().filter(filter("dport=1")?))?,
            Self::SmallEveryEvent => stream(every_event(Stream::builder().fields(FieldSet::none())))?,
            Self::SmallAdaptive => stream(Stream::builder().fields(FieldSet::none()))?,
            Self::FullEveryEvent => stream(every_event(Stream::builder()))?,
            Self::FullAdaptive => stream(Stream::builder())?,
            Self::Bpftrace => How::Tool(Tool::bpftrace()?),
            Self::Perf => How::Tool(Tool::perf()?),
            Self::Tracefs => How::Trace(TraceInstance::without_stacks()?),
        };
        match (&how, self) {
            (How::Tool(tool), Self::Bpftrace) => drop(tool.until("ready")?),
            (How::Tool(tool), _) => tool.until_it_has_events()?,
            _ => {}
        }
        let descriptors = match &how {
            How::Tool(tool) => descriptors_of(tool.pid())?,
            _ => &descriptors_of(process::id())? - &before,
        };
        Ok(Watching { how, descriptors })
    }

    /// Returns whether it is a BPF program, for which the kernel has run-time statistics.
    pub(crate) const fn is_bpf(self) -> bool {
        !matches!(self, Self::Nothing | Self::Perf | Self::Tracefs)
    }
}

enum How {
    Nothing,
    Program(#[expect(dead_code, reason = "it is attached for as long as this lives")] Attached),
    Counters(#[expect(dead_code, reason = "it counts for as long as this lives")] Box<Counters>),
    Stream(Consumer),
    Tool(Tool),
    Trace(
        #[expect(dead_code, reason = "it traces for as long as this lives; unread data is overwritten")] TraceInstance,
    ),
}

/// An attached subject.
pub(crate) struct Watching {
    how: How,
    /// The statistics of its programs.
    descriptors: BTreeSet<PathBuf>,
}

impl Watching {
    /// Returns the runs of its programs so far.
    pub(crate) fn programs(&self) -> Result<Programs> {
        programs(&self.descriptors)
    }

    /// Returns the number of lost events, if it reports that.
    pub(crate) fn lost(&self) -> Option<u64> {
        match &self.how {
            How::Stream(consumer) => Some(consumer.stats().lost),
            _ => None,
        }
    }

    /// Detaches it.
    pub(crate) fn end(self) -> Result<()> {
        match self.how {
            How::Stream(consumer) => consumer.end(),
            _ => Ok(()),
        }
    }
}
