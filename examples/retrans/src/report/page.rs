// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page: its head, and the order of its sections.

use std::cmp::Ordering;
use std::fmt::Display;

use super::html::{Count, Html, Number, Percent};
use super::meanings;
use super::model::{Model, STATED, Source};
use super::sections;
use super::status::COUNTERS;
use super::strip::{Strips, span};
use crate::utc::{self, Precision};
use retrans_sdk::event::Clock;
use retrans_sdk::offline::Format;

const STYLE: &str = include_str!("style.css");

/// The hash of [`STYLE`], which is the only style that the page's policy permits. A test compares
/// them.
const STYLE_HASH: &str = "sha256-V4J82PB6S7kajOvD3Xf6mv6ABEcoWtKH7J+uhBfHwqI=";

/// The maximum number of recordings with a row.
const MOST_SOURCES: usize = 20;

/// The options of a page.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) title: String,
    /// The maximum number of rows of a table.
    pub(crate) rows: usize,
    /// The terms that an attempt on the page matches.
    pub(crate) filter: Option<String>,
}

/// Returns the page.
pub(crate) fn draw(model: &Model, options: &Options) -> String {
    let mut html = Html::default();
    html.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '");
    html.raw(STYLE_HASH).raw("'; base-uri 'none'; form-action 'none'\">\n");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.raw("<meta name=\"referrer\" content=\"no-referrer\">\n<title>").text(&options.title).raw("</title>\n<style>");
    html.raw(STYLE).raw("</style>\n</head>\n<body>\n<header>\n<h1>").text(&options.title).raw("</h1>\n");
    when(&mut html, model);
    html.raw("</header>\n<main>\n");
    lead(&mut html, model, options);
    figures(&mut html, model);
    contents(&mut html, model);
    basis(&mut html, model, options);
    if model.attempts > 0 {
        let strips = Strips::new(model);
        sections::time(&mut html, model, &strips);
        sections::results(&mut html, model);
        sections::prefixes(&mut html, model, &strips, options.rows);
        sections::droppers(&mut html, model, options.rows);
    }
    sections::connections(&mut html, model);
    if model.failures > 0 {
        sections::newest(&mut html, model);
    }
    meanings::draw(&mut html, model);
    html.raw("</main>\n<footer>Written by retrans ").raw(env!("CARGO_PKG_VERSION"));
    html.raw(". This page contains no script and loads nothing.</footer>\n</body>\n</html>\n");
    html.finish()
}

/// Appends the link to the meaning of a value, whose text is the value.
pub(crate) fn link(html: &mut Html, table: &'static str, value: impl Display) {
    let value = value.to_string();
    html.raw("<a class=\"m\" href=\"#").raw(table).raw("-").text(&value).raw("\">");
    // The name may continue on another line after an underscore.
    for (at, part) in value.split('_').enumerate() {
        html.raw(if at > 0 { "_<wbr>" } else { "" }).text(part);
    }
    html.raw("</a>");
}

fn when(html: &mut Html, model: &Model) {
    let Some((first, last)) = model.range() else { return };
    let print = |ts| utc::date_time(ts, model.clock, Precision::Seconds);
    let (from, mut to) = (print(first), print(last));
    if model.clock == Clock::Realtime && utc::date(first, model.clock) == utc::date(last, model.clock) {
        to = utc::time(last, model.clock, Precision::Seconds);
    }
    html.raw("<p class=\"when\">").text(from).raw(" to ").text(to).raw(" ").text(utc::unit(model.clock));
    html.raw(" (").text(span(last.as_nanos() - first.as_nanos())).raw(")</p>\n");
}

