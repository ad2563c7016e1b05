// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the cost of an event in user space: to decode, filter, print and parse it, compared
//! with a plain `write!` of the same line and with JSON. Prints a line for each measurement and
//! each bar, and fails if a bar is not met.

use std::hint::black_box;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use retrans_sdk::format::LineBuffer;
use retrans_sdk::harness::{empty_record, event_of, place_of, read_into};
use retrans_sdk::{Event, Filter};
use retrans_tests::bench::{Bars, machine, median as middle};

/// A recording, with all fields of the kernel that it was made on.
const RECORDING: &str = include_str!("../../../examples/retrans/recordings/lab.kv");

const REPETITIONS: usize = 9;
const TIMES: u32 = 200_000;

/// Returns the median time of one call, in nanoseconds.
fn median(what: &str, mut work: impl FnMut()) -> f64 {
    let all: Vec<f64> = (0..REPETITIONS)
        .map(|_| {
            let began = Instant::now();
            (0..TIMES).for_each(|_| work());
            began.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
        })
        .collect();
    let (median, least) = (middle(&all), all.iter().copied().fold(f64::INFINITY, f64::min));
    println!("measured={what} median_ns={median:.1} least_ns={least:.1} repetitions={REPETITIONS}");
    median
}

/// Writes the same line with plain `write!`, field by field.
fn write_plainly(out: &mut Vec<u8>, event: &Event) -> std::io::Result<()> {
    let (class, family) = (event.class(), event.family());
    let Event { ts, result, kind, saddr, sport, daddr, dport, state, segs, .. } = event;
    write!(out, "ts={ts} result={result} ")?;
    match event.err {
        Some(err) => write!(out, "err={err}")?,
        None => write!(out, "err=-")?,
    }
    write!(out, " kind={kind} family={family} saddr={saddr} sport={sport} daddr={daddr} dport={dport}")?;
    write!(out, " state={state} segs={segs} class={class}")?;
    if event.mapped {
        write!(out, " mapped=yes")?;
    }
    macro_rules! optional {
        ($($field:ident)*) => {
            $( if let Some(value) = &event.$field {
                write!(out, concat!(" ", stringify!($field), "={}"), value)?;
            } )*
        };
    }
    optional!(transmit cookie netns cgroup uid netns_cookie mark bound_dev_if owner pid comm seq end_seq len tcp_flags);
    optional!(snd_una snd_nxt snd_wnd snd_cwnd ssthresh srtt_us rto_us mss retrans_out total_retrans wmem_queued);
    optional!(ca_state retransmits backoff pending ca_name sk_err_soft);
    Ok(())
}

fn record() -> Vec<u8> {
    let mut record = empty_record();
    record[place_of("present")].copy_from_slice(&u64::MAX.to_ne_bytes());
    record[place_of("family")].copy_from_slice(&[2]);
    record[place_of("ca_name")][..4].copy_from_slice(b"reno");
    record
}

fn main() -> ExitCode {
    println!("{}", machine());
    let first = RECORDING.lines().next().and_then(|line| line.rsplit_once(" scenario=")).expect("a recording").0;
    let event: Event = first.parse().expect("a line");
    let mut buffer = LineBuffer::new();
    let mut out = Vec::with_capacity(4096);
    write_plainly(&mut out, &event).expect("room");
    assert_eq!((&out[..], buffer.line(&event)), (first.as_bytes(), first.as_bytes()), "all write the same");
    println!("line of {} bytes and {} keys", first.len(), first.split(' ').count());

    let record = record();
    let mut decoded = event_of(&record);
    let decode = median("decode", || {
        read_into(black_box(&mut decoded), black_box(&record));
    });
    let write = median("write!", || {
        out.clear();
        black_box(write_plainly(&mut out, black_box(&event)).is_ok());
    });
    let format = median("format", || {
        black_box(buffer.line(black_box(&event)));
    });
    median("display", || {
        out.clear();
        black_box(write!(out, "{}", black_box(&event)).is_ok());
    });
    let parse = median("parse", || {
        black_box(black_box(first).parse::<Event>().is_ok());
    });
    median("serde_json", || {
        out.clear();
        black_box(serde_json::to_writer(&mut out, black_box(&event)).is_ok());
    });
    let mut verdict = 0f64;
    for text in
        ["dport=443", "result!=success dport=443,8443", "daddr=10.0.0.0/8", "sport=1..65535 kind=rto state=established"]
    {
        let filter: Filter = text.parse().expect("a filter");
        let what = format!("filter:{}", text.replace(' ', ","));
        verdict = verdict.max(median(&what, || {
            black_box(filter.matches(black_box(&event)));
        }));
    }

    let mut bars = Bars::new();
    bars.at_most("decode_ns", decode, 20.0);
    bars.at_least("format_faster_than_write", write / format, 4.0);
    bars.at_most("parse_by_format", parse / format, 2.0);
    bars.at_most("filter_verdict_ns", verdict, 10.0);
    bars.verdict()
}
