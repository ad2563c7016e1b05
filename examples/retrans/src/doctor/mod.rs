// SPDX-License-Identifier: MIT OR Apache-2.0
//! `retrans doctor`: reports what this kernel and this process allow.

mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use retrans_sdk::attach::{Attachment, Candidate, CandidateOutcome, Coverage, Diagnosis, Support};
use retrans_sdk::event::PercentEncoded;
use retrans_sdk::reason_table::KeyVal;
use serde_json::{Value as Json, json};

use self::report::Report;
use crate::args::Format;
use crate::output::Output;
use crate::print;

/// Reports what this kernel and this process allow, and what a stream cannot observe
///
/// Opens a stream for a moment, and one each with fexit and kretprobe. Times in the output
/// (load_us, btf_us, total_us) are in microseconds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 full: a stream can observe everything that retrans can observe on any released kernel; 1 degraded: a stream can be opened, but \
observes less than that; 2 unable: no stream can be opened, or a usage error.

Examples:
  sudo retrans doctor
  sudo retrans doctor --format json")]
pub(crate) struct Arguments {
    /// Output format. auto prints a report on a terminal, otherwise key=value lines; json prints
    /// one object
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Format,
    /// Read the BTF of the running kernel from this file (default: /sys/kernel/btf/vmlinux)
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
}

pub(crate) fn main(arguments: &Arguments, output: Output) -> ExitCode {
    let diagnosis = arguments.btf.as_ref().map_or_else(Diagnosis::run, Diagnosis::run_with_btf);
    let text = match output.format(arguments.format) {
        Format::Table => Report::of(&diagnosis).render(output.paint),
        Format::Json => ascii(&format!("{:#}\n", as_json(&diagnosis))),
        _ => as_lines(&diagnosis),
    };
    if let Err(status) = print(text.as_bytes()) {
        return status;
    }
    ExitCode::from(match diagnosis.coverage() {
        Coverage::Full => 0,
        Coverage::Degraded => 1,
        _ => 2,
    })
}

const fn name_of(coverage: Coverage) -> &'static str {
    match coverage {
        Coverage::Full => "full",
        Coverage::Degraded => "degraded",
        _ => "unable",
    }
}