/// Appends the result in one paragraph.
fn lead(html: &mut Html, model: &Model, options: &Options) {
    html.raw("<p class=\"lead\">");
    let most = model.results.sorted_by(|outcome| outcome.attempts);
    let most = most.iter().find(|(result, _)| **result != retrans_sdk::RetransResult::Success);
    match (model.attempts, model.failures) {
        (0, _) => {
            html.raw(match options.filter {
                Some(_) => "No attempt to retransmit matches the filter.</p>\n",
                None => "No attempt to retransmit was recorded.</p>\n",
            });
            return;
        }
        (attempts, 0) => {
            html.text(Count(attempts, "attempt")).raw(" to retransmit, and no failed one.");
        }
        (attempts, failures) => {
            html.text(Number(failures)).raw(" of ").text(Count(attempts, "attempt"));
            html.raw(" to retransmit failed on this host (").text(Percent(failures, attempts)).raw(")");
            if let Some((result, outcome)) = most {
                html.raw(", most with the result ");
                link(html, "result", *result);
                html.raw(" (").text(Number(outcome.attempts)).raw(")");
            }
            html.raw(".");
        }
    }
    html.raw(
        "</p>\n<p>A success means that the IP layer accepted the segment, not that it left the host. Every other ",
    );
    html.raw("result is a failure on this host itself, before the network.</p>\n");
}

fn figures(html: &mut Html, model: &Model) {
    html.raw("<dl class=\"figures\">\n");
    let mut figure = |name: &'static str, value: u64, suffix: &'static str| {
        html.raw("<div><dt>").raw(name).raw("</dt><dd>").text(Number(value)).raw(suffix).raw("</dd></div>\n");
    };
    figure("attempts", model.attempts, "");
    figure("failed", model.failures, "");
    figure("segments", model.segs, "");
    let or_more = if model.prefixes.removed > 0 { " or more" } else { "" };
    figure("remote prefixes", model.prefixes.len() as u64, or_more);
    if !model.ended.is_empty() {
        figure("connections aborted", model.aborted(), "");
    }
    html.raw("</dl>\n");
}

fn contents(html: &mut Html, model: &Model) {
    let sections = [
        ("basis", "Basis", true),
        ("time", "Over time", model.attempts > 0),
        ("results", "Results", model.attempts > 0),
        ("prefixes", "Remote prefixes", model.attempts > 0),
        ("drops", "Drops", model.attempts > 0),
        ("connections", "Connections", true),
        ("newest", "Newest failures", model.failures > 0),
        ("meanings", "Meanings", true),
    ];
    html.raw("<nav aria-label=\"Contents\">");
    for (id, name, _) in sections.iter().filter(|(_, _, exists)| *exists) {
        html.raw("<a href=\"#").raw(id).raw("\">").raw(name).raw("</a> ");
    }
    html.raw("</nav>\n");
}

/// Appends what was read, and what the page cannot show.
fn basis(html: &mut Html, model: &Model, options: &Options) {
    html.raw("<section id=\"basis\">\n<h2>What this page is based on</h2>\n");
    errors(html, model);
    html.raw("<dl class=\"facts\">\n");
    if let Some(filter) = &options.filter {
        let excluded: u64 = model.sources.iter().map(|source| source.excluded).sum();
        html.raw("<dt>Filter</dt><dd><code>").text(filter).raw("</code>: ").text(Count(excluded, "attempt"));
        html.raw(" of the recordings did not match, and are not on this page. Verdicts are not filtered.</dd>\n");
    }
    for ((key, name), values) in STATED.iter().zip(["Host", "Kernel", "Attach method"]).zip(&model.stated) {
        if values.is_empty() {
            continue;
        }
        html.raw("<dt>").raw(name).raw("</dt><dd>");
        let sorted = values.sorted_by(|count| *count);
        for (at, (value, count)) in sorted.iter().enumerate() {
            html.raw(if at > 0 { ", " } else { "" }).raw("<span class=\"m\">").text(value).raw("</span>");
            if sorted.len() > 1 || **count < model.attempts {
                html.raw(" (").text(Count(**count, "attempt")).raw(")");
            }
        }
        if values.others() > 0 {
            html.raw(", other values of <span class=\"m\">").raw(key).raw("</span> (");
            html.text(Count(values.others(), "attempt")).raw(")");
        }
        html.raw("</dd>\n");
    }
    if let Some(status) = &model.status {
        html.raw("<dt>Attach method</dt><dd>");
        for (at, (method, runs)) in status.methods.iter().enumerate() {
            html.raw(if at > 0 { ", " } else { "" }).raw("<span class=\"m\">").text(method).raw("</span>");
            if status.methods.len() > 1 {
                html.raw(" (").text(Count(*runs, "run")).raw(")");
            }
        }
        html.raw(" (from ").text(Count(status.runs, "run")).raw(" of <code>retrans watch</code>)</dd>\n");
    }
    html.raw("</dl>\n");
    sources(html, model);
    counters(html, model);
    limits(html, model);
    html.raw("</section>\n");
}

