// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts attempts by prefix and column in bounded memory, and builds the table.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use retrans_sdk::event::Clock;
use retrans_sdk::{Event, RetransKind, RetransResult};

use crate::histogram::arguments::Which;
use crate::histogram::buckets::Buckets;
use crate::histogram::prefix::Prefixes;

/// The maximum number of prefixes that are counted separately. Later ones are counted together.
const MOST: usize = 1 << 14;

/// The counts of one prefix, or of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    /// The attempts that the columns count, by result.
    results: BTreeMap<RetransResult, u64>,
    /// Attempts by column, in lengths since the epoch. Columns without attempts are left out.
    buckets: BTreeMap<u64, u64>,
}

impl Counted {
    fn put_together(&mut self, columns: u64) {
        for (at, count) in std::mem::take(&mut self.buckets) {
            *self.buckets.entry(at / columns).or_default() += count;
        }
    }

    fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.failures += other.failures;
        other.results.iter().for_each(|(result, count)| *self.results.entry(*result).or_default() += count);
        other.buckets.iter().for_each(|(at, count)| *self.buckets.entry(*at).or_default() += count);
    }
}

#[derive(Debug)]
pub(crate) struct Count {
    prefixes: Prefixes,
    which: Which,
    buckets: Buckets,
    rows: HashMap<IpNet, Counted>,
    /// The counts of the prefixes without a row.
    rest: Option<Counted>,
    synacks: u64,
    /// True if it is known that failures of SYN-ACKs were observed.
    pub(crate) synack_failures: bool,
    /// Attempts that were lost, dropped or missed.
    pub(crate) missing: u64,
    /// Malformed lines that were skipped.
    pub(crate) skipped: u64,
    /// The clock of the events.
    pub(crate) clock: Clock,
}

/// The table to print.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) which: Which,
    /// The prefixes, the most counted attempts first, then the sum of the others.
    pub(crate) rows: Vec<Row>,
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    pub(crate) synacks: u64,
    /// True if it is known that failures of SYN-ACKs were observed.
    pub(crate) synack_failures: bool,
    pub(crate) missing: u64,
    pub(crate) skipped: u64,
    pub(crate) clock: Clock,
    /// The time at which the first column begins, and the length of a column, in nanoseconds.
    pub(crate) begin: u64,
    pub(crate) length: u64,
    /// The largest count in a cell.
    pub(crate) most: u64,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    /// The most frequent result of the counted attempts.
    pub(crate) mostly: Option<RetransResult>,
    /// The counted attempts in each column.
    pub(crate) cells: Vec<u64>,
}

impl Count {
    pub(crate) fn new(prefixes: Prefixes, bucket: Option<u64>, which: Which) -> Self {
        let buckets = Buckets::new(bucket);
        Self {
            prefixes,
            which,
            buckets,
            rows: HashMap::new(),
            rest: None,
            synacks: 0,
            synack_failures: false,
            missing: 0,
            skipped: 0,
            clock: Clock::Realtime,
        }
    }

    /// Counts an attempt.
    ///
    /// # Errors
    ///
    /// Returns an error if its time is so far from the others that there would be too many columns.
    pub(crate) fn add(&mut self, event: &Event) -> Result<(), String> {
        let columns = self.buckets.admit(event.ts.as_nanos())?;
        if columns > 1 {
            self.rows.values_mut().chain(&mut self.rest).for_each(|counted| counted.put_together(columns));
        }
        let prefix = self.prefixes.of(event.daddr);
        let counted = if self.rows.len() < MOST || self.rows.contains_key(&prefix) {
            self.rows.entry(prefix).or_default()
        } else {
            self.rest.get_or_insert_default()
        };
        counted.attempts += 1;
        let failed = event.result != RetransResult::Success;
        counted.failures += u64::from(failed);
        if failed || self.which == Which::All {
            *counted.results.entry(event.result).or_default() += 1;
            *counted.buckets.entry(self.buckets.of(event.ts.as_nanos())).or_default() += 1;
        }
        self.synacks += u64::from(event.kind == RetransKind::Synack);
        Ok(())
    }

    /// Returns the sort key: the attempts that the columns count, then the other number.
    fn weight(&self, counted: &Counted) -> (u64, u64) {
        match self.which {
            Which::Failed => (counted.failures, counted.attempts),
            Which::All => (counted.attempts, counted.failures),
        }
    }

    /// Returns a row for each of the `most` prefixes with the most counted attempts, and one row
    /// for the others. A prefix without counted attempts has no row.
    pub(crate) fn table(&self, most: usize) -> Table {
        let is_counted = |counted: &Counted| self.weight(counted).0 > 0;
        let mut by_weight: Vec<_> = self.rows.iter().filter(|(_, counted)| is_counted(counted)).collect();
        by_weight.sort_by(|(a, x), (b, y)| self.weight(y).cmp(&self.weight(x)).then(a.cmp(b)));
        let shown = by_weight.len().min(most);
        let mut rows: Vec<_> =
            by_weight[..shown].iter().map(|(prefix, counted)| self.row(prefix.to_string(), counted)).collect();

        let unnamed = self.rest.iter().filter(|rest| is_counted(rest));
        let mut others = Counted::default();
        by_weight[shown..]
            .iter()
            .map(|(_, counted)| *counted)
            .chain(unnamed.clone())
            .for_each(|counted| others.add(counted));
        if is_counted(&others) {
            let more = if unnamed.count() > 0 { " or more" } else { "" };
            rows.push(self.row(format!("{} others{more}", by_weight.len() - shown), &others));
        }
        let all = || self.rows.values().chain(&self.rest);
        Table {
            which: self.which,
            attempts: all().map(|counted| counted.attempts).sum(),
            failures: all().map(|counted| counted.failures).sum(),
            synacks: self.synacks,
            synack_failures: self.synack_failures,
            missing: self.missing,
            skipped: self.skipped,
            clock: self.clock,
            begin: self.buckets.begin(),
            length: self.buckets.length,
            most: rows.iter().flat_map(|row| &row.cells).max().copied().unwrap_or_default(),
            rows,
        }
    }

    fn row(&self, name: String, counted: &Counted) -> Row {
        let first = self.buckets.of(self.buckets.begin());
        let cells =
            (first..first + self.buckets.count()).map(|at| counted.buckets.get(&at).copied().unwrap_or_default());
        // If several results are equally frequent, the first one in the table is used.
        let mostly = counted.results.iter().rev().max_by_key(|(_, count)| **count).map(|(result, _)| *result);
        Row { name, attempts: counted.attempts, failures: counted.failures, mostly, cells: cells.collect() }
    }
}