/// Returns the features that were tried, by name.
fn tried(diagnosis: &Diagnosis) -> [(&'static str, &Support); 4] {
    let Diagnosis { btf, ring_buffer, fexit, kretprobe, .. } = diagnosis;
    [("btf", btf), ("ring_buffer", ring_buffer), ("fexit", fexit), ("kretprobe", kretprobe)]
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns one line per finding: its subject, then key=value pairs, percent-encoded like those of
/// an event.
fn as_lines(diagnosis: &Diagnosis) -> String {
    let mut lines = Vec::new();
    let mut say = |about: &str, pairs: &[(&'static str, &str)]| {
        let pairs =
            pairs.iter().map(|(key, value)| KeyVal { key, value: PercentEncoded(value.as_bytes()) }.to_string());
        lines.push(std::iter::once(about.to_owned()).chain(pairs).collect::<Vec<_>>().join(" "));
    };
    say("coverage", &[("coverage", name_of(diagnosis.coverage()))]);
    say("kernel", &[("release", &diagnosis.kernel), ("lockdown", diagnosis.lockdown.as_deref().unwrap_or("unknown"))]);
    say("tracepoint", &[("third_argument", diagnosis.third_argument.as_deref().unwrap_or("unknown"))]);
    for (name, available) in tried(diagnosis) {
        match available {
            Support::Available => say("available", &[("what", name), ("is", "yes")]),
            Support::Unavailable { reason } => say("available", &[("what", name), ("is", "no"), ("why", reason)]),
            _ => {}
        }
    }
    let mode = diagnosis.cgroup_mode.to_string();
    let cgroups = [("mode", mode.as_str()), ("meaning", diagnosis.cgroup_mode.description())];
    match &diagnosis.current_cgroup {
        Support::Unavailable { reason } => {
            say("cgroups", &[&cgroups[..], &[("current_cgroup", "no"), ("why", reason)]].concat());
        }
        _ => say("cgroups", &[&cgroups[..], &[("current_cgroup", "yes")]].concat()),
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
                say("tried", &[("method", &candidate.name()), ("load_us", &load), ("outcome", outcome)]);
            }
            let (btf, total) = (micros(attachment.timing.btf), micros(attachment.timing.total));
            say("opened", &[("btf_us", &btf.to_string()), ("total_us", &total.to_string())]);
            for better in attachment.unavailable() {
                let reason = better.reason().unwrap_or_default();
                say("unavailable", &[("method", &better.name()), ("why", reason)]);
            }
            for what in attachment.unobservable() {
                say("unobservable", &[("what", &what.to_string()), ("meaning", what.description())]);
            }
        }
        Err(why) => say("unable", &[("why", why)]),
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Escapes everything outside ASCII, and DEL, in JSON. Such characters are in strings only. Some of
/// them control a terminal.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() && character != '\u{7f}' {
            text.push(character);
        } else {
            text.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}

/// Returns the candidates that were tried, with the outcome.
fn attempted(attachment: &Attachment) -> impl Iterator<Item = (&Candidate, &'static str)> {
    attachment.candidates.iter().filter_map(|candidate| match candidate.outcome {
        CandidateOutcome::Attached => Some((candidate, "attached")),
        CandidateOutcome::Refused(_) => Some((candidate, "refused")),
        _ => None,
    })
}

fn as_json(diagnosis: &Diagnosis) -> Json {
    let support = |found: &Support| match found {
        Support::Available => json!({ "available": true }),
        Support::Unavailable { reason } => json!({ "available": false, "why": reason }),
        _ => Json::Null,
    };
    let available = tried(diagnosis).map(|(name, available)| (name.to_owned(), support(available)));
    let capabilities: serde_json::Map<_, _> =
        diagnosis.capabilities.iter().map(|capability| (capability.name.to_owned(), capability.held.into())).collect();
    let attachment = match &diagnosis.attachment {
        Ok(attachment) => json!({
            "source": attachment.method.to_string(),
            "companion": attachment.companion.map(|companion| companion.to_string()),
            "btf_us": micros(attachment.timing.btf),
            "tried": attempted(attachment)
                .map(|(candidate, outcome)| json!({
                    "method": candidate.name(),
                    "load_us": micros(candidate.elapsed),
                    "outcome": outcome,
                }))
                .collect::<Vec<_>>(),
            "total_us": micros(attachment.timing.total),
            "unavailable": attachment.unavailable()
                .map(|better| json!({ "method": better.name(), "why": better.reason() }))
                .collect::<Vec<_>>(),
            "unobservable": attachment.unobservable()
                .map(|what| (what.to_string(), what.description().into()))
                .collect::<serde_json::Map<_, _>>(),
        }),
        Err(why) => json!({ "unable": why }),
    };
    json!({
        "coverage": name_of(diagnosis.coverage()),
        "kernel": diagnosis.kernel,
        "lockdown": diagnosis.lockdown,
        "third_argument": diagnosis.third_argument,
        "available": serde_json::Map::from_iter(available),
        "cgroups": {
            "mode": diagnosis.cgroup_mode.to_string(),
            "meaning": diagnosis.cgroup_mode.description(),
            "current_cgroup": support(&diagnosis.current_cgroup),
        },
        "capabilities": capabilities,
        "attachment": attachment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_ascii_and_the_same_value() {
        let value = json!({ "kernel": "6.1\u{9b}\u{7f}\u{202e}\u{10348}\u{1b}\"\\x" });
        let text = ascii(&value.to_string());
        assert!(text.is_ascii() && !text.contains(['\u{7f}', '\u{1b}']), "{text}");
        assert_eq!(serde_json::from_str::<Json>(&text).expect("JSON"), value);
    }
}