fn errors(html: &mut Html, model: &Model) {
    for error in model.sources.iter().filter_map(|source| source.error.as_ref()) {
        html.raw("<p class=\"warn\"><strong>Incomplete:</strong> ").text(error);
        html.raw(". The lines after it are not on this page.</p>\n");
    }
}

fn sources(html: &mut Html, model: &Model) {
    html.raw("<table class=\"stack sources\">\n<caption>Recordings, as they were read</caption>\n<thead><tr><th scope=\"col\">recording</th>");
    html.raw("<th scope=\"col\">format</th>");
    for name in ["attempts", "failed", "verdicts", "lines skipped", "entries lost"] {
        html.raw("<th scope=\"col\" class=\"n\">").raw(name).raw("</th>");
    }
    html.raw("<th scope=\"col\">first and last time</th></tr></thead>\n<tbody>\n");
    for source in model.sources.iter().take(MOST_SOURCES) {
        row(html, model, source);
    }
    if let Some(rest) = model.sources.get(MOST_SOURCES..).filter(|rest| !rest.is_empty()) {
        let mut sum = Source { name: format!("{} more", Count(rest.len() as u64, "recording")), ..Source::default() };
        for source in rest {
            sum.attempts += source.attempts;
            sum.failures += source.failures;
            sum.verdicts += source.verdicts;
            sum.skipped += source.skipped;
            sum.losses.entries += source.losses.entries;
            sum.losses.unknown += source.losses.unknown;
            sum.range = match (sum.range, source.range) {
                (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
                (one, other) => one.or(other),
            };
        }
        row(html, model, &sum);
    }
    html.raw("</tbody>\n</table>\n");
}

fn row(html: &mut Html, model: &Model, source: &Source) {
    html.raw("<tr><th scope=\"row\" class=\"m\">").text(&source.name).raw("</th><td data-h=\"format\">");
    match source.detected {
        Some(detected) => html.text(detected.format),
        None => html.raw("–"),
    };
    html.raw("</td>");
    let unknown = source.losses.unknown > 0;
    let numbers = [
        ("attempts", source.attempts),
        ("failed", source.failures),
        ("verdicts", source.verdicts),
        ("lines skipped", source.skipped),
    ];
    for (name, number) in numbers {
        html.raw("<td class=\"n\" data-h=\"").raw(name).raw("\">").text(Number(number)).raw("</td>");
    }
    html.raw("<td class=\"n\" data-h=\"entries lost\">");
    match (source.losses.entries, source.detected.map(|detected| detected.format)) {
        (0, _) if unknown => html.raw("some"),
        // Only kernel text contains reports of losses.
        (0, Some(Format::KernelText)) => html.raw("none reported"),
        (0, _) => html.raw("not stated"),
        (entries, _) => html.text(Number(entries)).raw(if unknown { " or more" } else { "" }),
    };
    html.raw("</td><td data-h=\"first and last time\">");
    match source.range {
        Some((first, last)) => {
            let print = |ts| utc::date_time(ts, model.clock, Precision::Seconds);
            html.raw("<span><span class=\"t\">")
                .text(print(first))
                .raw(" –</span> <span class=\"t\">")
                .text(print(last))
                .raw("</span></span>")
        }
        None => html.raw("–"),
    };
    html.raw("</td></tr>\n");
}

/// Appends the counters of the program that recorded, and compares them with the recordings.
fn counters(html: &mut Html, model: &Model) {
    let Some(status) = &model.status else { return };
    if status.counted < status.runs {
        html.raw("<p class=\"warn\">")
            .text(Number(status.runs - status.counted))
            .raw(" of ")
            .text(Count(status.runs, "run"));
        html.raw(" of <code>retrans watch</code> printed no counters, as a run that was killed does. How many of its attempts are \
                  missing is not known.</p>\n");
    }
    if status.counted == 0 {
        return;
    }
    html.raw("<table>\n<caption>What <code>retrans watch</code> counted</caption>\n<thead><tr><th scope=\"col\">counter</th>");
    html.raw("<th scope=\"col\" class=\"n\">attempts</th><th scope=\"col\">meaning</th></tr></thead>\n<tbody>\n");
    for ((key, meaning), sum) in COUNTERS.iter().zip(&status.counters) {
        html.raw("<tr><th scope=\"row\" class=\"m\">").raw(key).raw("</th><td class=\"n\">");
        match sum {
            Some(sum) => html.text(Number(*sum)),
            None => html.raw("not available"),
        };
        html.raw("</td><td>").raw(meaning).raw("</td></tr>\n");
    }
    html.raw("</tbody>\n</table>\n<p>");
    let Some(delivered) = status.counter("delivered").filter(|_| status.counted == status.runs) else {
        html.raw("Whether the recordings are complete is not known.</p>\n");
        return;
    };
    let read = model.attempts + model.sources.iter().map(|source| source.excluded).sum::<u64>();
    match read.cmp(&delivered) {
        Ordering::Equal => html.raw("The recordings contain every attempt that was delivered."),
        Ordering::Less => {
            html.raw("The recordings contain ").text(Count(delivered - read, "attempt"));
            html.raw(
                " fewer than were delivered: they are not complete, or these are not all recordings of these runs.",
            )
        }
        Ordering::Greater => {
            html.raw("The recordings contain ").text(Count(read - delivered, "attempt"));
            html.raw(" more than were delivered: they contain attempts of other runs.")
        }
    };
    html.raw("</p>\n");
}

/// Appends what the recordings do not contain, or what cannot be observed.
fn limits(html: &mut Html, model: &Model) {
    html.raw("<h3>What it does not show</h3>\n<ul>\n");
    let missing: Vec<_> = ["host", "kernel", "attach method"]
        .into_iter()
        .zip(&model.stated)
        .filter(|(name, values)| values.is_empty() && (*name != "attach method" || model.status.is_none()))
        .collect();
    let mut item = |write: &dyn Fn(&mut Html)| {
        html.raw("<li>");
        write(html);
        html.raw("</li>\n");
    };
    match &model.status {
        None => {
            item(&|html| {
                html.raw("A recording contains the attempts that were delivered. It does not contain the attempts that a filter \
                      excluded, that the rate limit excluded, or that were lost because a buffer was full. ");
                html.raw(
                    "<code>retrans watch</code> prints their numbers on stderr, and <code>--status</code> reads them.",
                );
            })
        }
        Some(status) => {
            let lost = ["lost", "dropped", "missed"].iter().filter_map(|key| status.counter(key)).sum::<u64>();
            if lost > 0 {
                item(&|html| {
                    html.text(Count(lost, "attempt"))
                        .raw(" of those that <code>retrans watch</code> should have recorded ");
                    html.raw(if lost == 1 { "is" } else { "are" }).raw(" missing: lost, dropped or missed.");
                });
            }
            if status.failures_unobservable > 0 {
                item(&|html| {
                    html.raw("Failures were not observable in ").text(Count(status.failures_unobservable, "run"));
                    html.raw(". An absent failure is not a success there.");
                });
            }
            if status.synack_failures_unobservable > 0 {
                item(&|html| {
                    html.raw("Failed SYN-ACKs were not observable in ")
                        .text(Count(status.synack_failures_unobservable, "run"))
                        .raw(".");
                });
            }
        }
    }
    if !missing.is_empty() {
        item(&|html| {
            html.raw("Not stated in the recording: ");
            html.text(missing.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")).raw(".");
        });
    }
    if model.clock != Clock::Realtime && model.attempts > 0 {
        item(&|html| {
            html.raw("The clock of the text is not known. Times are seconds of that clock, and not dates. Times of different \
                      recordings may not be comparable. <code>--clock-offset</code> sets the offset.");
        });
    }
    let skipped: u64 = model.sources.iter().map(|source| source.skipped).sum();
    if skipped > 0 {
        item(&|html| {
            html.text(Count(skipped, "line")).raw(if skipped == 1 { " was" } else { " were" });
            html.raw(" skipped: not lines of a recording, or malformed ones.");
        });
    }
    let entries: u64 = model.sources.iter().map(|source| source.losses.entries).sum();
    let unknown: u64 = model.sources.iter().map(|source| source.losses.unknown).sum();
    if entries + unknown > 0 {
        item(&|html| {
            html.raw("The text reports ")
                .text(Count(entries, "lost trace entry").to_string().replace("entrys", "entries"));
            html.raw(" of any event");
            if unknown > 0 {
                html.raw(", and contains ").text(Count(unknown, "loss report")).raw(" without a number");
            }
            html.raw(". Attempts may be among them.");
        });
    }
    if model.attempts > 0 && model.failures == 0 {
        item(&|html| {
            html.raw("No failed attempt was recorded. This is not proof that none failed: a filter may have excluded them, and the \
                      attach method <code>tp_success</code> cannot observe failures.");
        });
    }
    if model.without_err > 0 {
        item(&|html| {
            html.text(Number(model.without_err)).raw(" of ").text(Count(model.attempts, "attempt"));
            html.raw(" have no <code>err</code>: their attach method, or their text, does not report it.");
        });
    }
    if model.failed_synacks == 0 && model.attempts > 0 && model.status.is_none() {
        item(&|html| {
            html.raw("No failed SYN-ACK was recorded (")
                .text(Count(model.synacks, "attempt"))
                .raw(" for a SYN-ACK). Failed ");
            html.raw("SYN-ACKs are observable only with fexit or a kretprobe.");
        });
    }
    if model.with_drop == 0 && model.failures > 0 {
        item(&|html| {
            html.raw("No line states which part of the host dropped a packet. <code>retrans watch --drops</code> records that.");
        });
    }
    if model.sources.iter().all(|source| source.verdicts == 0) {
        item(&|html| {
            html.raw("No line states what became of a connection. <code>retrans watch --verdicts</code> records that.");
        });
    }
    html.raw("</ul>\n");
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// Encodes bytes as base64.
    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            for digit in 0..4 {
                let index = bits >> (18 - 6 * digit) & 63;
                text.push(if digit <= group.len() { char::from(DIGITS[index as usize]) } else { '=' });
            }
        }
        text
    }

    /// Returns the relative luminance (WCAG 2.2) of a color of the style. `theme` is 0 for light,
    /// and 1 for dark.
    fn luminance(name: &str, theme: usize) -> f64 {
        let color = STYLE.split(&format!("--{name}: #")).nth(theme + 1).expect("a color in each theme");
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&color[at..at + 2], 16).expect("two digits")) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    }

    #[test]
    fn levels_can_be_distinguished_without_colors() {
        for theme in [0, 1] {
            for scale in ["f", "s"] {
                let levels = (1..=7).map(|level| luminance(&format!("{scale}{level}"), theme));
                let levels: Vec<_> = std::iter::once(luminance("empty", theme)).chain(levels).collect();
                for (level, pair) in levels.windows(2).enumerate() {
                    // A larger count is darker on light paper, and brighter on dark paper.
                    let [lower, higher] = if theme == 0 { [pair[1], pair[0]] } else { [pair[0], pair[1]] };
                    let contrast = (higher + 0.05) / (lower + 0.05);
                    assert!(contrast > 1.15, "{scale}{}: {contrast:.2} in theme {theme}", level + 1);
                }
            }
        }
    }

    #[test]
    fn the_policy_permits_the_style() {
        assert_eq!([base64(b"M"), base64(b"Ma"), base64(b"Man")], ["TQ==", "TWE=", "TWFu"]);
        assert_eq!(format!("sha256-{}", base64(&Sha256::digest(STYLE))), STYLE_HASH);
    }
}
