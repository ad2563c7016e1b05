// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints the machine and the bars of a bench. A bar is a limit that a measurement must meet.

use std::fs;
use std::process::ExitCode;

/// Returns the kernel and the processor of this machine.
#[must_use]
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, m)| m);
    let cpus = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("kernel={} cpu={} cpus={cpus}", kernel.trim(), model.replace(' ', "_"))
}

/// Returns the median. It is NaN for no values, which meets no bar.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n.is_multiple_of(2) => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        n => sorted[n / 2],
    }
}

/// Prints each bar and counts those that are not met.
#[derive(Debug, Default)]
pub struct Bars {
    missed: usize,
}

impl Bars {
    /// Creates bars of which none was missed.
    #[must_use]
    pub const fn new() -> Self {
        Self { missed: 0 }
    }

    /// Requires `value` to be at most `limit`.
    pub fn at_most(&mut self, name: &str, value: f64, limit: f64) {
        self.say(name, value, limit, value <= limit);
    }

    /// Requires `value` to be at least `limit`.
    pub fn at_least(&mut self, name: &str, value: f64, limit: f64) {
        self.say(name, value, limit, value >= limit);
    }

    fn say(&mut self, name: &str, value: f64, limit: f64, ok: bool) {
        println!("bar={name} value={value:.2} limit={limit} ok={}", if ok { "yes" } else { "no" });
        self.missed += usize::from(!ok);
    }

    /// Returns the exit code of the bench: a failure if a bar was not met.
    #[must_use]
    pub fn verdict(&self) -> ExitCode {
        if self.missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_numbers() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn nan_meets_no_bar() {
        let mut bars = Bars::new();
        bars.at_most("x", 1.0, 1.0);
        bars.at_least("x", 1.0, 1.0);
        assert_eq!(bars.missed, 0);
        bars.at_most("x", f64::NAN, 1.0);
        bars.at_least("x", f64::NAN, 1.0);
        assert_eq!(bars.missed, 2);
    }
}
