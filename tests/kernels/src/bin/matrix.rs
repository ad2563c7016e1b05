// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots each kernel of `tests/kernels/kernels.list` under emulation, runs the lab's trials, the live tests and the demo in it, and prints
//! a table of what came of it.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use retrans_kernels::boot::{Emulator, boot};
use retrans_kernels::build::Built;
use retrans_kernels::debian::Archive;
use retrans_kernels::image::{Kernel, programs, remove};
use retrans_kernels::list::{LEAST, Pinned, Wanted};
use retrans_kernels::log::Log;
use retrans_kernels::patched_kernels;
use retrans_kernels::table::{check, put_into, table};
use retrans_kernels::verdict::Verdict;
use retrans_tests::{Context, Error, Result};
use rustix::fs::{FlockOperation, flock};

/// Prints a line, whether or not anybody reads it.
macro_rules! say {
    ($($what:tt)*) => {{ let _ = writeln!(io::stdout(), $($what)*); }};
}

const HELP: &str = "\
usage: matrix [--keep] [--cached] [--within=MINUTES] [SERIES…]
                                              boots these kernels, or all of them, and prints a table
       matrix --only=PREFIX SERIES            boots this one for the live tests whose names begin so
       matrix --table                         puts the table of the tree's logs into README.md
       matrix --check                         holds the README's table against the logs of the tree

  --cached  of the kernels of tests/kernels/patches only those that are built already; of the others it is said that they are not
  --within  starts no further kernel when so much time has passed, and says which are left out; five at least are booted
  --keep    puts the logs of rows that passed into tests/kernels/logs, and the table of all logs there into README.md

What is downloaded, and the console of the last boot of each series, are under $RETRANS_MATRIX_CACHE, else
${XDG_CACHE_HOME:-$HOME/.cache}/retrans-matrix. $JOBS guests run at a time; as many as there are CPUs, if it is not said.
Exit status: 0; 1 if a row failed or the table differs; 2 if it could not start.";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["-h" | "--help"] => {
            say!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["--check"] => return told(check_readme()),
        ["--table"] => return told(write_readme()),
        _ => {
            let (options, series): (Vec<_>, Vec<_>) =
                arguments.iter().cloned().partition(|argument| argument.starts_with("--"));
            Options::parse(&options).and_then(|options| matrix(&series, &options))
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("matrix: {error}");
            ExitCode::from(2)
        }
    }
}

/// What is asked for beside the series.
#[derive(Default)]
struct Options {
    keep: bool,
    cached: bool,
    within: Option<Duration>,
    only: Option<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        for argument in arguments {
            match (argument.as_str(), argument.strip_prefix("--within=").map(str::parse::<u64>)) {
                ("--keep", _) => options.keep = true,
                ("--cached", _) => options.cached = true,
                (_, Some(Ok(minutes))) => options.within = Some(Duration::from_secs(60 * minutes)),
                _ if argument.starts_with("--only=") => {
                    options.only = argument.split_once('=').map(|(_, it)| it.to_owned())
                }
                _ => return Err(Error::new(format!("no option {argument}\n{HELP}"))),
            }
        }
        Ok(options)
    }
}

fn told(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("matrix: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The checkout that this was built from.
fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}

/// What the live tests read of the tree.
const READ_BY_TESTS: [&str; 1] = ["examples/recordings/lab.kv"];

fn logs_of_tree() -> PathBuf {
    tree().join("tests/kernels/logs")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {path:?}"))
}

/// The table of the logs in the tree, which must all be of rows that passed.
fn table_of_tree() -> Result<String> {
    let mut logs = Vec::new();
    let directory = logs_of_tree();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {directory:?}"))? {
        let path = entry.context("cannot read a directory")?.path();
        let log = Log::parse(&read(&path)?).with_context(|| format!("{path:?}"))?;
        if !log.faults().is_empty() {
            return Err(Error::new(format!("{path:?} is of a row that failed: {}", log.faults().join(", "))));
        }
        logs.push(log);
    }
    Ok(table(&logs))
}

fn write_readme() -> Result<()> {
    let readme = tree().join("README.md");
    write(&readme, &put_into(&read(&readme)?, &table_of_tree()?)?)
}

fn check_readme() -> Result<()> {
    let readme = tree().join("README.md");
    check(&read(&readme)?, &table_of_tree()?).context("`make matrix KEEP=1` writes it")
}

fn cache() -> Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("RETRANS_MATRIX_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("retrans-matrix")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/retrans-matrix")))
        .ok_or_else(|| Error::new("neither RETRANS_MATRIX_CACHE, XDG_CACHE_HOME nor HOME is set"))
}

