// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sections of the page: over time, results, remote prefixes, drops, connections, newest
//! failures.

use std::net::SocketAddr;

use ipnet::IpNet;
use retrans_sdk::event::Clock;
use retrans_sdk::{RetransKind, RetransResult};

use super::html::{Count, Html, Number, Percent};
use super::model::{Failure, Model, Outcome, is_abort};
use super::page::link;
use super::prefixes::{Order, Prefix};
use super::series::Series;
use super::strip::{Hue, Strips, bar, legend, span};
use crate::explain::facts::look_at;
use crate::utc::{self, Precision};

/// Returns the results, failures first, each group with the largest first.
fn outcomes(model: &Model) -> Vec<(RetransResult, &Outcome)> {
    let order = |result: RetransResult, outcome: &Outcome| (result == RetransResult::Success, outcome.attempts);
    let mut rows: Vec<_> =
        model.results.sorted_by(|outcome| outcome.attempts).into_iter().map(|(result, o)| (*result, o)).collect();
    rows.sort_by_key(|(result, outcome)| order(*result, outcome).0);
    rows
}

const fn hue(result: RetransResult) -> Hue {
    match result {
        RetransResult::Success => Hue::Success,
        _ => Hue::Failure,
    }
}

pub(crate) fn time(html: &mut Html, model: &Model, strips: &Strips<'_>) {
    let rows = outcomes(model);
    let most = |wanted: Hue| {
        let rows = rows.iter().filter(|(result, _)| hue(*result) == wanted);
        rows.map(|(_, outcome)| outcome.series.most()).max().unwrap_or_default()
    };
    let (failed, succeeded) = (most(Hue::Failure), most(Hue::Success));
    html.raw("<section id=\"time\">\n<h2>Results over time</h2>\n<figure>\n<figcaption>A column is ");
    html.text(span(model.buckets.length))
        .raw(". The stronger the color, the more attempts. A faint cell is a column in ");
    html.raw("which no such attempt was recorded. Where even the faint cell is missing, there is no recording: the column is before \
              the first line or after the last line of each recording.");
    html.raw("</figcaption>\n<table class=\"heat\">\n<thead><tr><th scope=\"col\">result</th><th scope=\"col\">attempts over time</th>");
    html.raw("<th scope=\"col\" class=\"n\">attempts</th></tr></thead>\n<tbody>\n");
    for (result, outcome) in &rows {
        html.raw("<tr><th scope=\"row\">");
        link(html, "result", result);
        html.raw("</th><td>");
        let hue = hue(*result);
        let most = if hue == Hue::Failure { failed } else { succeeded };
        strips.draw(html, &result.to_string(), &outcome.series, most, hue);
        html.raw("</td><td class=\"n\">").text(Number(outcome.attempts)).raw("</td></tr>\n");
    }
    let mut other = |name: &'static str, series: &Series, count: u64, more: &'static str| {
        html.raw("<tr><th scope=\"row\">").raw(name).raw("</th><td>");
        strips.draw(html, name, series, series.most(), Hue::Failure);
        html.raw("</td><td class=\"n\">").text(Number(count)).raw(more).raw("</td></tr>\n");
    };
    if model.aborted() > 0 {
        other("connections aborted", &model.aborts, model.aborted(), "");
    }
    let reports: u64 = model.columns().map(|column| model.losses.get(column)).sum();
    if reports > 0 {
        let lost = model.sources.iter().map(|source| source.losses.entries).sum();
        let is_unknown = model.sources.iter().any(|source| source.losses.unknown > 0);
        other("entries lost", &model.losses, lost, if is_unknown { " or more" } else { "" });
    }
    html.raw("<tr class=\"axis\"><td></td><td>");
    strips.axis(html);
    html.raw("</td><td></td></tr>\n</tbody>\n</table>\n");
    if failed > 0 {
        legend(html, "failed attempts in a column:", failed, Hue::Failure);
    }
    if succeeded > 0 {
        legend(html, "successes in a column:", succeeded, Hue::Success);
    }
    if model.aborted() > 0 {
        legend(html, "aborted connections in a column:", model.aborts.most(), Hue::Failure);
    }
    if model.results.others() > 0 {
        html.raw("<p>").text(Count(model.results.others(), "attempt"));
        html.raw(" with further numbers that have no name are not in these rows.</p>\n");
    }
    as_table(html, model, strips, &rows);
    html.raw("</figure>\n</section>\n");
}

