// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bars of what an event costs by whom, above two lines: over events a second, and over connections.

use svg::Document;
use svg::node::element::{Circle, Group, Line, Polyline, Rectangle, Text, Title};

use crate::axis::{Axis, number};
use crate::measured::{Cost, Measured};

const INK: &str = "#222222";
const FAINT: &str = "#666666";
const GRID: &str = "#dddddd";
/// Told apart without colour too: dark and light.
const BPF_STATS: &str = "#a50f15";
const SANDWICH: &str = "#fc9272";

const FONT: usize = 13;
const WIDTH: f64 = 900.0;
const MARGIN: f64 = 24.0;
/// Where the bars begin: their names are to the left.
const LEFT: f64 = 176.0;
/// Room for the number at the end of the longest.
const RIGHT: f64 = 96.0;
const BAR: f64 = 13.0;
const ROW: f64 = 2.0 * BAR + 12.0;
const TOP: f64 = 112.0;

const PANEL: f64 = 330.0;
const PANEL_HEIGHT: f64 = 220.0;
/// What a number at a point takes at most.
const LABEL: f64 = 48.0;

fn text(x: f64, y: f64, words: &str) -> Text {
    Text::new(words).set("x", x.round()).set("y", y.round()).set("fill", INK)
}

fn faint(x: f64, y: f64, words: &str) -> Text {
    text(x, y, words).set("fill", FAINT)
}

fn line(from: (f64, f64), to: (f64, f64), colour: &str) -> Line {
    let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(f64::round);
    Line::new().set("x1", x1).set("y1", y1).set("x2", x2).set("y2", y2).set("stroke", colour)
}

pub(crate) fn draw(measured: &Measured) -> String {
    let bottom = TOP + ROW * measured.costs.len() as f64;
    let panels = bottom + 104.0;
    let height = panels + PANEL_HEIGHT + 64.0;
    let title = "What an event costs in the kernel";
    let document = Document::new()
        .set("viewBox", (0, 0, WIDTH, height))
        .set("width", WIDTH)
        .set("height", height)
        .set("role", "img")
        .set("font-family", "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif")
        .set("font-size", FONT)
        .add(Title::new(title))
        .add(Rectangle::new().set("width", WIDTH).set("height", height).set("fill", "#ffffff"))
        .add(text(MARGIN, 32.0, title).set("font-size", 17).set("font-weight", "bold"))
        .add(faint(MARGIN, 54.0, &format!("medians, in nanoseconds; {}", measured.machine.replace(' ', ", "))))
        .add(legend(76.0))
        .add(bars(&measured.costs, bottom));
    // One scale for both, so that they can be compared.
    let ns = measured.over_rate.iter().chain(&measured.over_flows).map(|(_, ns)| *ns);
    let vertical = Axis::of(ns, PANEL_HEIGHT);
    let left = MARGIN + 76.0;
    let right = WIDTH - MARGIN - PANEL;
    document
        .add(panel(left, panels, &measured.over_rate, vertical, "full record, over events a second"))
        .add(panel(right, panels, &measured.over_flows, vertical, "full record, over connections"))
        .to_string()
        + "\n"
}

fn legend(y: f64) -> Group {
    let entry = |x: f64, colour, words| {
        let sample = Rectangle::new().set("x", x).set("y", y - 11.0).set("width", 13).set("height", 13);
        Group::new().add(sample.set("fill", colour)).add(text(x + 20.0, y, words))
    };
    Group::new().add(entry(MARGIN, BPF_STATS, "the programs' mean run time, by the kernel's statistics")).add(entry(
        MARGIN + 420.0,
        SANDWICH,
        "the median time between two programs around it",
    ))
}

fn bars(costs: &[Cost], bottom: f64) -> Group {
    let values = costs.iter().flat_map(|cost| [cost.bpf_stats, cost.sandwich]).flatten();
    let axis = Axis::of(values, WIDTH - LEFT - RIGHT);
    let mut group = Group::new();
    for tick in axis.ticks() {
        let x = LEFT + axis.place(tick);
        group = group
            .add(line((x, TOP - 8.0), (x, bottom), GRID))
            .add(faint(x, bottom + 18.0, &number(tick)).set("text-anchor", "middle"));
    }
    group = group.add(faint(LEFT, bottom + 38.0, "ns an event"));
    for (i, cost) in costs.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        group = group.add(text(LEFT - 10.0, y + BAR + 4.0, &cost.subject).set("text-anchor", "end"));
        let of = [(cost.bpf_stats, BPF_STATS), (cost.sandwich, SANDWICH)];
        for (k, (ns, colour)) in of.into_iter().filter_map(|(ns, colour)| Some((ns?, colour))).enumerate() {
            let (top, length) = (y + BAR * k as f64, axis.place(ns));
            let bar = Rectangle::new().set("x", LEFT).set("y", top.round()).set("width", length.round());
            group = group
                .add(bar.set("height", BAR - 1.0).set("fill", colour))
                .add(text(LEFT + length + 6.0, top + BAR - 2.0, &number(ns)).set("font-size", 11));
        }
    }
    group
}

fn panel(left: f64, top: f64, points: &[(f64, f64)], vertical: Axis, title: &str) -> Group {
    let bottom = top + PANEL_HEIGHT;
    let horizontal = Axis::of(points.iter().map(|(x, _)| *x), PANEL);
    let mut group = Group::new().add(text(left, top - 18.0, title).set("font-weight", "bold"));
    for tick in vertical.ticks() {
        let y = bottom - vertical.place(tick);
        group = group
            .add(line((left, y), (left + PANEL, y), GRID))
            .add(faint(left - 8.0, y + 4.0, &format!("{} ns", number(tick))).set("text-anchor", "end"));
    }
    for tick in horizontal.ticks() {
        let x = left + horizontal.place(tick);
        group = group
            .add(line((x, bottom), (x, bottom + 5.0), FAINT))
            .add(faint(x, bottom + 20.0, &number(tick)).set("text-anchor", "middle"));
    }
    let places: Vec<_> =
        points.iter().map(|(x, ns)| (left + horizontal.place(*x), bottom - vertical.place(*ns))).collect();
    let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let path = Polyline::new().set("points", path.join(" ")).set("fill", "none");
    group = group
        .add(line((left, bottom), (left + PANEL, bottom), FAINT))
        .add(path.set("stroke", BPF_STATS).set("stroke-width", 2));
    let mut before = f64::NEG_INFINITY;
    for ((x, y), (_, ns)) in places.iter().zip(points) {
        // Below the line where there is no room beside the one before.
        let above = x - before > LABEL;
        before = if above { *x } else { f64::NEG_INFINITY };
        let place = Circle::new().set("cx", x.round()).set("cy", y.round()).set("r", 3.5).set("fill", BPF_STATS);
        let label = text(*x, if above { y - 9.0 } else { y + 18.0 }, &number(*ns))
            .set("font-size", 11)
            .set("text-anchor", "middle");
        group = group.add(place).add(label);
    }
    group
}
