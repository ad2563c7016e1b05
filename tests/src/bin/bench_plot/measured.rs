// SPDX-License-Identifier: MIT OR Apache-2.0
//! What there is to draw, out of lines of `key=val`.

use std::collections::BTreeMap;

use retrans_tests::{Context, Error, Result};

/// Of one subject, in nanoseconds an event.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) subject: String,
    pub(crate) bpf_stats: Option<f64>,
    pub(crate) sandwich: Option<f64>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Measured {
    /// The machine.
    pub(crate) machine: String,
    /// In the order of the lines.
    pub(crate) costs: Vec<Cost>,
    /// Events a second, and nanoseconds an event.
    pub(crate) over_rate: Vec<(f64, f64)>,
    /// Connections, and nanoseconds an event.
    pub(crate) over_flows: Vec<(f64, f64)>,
}

impl Measured {
    /// Lines of other benches may be among them.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut all = Self::default();
        for line in text.lines() {
            if line.starts_with("kernel=") {
                line.clone_into(&mut all.machine);
            }
            let pairs: BTreeMap<_, _> = line.split(' ').filter_map(|pair| pair.split_once('=')).collect();
            let number = |key: &str| -> Result<f64> {
                let value = pairs.get(key).ok_or_else(|| Error::new(format!("no {key} in: {line}")))?;
                let number: f64 = value.parse().with_context(|| format!("{key} is no number in: {line}"))?;
                // There is no place on a logarithmic scale for anything else.
                if number > 0.0 { Ok(number) } else { Err(Error::new(format!("{key} is not above 0 in: {line}"))) }
            };
            match pairs.get("measured") {
                Some(&"over_rate") => all.over_rate.push((number("reached_per_s")?, number("median_ns")?)),
                Some(&"over_flows") => all.over_flows.push((number("flows")?, number("median_ns")?)),
                Some(&"in_kernel") => {
                    let subject = pairs.get("subject").ok_or_else(|| Error::new(format!("no subject in: {line}")))?;
                    // What measuring takes is taken off the others already.
                    if *subject == "nothing" {
                        continue;
                    }
                    let cost = all.cost_of(subject);
                    match pairs.get("by") {
                        Some(&"bpf_stats") => cost.bpf_stats = Some(number("median_ns")?),
                        Some(&"sandwich") => cost.sandwich = Some(number("median_ns")?),
                        _ => return Err(Error::new(format!("measured by nothing that is known: {line}"))),
                    }
                }
                _ => {}
            }
        }
        if all.costs.is_empty() || all.over_rate.is_empty() || all.over_flows.is_empty() {
            return Err(Error::new("not all parts of the bench `kernel` are there"));
        }
        Ok(all)
    }

    fn cost_of(&mut self, subject: &str) -> &mut Cost {
        let at = self.costs.iter().position(|cost| cost.subject == subject).unwrap_or_else(|| {
            self.costs.push(Cost { subject: subject.to_owned(), ..Cost::default() });
            self.costs.len() - 1
        });
        &mut self.costs[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "kernel=6.18 cpu=x cpus=2\n\
        measured=decode median_ns=1.0\n\
        measured=in_kernel subject=nothing by=sandwich median_ns=90.0\n\
        measured=in_kernel subject=empty by=bpf_stats median_ns=56.4\n\
        measured=in_kernel subject=empty by=sandwich median_ns=52.0\n\
        measured=over_rate asked_per_s=most reached_per_s=999 median_ns=7.5\n\
        measured=over_flows flows=10 reached_per_s=1 median_ns=8.5\n\
        bar=flat value=1 limit=2 ok=yes\n";

    #[test]
    fn reads_what_the_bench_prints() {
        let measured = Measured::parse(TEXT).unwrap();
        let empty = Cost { subject: "empty".to_owned(), bpf_stats: Some(56.4), sandwich: Some(52.0) };
        let expected = Measured {
            machine: "kernel=6.18 cpu=x cpus=2".to_owned(),
            costs: vec![empty],
            over_rate: vec![(999.0, 7.5)],
            over_flows: vec![(10.0, 8.5)],
        };
        assert_eq!(measured, expected);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for (without, what) in [
            ("measured=over_rate", "not all parts"),
            ("by=bpf_stats", "by nothing that is known"),
            ("median_ns=8.5", "no median_ns"),
        ] {
            let error = Measured::parse(&TEXT.replace(without, "x")).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        assert!(Measured::parse(&TEXT.replace("=8.5", "=-8.5")).is_err());
        assert!(Measured::parse(&TEXT.replace("=8.5", "=NaN")).is_err());
    }
}