/// Appends the same numbers as text.
fn as_table(html: &mut Html, model: &Model, strips: &Strips<'_>, rows: &[(RetransResult, &Outcome)]) {
    html.raw("<details><summary>The same as numbers</summary>\n<table class=\"stack\">\n<caption>Columns with attempts</caption>\n");
    html.raw("<thead><tr><th scope=\"col\">from</th><th scope=\"col\" class=\"n\">attempts</th>");
    html.raw("<th scope=\"col\" class=\"n\">failed</th><th scope=\"col\">by result</th></tr></thead>\n<tbody>\n");
    for column in model.columns() {
        let counts: Vec<_> = rows.iter().map(|(result, outcome)| (*result, outcome.series.get(column))).collect();
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        if all == 0 {
            continue;
        }
        let failed: u64 =
            counts.iter().filter(|(result, _)| *result != RetransResult::Success).map(|(_, count)| count).sum();
        html.raw("<tr><th scope=\"row\">").text(strips.time(column)).raw("</th><td class=\"n\" data-h=\"attempts\">");
        html.text(Number(all)).raw("</td><td class=\"n\" data-h=\"failed\">").text(Number(failed));
        html.raw("</td><td data-h=\"by result\"><span>");
        for (at, (result, count)) in counts.iter().filter(|(_, count)| *count > 0).enumerate() {
            html.raw(if at > 0 { ", " } else { "" }).text(result).raw(" ").text(Number(*count));
        }
        html.raw("</span></td></tr>\n");
    }
    html.raw("</tbody>\n</table>\n</details>\n");
}

pub(crate) fn results(html: &mut Html, model: &Model) {
    let rows = outcomes(model);
    let mut kinds: Vec<(RetransKind, u64)> = Vec::new();
    for (kind, count) in rows.iter().flat_map(|(_, outcome)| outcome.kinds.sorted_by(|count| *count)) {
        match kinds.iter_mut().find(|(of, _)| of == kind) {
            Some((_, sum)) => *sum += count,
            None => kinds.push((*kind, *count)),
        }
    }
    kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
    // A wider table has no room. The last column contains the others.
    let others = kinds.split_off(kinds.len().min(8));
    let has_others = !others.is_empty() || rows.iter().any(|(_, outcome)| outcome.kinds.others() > 0);

    html.raw("<section id=\"results\">\n<h2>Results and kinds</h2>\n<table class=\"stack\">\n<caption>Attempts by result, and by ");
    html.raw("the kind of retransmission</caption>\n<thead><tr><th scope=\"col\">result</th><th scope=\"col\" class=\"n\">attempts</th>");
    html.raw("<th scope=\"col\" class=\"n\">share</th><th scope=\"col\" class=\"n\">segments</th>");
    for (kind, _) in &kinds {
        html.raw("<th scope=\"col\" class=\"n\">");
        link(html, "kind", kind);
        html.raw("</th>");
    }
    html.raw(if has_others {
        "<th scope=\"col\" class=\"n\">other kinds</th></tr></thead>\n<tbody>\n"
    } else {
        "</tr></thead>\n<tbody>\n"
    });
    for (result, outcome) in &rows {
        html.raw("<tr><th scope=\"row\">");
        link(html, "result", result);
        html.raw("</th><td class=\"n\" data-h=\"attempts\">").text(Number(outcome.attempts));
        html.raw("</td><td class=\"n\" data-h=\"share\">").text(Percent(outcome.attempts, model.attempts));
        html.raw("</td><td class=\"n\" data-h=\"segments\">").text(Number(outcome.segs)).raw("</td>");
        let mut listed = 0;
        for (kind, _) in &kinds {
            let count = outcome.kinds.get(kind).copied().unwrap_or_default();
            listed += count;
            cell(html, &kind.to_string(), count);
        }
        if has_others {
            cell(html, "other kinds", outcome.attempts - listed);
        }
        html.raw("</tr>\n");
    }
    html.raw("</tbody>\n</table>\n</section>\n");
}

/// Appends a cell with a number, which is fainter if it is zero.
fn cell(html: &mut Html, name: &str, count: u64) {
    html.raw(if count == 0 { "<td class=\"n zero\" data-h=\"" } else { "<td class=\"n\" data-h=\"" });
    html.text(name).raw("\">").text(Number(count)).raw("</td>");
}

pub(crate) fn prefixes(html: &mut Html, model: &Model, strips: &Strips<'_>, rows: usize) {
    html.raw("<section id=\"prefixes\">\n<h2>Remote prefixes</h2>\n");
    if model.prefixes.removed > 0 {
        html.raw("<p>The recordings contain more prefixes than are counted separately. ");
        html.text(Count(model.prefixes.others.0, "attempt")).raw(" (").text(Number(model.prefixes.others.1));
        html.raw(
            " failed) of prefixes with few failures are in no row, so the numbers of a row are lower bounds.</p>\n",
        );
    }
    if model.failures > 0 {
        let sorted = model.prefixes.sorted(Order::Failures);
        let failing: Vec<_> = sorted.into_iter().filter(|(_, row)| row.failures > 0).collect();
        table(html, strips, &failing, rows, Order::Failures);
    }
    table(html, strips, &model.prefixes.sorted(Order::Attempts), rows, Order::Attempts);
    html.raw("</section>\n");
}

