// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments that several subcommands share.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, ValueEnum};
use retrans_sdk::attach::AttachMethod;
use retrans_sdk::event::Timestamp;
use retrans_sdk::offline::{BadLines, ClockOffset, Format as InputFormat, Recording};
use retrans_sdk::{Filter, StreamBuilder};

/// The filter: `TERM… [--or TERM…]…`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms(pub(crate) Vec<String>);

impl Terms {
    pub(crate) fn parse(&self) -> Result<Filter, retrans_sdk::filter::FilterError> {
        self.0.join(" ").parse()
    }

    fn of(matches: &ArgMatches) -> Self {
        let mut terms: Vec<(usize, String)> = Vec::new();
        let values = |id: &str| matches.get_many::<String>(id).into_iter().flatten().cloned();
        let indices = |id: &str| matches.indices_of(id).into_iter().flatten();
        terms.extend(indices("terms").zip(values("terms")));
        let mut indices = indices("or");
        for occurrence in matches.get_occurrences::<String>("or").into_iter().flatten() {
            for (nth, value) in occurrence.enumerate() {
                let value = if nth == 0 { format!("--or {value}") } else { value.clone() };
                terms.extend(indices.next().map(|index| (index, value)));
            }
        }
        // Restores the order of the command line.
        terms.sort_by_key(|(index, _)| *index);
        Self(terms.into_iter().map(|(_, term)| term).collect())
    }
}

/// Refuses a filter with a term that no recording can evaluate: it would match nothing.
pub(crate) fn check_for_recording(filter: &Filter) -> Result<(), String> {
    match filter.live_only().next() {
        Some(term) => Err(format!("`{term}` requires a live stream; for a recording, use cgroup=ID or cookie=NUMBER")),
        None => Ok(()),
    }
}

impl clap::Args for Terms {
    fn augment_args(command: Command) -> Command {
        let terms = Arg::new("terms").value_name("TERM").num_args(0..).action(ArgAction::Append);
        let terms = terms.help(
            "Select attempts that match all terms: key=a,b  key!=a,b  sport=LO..HI  daddr=PREFIX  key=- (absent)",
        );
        let or = Arg::new("or").long("or").value_name("TERM").num_args(1..).action(ArgAction::Append);
        command
            .arg(terms)
            .arg(or.help("Start another set of terms; an attempt must match all terms of at least one set"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Terms {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::of(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::of(matches);
        Ok(())
    }
}

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table on a terminal, otherwise key=value lines
    Auto,
    /// Aligned columns and sentences
    Table,
    /// key=value lines
    Kv,
    /// JSON
    Json,
}

/// Options for reading a recording.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Input {
    /// Format of the recording; zstd compression is always detected
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    input_format: RecordingFormat,
    /// Skip malformed lines instead of ending at the first
    #[arg(long)]
    pub(crate) skip_bad_lines: bool,
    /// Offset of the clock of kernel text from the epoch: seconds to add, or `btime`, the boot time
    /// of this host. Without it, times are seconds of an unknown clock
    ///
    /// btime is for text that was recorded on this host since its last boot. Its error is less than
    /// 1 µs with `echo boot > /sys/kernel/tracing/trace_clock` or `perf record -k CLOCK_BOOTTIME`.
    /// With the default clocks it is some milliseconds, plus the time for which the host was
    /// suspended. Seconds may be negative, and have up to nine decimals. Not needed for key=value
    /// lines, JSON, and text with the header of `perf script --header` if `perf record -k` selected
    /// a clock.
    #[arg(long, value_name = "SECONDS|btime", value_parser = clock_offset, allow_negative_numbers = true)]
    clock_offset: Option<ClockOffset>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum RecordingFormat {
    #[default]
    /// Detected from the first line of a recording; lines before it are skipped
    Auto,
    /// key=value lines, as `retrans watch` prints them
    Kv,
    /// JSON, one object per line
    Json,
    /// Text of tracefs, `perf script` or `trace-cmd report`
    Kernel,
}

impl Input {
    /// Opens a recording (`-` is stdin). An error contains the path.
    pub(crate) fn open(self, path: &Path) -> Result<Recording, retrans_sdk::Error> {
        let recording =
            if path == Path::new("-") { Recording::from_reader(io::stdin()) } else { Recording::open(path)? };
        Ok(self.configure(recording))
    }

    pub(crate) fn configure(self, recording: Recording) -> Recording {
        let recording = match self.input_format {
            RecordingFormat::Auto => recording,
            RecordingFormat::Kv => recording.format(InputFormat::KeyVal),
            RecordingFormat::Json => recording.format(InputFormat::Json),
            RecordingFormat::Kernel => recording.format(InputFormat::KernelText),
        };
        let recording = self.clock_offset.into_iter().fold(recording, Recording::clock_offset);
        if self.skip_bad_lines { recording.bad_lines(BadLines::Skip) } else { recording }
    }
}

/// Parses `--clock-offset`.
fn clock_offset(text: &str) -> Result<ClockOffset, String> {
    if text == "btime" {
        return Ok(ClockOffset::boot_time());
    }
    let (digits, sign) = text.strip_prefix('-').map_or((text, 1), |digits| (digits, -1));
    let expected = "expected btime, or a number of seconds with at most nine decimals, such as 1795426283.5";
    let nanos = digits.parse::<Timestamp>().map_err(|_| expected.to_owned())?.as_nanos();
    let nanos = i64::try_from(nanos).map_err(|_| "expected an offset of at most 292 years".to_owned())?;
    Ok(ClockOffset::from_nanos(sign * nanos))
}

/// Options for opening a live stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attach {
    /// The only attach method to use.
    pub(crate) method: Option<AttachMethod>,
    /// The file with the kernel's BTF.
    pub(crate) btf: Option<PathBuf>,
}

impl Attach {
    pub(crate) fn configure(&self, builder: StreamBuilder) -> StreamBuilder {
        let builder = self.method.into_iter().fold(builder, StreamBuilder::attach_method);
        self.btf.iter().fold(builder, StreamBuilder::btf_path)
    }
}

/// Parses `--attach-method`.
pub(crate) fn attach_method() -> impl TypedValueParser<Value = AttachMethod> {
    let names = AttachMethod::ALL.iter().map(|entry| entry.value);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<AttachMethod>())
}

/// The longest accepted time. A year can be added to any point in time.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Parses a time in seconds, which may have a fraction.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds, such as 10 or 0.5".to_owned())?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err("expected a time that is not negative, in seconds".to_owned());
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_offset_is_btime_or_seconds() {
        let nanos = |text| clock_offset(text).map(ClockOffset::as_nanos);
        assert_eq!(nanos("1795426283.5"), Ok(1_795_426_283_500_000_000));
        assert_eq!((nanos("0"), nanos("-37"), nanos("-0.000000001")), (Ok(0), Ok(-37_000_000_000), Ok(-1)));
        for text in ["", "-", "--1", "1e9", "0.0000000001", "boot", "+1", "10000000000"] {
            let error = nanos(text).expect_err(text);
            assert!(error.starts_with("expected "), "{error}");
        }
        let apart = nanos("btime").expect("the boot time") - ClockOffset::boot_time().as_nanos();
        assert!(apart.abs() < 1_000_000, "{apart} ns");
    }
}
