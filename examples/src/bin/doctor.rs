// SPDX-License-Identifier: MIT OR Apache-2.0
//! Says what this kernel and this process allow, and what a stream would see.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;
use retrans_sdk::attach::{Attachment, Candidate, CandidateOutcome, Diagnosis, Support, Verdict};
use retrans_sdk::event::PercentEncoded;
use retrans_sdk::reason_table::KeyVal;
use serde_json::{Value as Json, json};

const HELP: &str = "\
Says what this kernel and this process allow, from where a stream would take its events, how long it took to open one
(load_us, btf_us and total_us are microseconds), and what it could not see.

usage: doctor [--format kv|json]

Exit status: 0 full, 1 degraded: there is something that it cannot see and on another kernel could, 2 unable;
64 for an argument that it does not know.";

fn main() -> ExitCode {
    let json = match arguments() {
        Ok(Some(json)) => json,
        Ok(None) => {
            let _ = writeln!(io::stdout(), "{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("doctor: {error}");
            return ExitCode::from(64);
        }
    };
    let diagnosis = Diagnosis::run();
    let text = if json { format!("{:#}\n", as_json(&diagnosis)) } else { as_lines(&diagnosis) };
    // Whether anybody reads it is not our concern: the exit status says the same in short.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::from(match diagnosis.verdict() {
        Verdict::Full => 0,
        Verdict::Degraded => 1,
        _ => 2,
    })
}

/// Whether JSON is wanted; `None` if help is.
fn arguments() -> Result<Option<bool>, Box<dyn Error>> {
    let mut json = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("format") => {
                json = match parser.value()?.string()?.as_str() {
                    "kv" => false,
                    "json" => true,
                    other => return Err(format!("--format is kv or json, not `{other}`").into()),
                }
            }
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(json))
}

const fn name_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Full => "full",
        Verdict::Degraded => "degraded",
        _ => "unable",
    }
}

/// What was tried, by name.
fn tried(diagnosis: &Diagnosis) -> [(&'static str, &Support); 4] {
    let Diagnosis { btf, ring_buffer, fexit, kretprobe, .. } = diagnosis;
    [("btf", btf), ("ring_buffer", ring_buffer), ("fexit", fexit), ("kretprobe", kretprobe)]
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A line a finding: what it is about, then `key=val`, percent-encoded as in an event's line.
fn as_lines(diagnosis: &Diagnosis) -> String {
    let mut lines = Vec::new();
    let mut say = |about: &str, pairs: &[(&'static str, &str)]| {
        let pairs =
            pairs.iter().map(|(key, value)| KeyVal { key, value: PercentEncoded(value.as_bytes()) }.to_string());
        lines.push(std::iter::once(about.to_owned()).chain(pairs).collect::<Vec<_>>().join(" "));
    };
    say("verdict", &[("verdict", name_of(diagnosis.verdict()))]);
    say("kernel", &[("release", &diagnosis.kernel), ("lockdown", diagnosis.lockdown.as_deref().unwrap_or("unknown"))]);
    say("tracepoint", &[("third_argument", diagnosis.third_argument.as_deref().unwrap_or("unknown"))]);
    for (name, available) in tried(diagnosis) {
        match available {
            Support::Available => say("available", &[("what", name), ("is", "yes")]),
            Support::Unavailable { reason } => say("available", &[("what", name), ("is", "no"), ("why", reason)]),
            _ => {}
        }
    }
    for capability in &diagnosis.capabilities {
        say("capability", &[("name", capability.name), ("held", if capability.held { "yes" } else { "no" })]);
    }
    match &diagnosis.attachment {
        Ok(attachment) => {
            let source = attachment.method.to_string();
            match attachment.companion {
                Some(companion) => say("attached", &[("source", &source), ("companion", &companion.to_string())]),
                None => say("attached", &[("source", &source)]),
            }
            for (candidate, outcome) in attempted(attachment) {
                let load = micros(candidate.elapsed).to_string();
                say("tried", &[("way", &candidate.method), ("load_us", &load), ("outcome", outcome)]);
            }
            let (btf, total) = (micros(attachment.timing.btf), micros(attachment.timing.total));
            say("opened", &[("btf_us", &btf.to_string()), ("total_us", &total.to_string())]);
            for better in attachment.unavailable() {
                let reason = better.reason().unwrap_or_default();
                say("passed_over", &[("way", &better.method), ("why", reason)]);
            }
            for what in attachment.unobservable() {
                say("unobservable", &[("what", &what.to_string()), ("meaning", what.description())]);
            }
        }
        Err(why) => say("unable", &[("why", why)]),
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// The candidates that were tried, with the outcome.
fn attempted(attachment: &Attachment) -> impl Iterator<Item = (&Candidate, &'static str)> {
    attachment.candidates.iter().filter_map(|candidate| match candidate.outcome {
        CandidateOutcome::Attached => Some((candidate, "attached")),
        CandidateOutcome::Refused(_) => Some((candidate, "refused")),
        _ => None,
    })
}

fn as_json(diagnosis: &Diagnosis) -> Json {
    let available = tried(diagnosis).map(|(name, available)| {
        let found = match available {
            Support::Available => json!({ "available": true }),
            Support::Unavailable { reason } => json!({ "available": false, "why": reason }),
            _ => Json::Null,
        };
        (name.to_owned(), found)
    });
    let capabilities: serde_json::Map<_, _> =
        diagnosis.capabilities.iter().map(|capability| (capability.name.to_owned(), capability.held.into())).collect();
    let attachment = match &diagnosis.attachment {
        Ok(attachment) => json!({
            "source": attachment.method.to_string(),
            "companion": attachment.companion.map(|companion| companion.to_string()),
            "btf_us": micros(attachment.timing.btf),
            "tried": attempted(attachment)
                .map(|(candidate, outcome)| json!({
                    "way": candidate.method,
                    "load_us": micros(candidate.elapsed),
                    "outcome": outcome,
                }))
                .collect::<Vec<_>>(),
            "total_us": micros(attachment.timing.total),
            "passed_over": attachment.unavailable()
                .map(|better| json!({ "way": better.method, "why": better.reason() }))
                .collect::<Vec<_>>(),
            "unobservable": attachment.unobservable()
                .map(|what| (what.to_string(), what.description().into()))
                .collect::<serde_json::Map<_, _>>(),
        }),
        Err(why) => json!({ "unable": why }),
    };
    json!({
        "verdict": name_of(diagnosis.verdict()),
        "kernel": diagnosis.kernel,
        "lockdown": diagnosis.lockdown,
        "third_argument": diagnosis.third_argument,
        "available": serde_json::Map::from_iter(available),
        "capabilities": capabilities,
        "attachment": attachment,
    })
}