fn table(html: &mut Html, strips: &Strips<'_>, all: &[(IpNet, &Prefix)], rows: usize, order: Order) {
    let shown = &all[..all.len().min(rows)];
    let of = |row: &Prefix| if order == Order::Failures { row.failures } else { row.attempts };
    let most = shown.iter().map(|(_, row)| if order == Order::Failures { row.failed.most() } else { row.all.most() });
    let most = most.max().unwrap_or_default();
    html.raw("<table class=\"stack strips\">\n<caption>");
    html.raw(if order == Order::Failures {
        "By failed attempts. The cells are failed attempts over time, "
    } else {
        "By attempts. The cells are attempts over time, "
    });
    html.raw("with the axis of the results; the darkest cell is ").text(Number(most)).raw(".</caption>\n<thead><tr>");
    html.raw("<th scope=\"col\">prefix</th><th scope=\"col\">over time</th><th scope=\"col\" class=\"n\">failed</th>");
    html.raw("<th scope=\"col\" class=\"n\">attempts</th><th scope=\"col\" class=\"n\">failed share</th>");
    html.raw("<th scope=\"col\">most failures</th></tr></thead>\n<tbody>\n");
    for (prefix, row) in shown {
        html.raw("<tr><th scope=\"row\" class=\"m\">").text(prefix).raw("</th><td>");
        let (series, hue) =
            if order == Order::Failures { (&row.failed, Hue::Failure) } else { (&row.all, Hue::Success) };
        strips.draw(html, &prefix.to_string(), series, most, hue);
        html.raw("</td><td class=\"n\" data-h=\"failed\">").text(Number(row.failures));
        html.raw("</td><td class=\"n\" data-h=\"attempts\">").text(Number(row.attempts));
        html.raw("</td><td class=\"n\" data-h=\"failed share\">").text(Percent(row.failures, row.attempts));
        html.raw("</td><td data-h=\"most failures\">");
        match row.mostly() {
            Some(result) => link(html, "result", result),
            None => drop(html.raw("–")),
        }
        html.raw("</td></tr>\n");
    }
    html.raw("</tbody>\n</table>\n");
    if all.len() > shown.len() {
        // Without the prefixes that are not counted separately, which the section states above.
        let rest = all[shown.len()..].iter().map(|(_, row)| of(row)).sum::<u64>();
        let what = if order == Order::Failures { "failed attempt" } else { "attempt" };
        html.raw("<p class=\"faint\">")
            .text(Count((all.len() - shown.len()) as u64, "more prefix").to_string().replace("prefixs", "prefixes"));
        html.raw(" with ").text(Count(rest, what)).raw(".</p>\n");
    }
}

pub(crate) fn droppers(html: &mut Html, model: &Model, rows: usize) {
    html.raw("<section id=\"drops\">\n<h2>Drops on this host</h2>\n");
    if model.with_drop == 0 {
        html.raw("<p>No attempt contains <code>drop_reason</code>, <code>drop_at</code> or <code>drop_dev</code>. Either none was \
                  dropped where this is observable, or these fields were not recorded.</p>\n</section>\n");
        return;
    }
    let sorted = model.droppers.sorted_by(|count| *count);
    html.raw("<table class=\"stack\">\n<caption>Attempts whose packet this host dropped, by the part that dropped it</caption>\n<thead><tr>");
    html.raw("<th scope=\"col\">reason</th><th scope=\"col\">function</th><th scope=\"col\">device</th>");
    html.raw("<th scope=\"col\">share</th><th scope=\"col\" class=\"n\">attempts</th>");
    html.raw("<th scope=\"col\">look at</th></tr></thead>\n<tbody>\n");
    for ((reason, function, device), count) in sorted.iter().take(rows) {
        html.raw("<tr><th scope=\"row\">");
        match reason {
            Some(reason) => link(html, "drop", reason),
            None => drop(html.raw("not stated")),
        }
        html.raw("</th><td class=\"m\" data-h=\"function\">").text(function.unwrap_or("–"));
        html.raw("</td><td class=\"m\" data-h=\"device\">")
            .text(device.map_or_else(|| "–".to_owned(), |device| device.to_string()));
        html.raw("</td><td>");
        bar(html, **count, model.with_drop, Hue::Failure);
        html.raw("</td><td class=\"n\" data-h=\"attempts\">").text(Number(**count)).raw("</td><td data-h=\"look at\">");
        match reason.and_then(|reason| look_at(reason, *device)) {
            Some(commands) => html.raw("<span class=\"m\">").text(commands).raw("</span>"),
            None => html.raw("–"),
        };
        html.raw("</td></tr>\n");
    }
    html.raw("</tbody>\n</table>\n");
    let shown: u64 = sorted.iter().take(rows).map(|(_, count)| **count).sum();
    if shown < model.with_drop {
        html.raw("<p class=\"faint\">Other droppers: ").text(Count(model.with_drop - shown, "attempt")).raw(".</p>\n");
    }
    html.raw("</section>\n");
}