/// Boots these series; whether all rows passed that were booted. Kernels of our own are built if they are not there, unless only
/// those are asked for that are.
fn matrix(series: &[String], options: &Options) -> Result<bool> {
    let began = Instant::now();
    if options.only.is_some() && (series.len() != 1 || options.only.as_deref() == Some("")) {
        return Err(Error::new("--only takes a prefix and one series"));
    }
    let wanted = Wanted::parse(&read(&tree().join("tests/kernels/kernels.list"))?)?;
    let kernels = wanted.of_series(series)?;
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {cache:?}"))?;
    let lock = File::create(cache.join("lock")).context("cannot make a lock")?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).context("another run uses the cache")?;
    let jobs = match env::var("JOBS") {
        Ok(jobs) => jobs.parse().context("JOBS is no number")?,
        Err(_) => thread::available_parallelism().map_or(1, usize::from),
    };

    let bench = Bench::new(&cache, &wanted.emulator)?;
    let mut fetched = Vec::new();
    for pinned in &kernels {
        fetched.extend(bench.fetch(pinned, !options.cached)?.map(|kernel| (pinned, kernel)));
    }
    if let Some(prefix) = &options.only {
        return fetched.first().map_or(Ok(false), |(pinned, kernel)| bench.only(prefix, pinned, kernel));
    }
    let without = kernels.len() - fetched.len();
    let all: Vec<_> = fetched.iter().map(|(pinned, _)| pinned.series.clone()).collect();
    let (queue, rows) = (Mutex::new(fetched.into_iter().enumerate()), Mutex::new(Vec::new()));
    let is_over = |started| started >= LEAST && options.within.is_some_and(|within| began.elapsed() > within);
    let next = || {
        let (number, kernel) = queue.lock().ok()?.next()?;
        (!is_over(number)).then_some(kernel)
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((pinned, kernel)) = next() {
                    let row = bench.row(pinned, &kernel);
                    say!("{row}");
                    // At once: whoever ends this before its end has what there is.
                    if options.keep
                        && let Err(error) = row.keep()
                    {
                        say!("{error}");
                    }
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    let booted: Vec<_> = rows.iter().map(|row| row.series.as_str()).collect();
    let left_out: Vec<_> = all.iter().filter(|series| !booted.contains(&series.as_str())).map(String::as_str).collect();

    let passed: Vec<_> = rows.iter().filter_map(|row| row.passed.as_ref()).collect();
    if !passed.is_empty() {
        say!("\n{}", table(&passed.iter().map(|(log, _)| log.clone()).collect::<Vec<_>>()));
    }
    if options.keep {
        write_readme()?;
    }
    say!("{} of {} kernels passed", passed.len(), rows.len());
    // Once more where the end is read.
    rows.iter().filter(|row| row.passed.is_none()).for_each(|row| say!("{row}"));
    if !left_out.is_empty() {
        say!("for want of time NOT BOOTED: {}", left_out.join(" "));
    }
    if without > 0 {
        say!("{without} kernels were NOT BOOTED, for they are not built");
    }
    Ok(passed.len() == rows.len())
}

/// What is the same for all kernels.
struct Bench {
    cache: PathBuf,
    archive: Archive,
    emulator: Emulator,
    built: Built,
    programs: Vec<u8>,
}

impl Bench {
    fn new(cache: &Path, emulator: &Pinned) -> Result<Self> {
        let began = Instant::now();
        let archive = Archive::new(cache.join("apt"))?;
        let emulator = Emulator::fetch(&archive, cache, emulator)?;
        let built = Built::new(&tree(), &cache.join("programs"))?;
        let programs = programs(&built, &READ_BY_TESTS.map(|file| tree().join(file)))?;
        say!("emulator and programs: {:.0} s", began.elapsed().as_secs_f64());
        Ok(Self { cache: cache.to_owned(), archive, emulator, built, programs })
    }

    /// `None` if it is one of our own that is not to be built now, which is said.
    fn fetch(&self, pinned: &Pinned, build: bool) -> Result<Option<Kernel>> {
        let began = Instant::now();
        let fetched = match patched_kernels::numbering_of(&pinned.series) {
            Some(_) => patched_kernels::fetch(&self.archive, &self.cache, pinned, build),
            None => Kernel::fetch(&self.archive, &self.cache, pinned).map(Some),
        };
        let Some(kernel) = fetched.with_context(|| pinned.series.clone())? else {
            say!("{}: NOT BUILT: `make matrix` builds it", pinned.series);
            return Ok(None);
        };
        let names = kernel.packages.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        say!("{}: {names}: {:.0} s", pinned.series, began.elapsed().as_secs_f64());
        if !kernel.packages.contains(&pinned.package) {
            say!("{}: instead of {}, which the archive no longer has", pinned.series, pinned.package);
        }
        Ok(Some(kernel))
    }

    /// Boots it for some of the live tests, and whether those passed that it does not lack something for, and the kernel had nothing to say.
    fn only(&self, prefix: &str, pinned: &Pinned, kernel: &Kernel) -> Result<bool> {
        let work = self.cache.join("boots").join(format!("{}.only", pinned.series));
        let booted = boot(&self.emulator, kernel, &self.programs, &[prefix], &work)?;
        say!("{}its console: {}", booted.lines, booted.console.display());
        booted.complaints.iter().for_each(|complaint| say!("{complaint}"));
        let tests = || booted.lines.lines().filter(|line| line.starts_with("test "));
        let passed = tests().filter(|line| line.contains(" result=ok")).count();
        let failed = tests().filter(|line| line.contains(" result=failed")).count();
        Ok(booted.complaints.is_empty() && passed > 0 && failed == 0)
    }

    /// Boots it, and once more if nothing but a trial, a test or the demo was not as it should be: a kernel that is emulated may be late by
    /// seconds. What was wrong the first time is told all the same. What the kernel itself complains of is final.
    fn row(&self, pinned: &Pinned, kernel: &Kernel) -> Row {
        let began = Instant::now();
        let work = self.cache.join("boots").join(&pinned.series);
        let mut once = self.boot(pinned, kernel, &work);
        let mut before = Vec::new();
        if once.complaints.is_empty() && !once.faults.is_empty() {
            before = once.faults;
            // What it said is of use beside what the second says.
            let first = work.with_file_name(format!("{}.first", pinned.series));
            let moved = remove(&first).is_ok() && fs::rename(&work, &first).is_ok();
            before.extend(moved.then(|| format!("its console is in {}", first.display())));
            once = self.boot(pinned, kernel, &work);
        }
        let Verdict { passed, complaints, mut faults } = once;
        faults.extend(complaints);
        Row { series: pinned.series.clone(), passed, faults, before, seconds: began.elapsed().as_secs(), work }
    }

    fn boot(&self, pinned: &Pinned, kernel: &Kernel, work: &Path) -> Verdict {
        match boot(&self.emulator, kernel, &self.programs, &[], work) {
            Err(error) => Verdict { passed: None, complaints: vec![error.to_string()], faults: Vec::new() },
            Ok(booted) => {
                let text = format!("{}\n{}", headline(pinned, kernel), booted.lines);
                let tests: Vec<_> = self.built.tests.iter().map(|(name, _)| name.as_str()).collect();
                // Without one this is the first boot of the series.
                let kept = fs::read_to_string(logs_of_tree().join(format!("{}.log", pinned.series)));
                Verdict::of(text, booted.complaints, &tests, kept.ok().map(|kept| Log::parse(&kept)))
            }
        }
    }
}

/// The first line of a log: what was booted.
fn headline(pinned: &Pinned, kernel: &Kernel) -> String {
    let packages = kernel.packages.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!("kernel series={} packages={packages}", pinned.series)
}

struct Row {
    series: String,
    passed: Option<(Log, String)>,
    faults: Vec<String>,
    /// Of the first of two boots.
    before: Vec<String>,
    seconds: u64,
    /// Where its console is.
    work: PathBuf,
}

impl Row {
    /// Puts the log of a row that passed into the tree.
    fn keep(&self) -> Result<()> {
        let Some((log, text)) = &self.passed else { return Ok(()) };
        fs::create_dir_all(logs_of_tree()).context("cannot make a place for the logs")?;
        write(&logs_of_tree().join(format!("{}.log", log.series)), text)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.series)?;
        if !self.before.is_empty() {
            write!(f, "booted twice, for the first time there was: {}; ", self.before.join(", "))?;
        }
        if let Some((log, _)) = &self.passed {
            let (tests, all) = (log.passed(), log.tests.len());
            let (trials, release) = (log.cells.len(), &log.release);
            write!(f, "{trials} trials, {tests} of {all} live tests on {release} in {} s", self.seconds)?;
            let again = log.tests.iter().filter(|test| test.again).map(|test| format!("; once more: {}", test.name));
            return again.collect::<Vec<_>>().iter().try_for_each(|test| f.write_str(test));
        }
        writeln!(f, "FAILED after {} s; its console and its lines are in {}", self.seconds, self.work.display())?;
        write!(f, "    {}", self.faults.join("\n    "))
    }
}