pub(crate) fn connections(html: &mut Html, model: &Model) {
    html.raw("<section id=\"connections\">\n<h2>What became of the connections</h2>\n");
    if model.ended.is_empty() && model.unneeded.is_empty() {
        html.raw(
            "<p>The recordings contain no verdict. Whether connections with attempts survived was not recorded.</p>\n",
        );
    }
    if !model.ended.is_empty() {
        let sorted = model.ended.sorted_by(|ended| ended.connections);
        let all: u64 = sorted.iter().map(|(_, ended)| ended.connections).sum();
        html.raw("<table class=\"stack\">\n<caption>Connections with attempts that have ended, by cause</caption>\n<thead><tr>");
        html.raw("<th scope=\"col\">cause</th><th scope=\"col\">share</th>");
        for name in ["connections", "attempts", "longest stall", "bytes not acknowledged"] {
            html.raw("<th scope=\"col\" class=\"n\">").raw(name).raw("</th>");
        }
        html.raw("</tr></thead>\n<tbody>\n");
        for (why, ended) in sorted {
            html.raw("<tr><th scope=\"row\">");
            link(html, "why", why);
            html.raw("</th><td>");
            let hue = if is_abort(*why) { Hue::Failure } else { Hue::Success };
            bar(html, ended.connections, all, hue);
            html.raw("</td><td class=\"n\" data-h=\"connections\">").text(Number(ended.connections));
            html.raw("</td><td class=\"n\" data-h=\"attempts\">").text(Number(ended.attempts));
            html.raw("</td><td class=\"n\" data-h=\"longest stall\">");
            match ended.stall_ms {
                Some(ms) => html.text(span(u64::from(ms) * 1_000_000)),
                None => html.raw("–"),
            };
            html.raw("</td><td class=\"n\" data-h=\"bytes not acknowledged\">")
                .text(Number(ended.unacked))
                .raw("</td></tr>\n");
        }
        html.raw("</tbody>\n</table>\n");
    }
    if !model.unneeded.is_empty() {
        html.raw("<table class=\"stack\">\n<caption>Unneeded attempts, by proof. Both proofs may cover the same segments</caption>\n<thead>");
        html.raw("<tr><th scope=\"col\">proof</th><th scope=\"col\" class=\"n\">reports</th>");
        html.raw("<th scope=\"col\" class=\"n\">segments</th></tr></thead>\n<tbody>\n");
        for (proof, unneeded) in model.unneeded.sorted_by(|unneeded| unneeded.segs) {
            html.raw("<tr><th scope=\"row\">");
            link(html, "proof", proof);
            html.raw("</th><td class=\"n\" data-h=\"reports\">").text(Number(unneeded.reports));
            html.raw("</td><td class=\"n\" data-h=\"segments\">").text(Number(unneeded.segs)).raw("</td></tr>\n");
        }
        html.raw("</tbody>\n</table>\n");
    }
    html.raw("</section>\n");
}

pub(crate) fn newest(html: &mut Html, model: &Model) {
    html.raw("<section id=\"newest\">\n<h2>Newest failures</h2>\n<p class=\"faint\">The last ");
    html.text(Number(model.newest.len() as u64)).raw(" of ").text(Count(model.failures, "failed attempt"));
    html.raw(", the newest first. Times are in ").raw(utc::unit(model.clock)).raw(".</p>\n<ol class=\"lines\">\n");
    for failure in model.newest.values().rev() {
        line(html, failure, model.clock);
    }
    html.raw("</ol>\n</section>\n");
}

fn line(html: &mut Html, failure: &Failure, clock: Clock) {
    let Failure { event, line } = failure;
    let [local, remote] = [(event.saddr, event.sport), (event.daddr, event.dport)].map(SocketAddr::from);
    html.raw("<li><p><span>").text(utc::date_time(event.ts, clock, Precision::Milliseconds)).raw("</span><span>");
    link(html, "result", event.result);
    html.raw("</span><span>");
    link(html, "kind", event.kind);
    html.raw("</span><span class=\"m\">").text(local).raw(" → ").text(remote).raw("</span><span>");
    html.text(event.state).raw("</span>");
    if let Some(err) = event.err {
        html.raw("<span>err ").text(err).raw("</span>");
    }
    if let (Some(comm), Some(pid)) = (event.comm, event.pid) {
        html.raw("<span>").text(comm).raw("[").text(pid).raw("]</span>");
    }
    html.raw("</p>\n<details><summary>line</summary><pre>").text(line).raw("</pre></details></li>\n");
}
