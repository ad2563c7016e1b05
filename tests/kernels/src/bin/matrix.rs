// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots the kernels of `tests/kernels/kernels.list`, runs the lab's scenarios, the live tests and
//! the demo in each, and records the results in `tests/kernels/results.tsv` or compares them with
//! it.

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime};

use clap::{Args, Parser, Subcommand};
use retrans_kernels::accelerator::Accelerator;
use retrans_kernels::boot::{Booted, Emulator, boot};
use retrans_kernels::build::{Built, Profile, guest_tests};
use retrans_kernels::debian::Archive;
use retrans_kernels::guest::{COARSE_CLOCK, Part};
use retrans_kernels::image::{Kernel, programs, remove};
use retrans_kernels::list::{Pinned, Wanted};
use retrans_kernels::log::{Log, family_name};
use retrans_kernels::results::{Difference, PATH, Results, Row, Tree};
use retrans_kernels::table::{PAGE, check, put_into, table};
use retrans_kernels::verdict::Verdict;
use retrans_kernels::{inputs, patched_kernels};
use retrans_lab::command::run;
use retrans_lab::{Context, Error, Family, Result, Trial};
use rustix::fs::{FlockOperation, flock};

/// Prints a line, even if no process reads it.
macro_rules! say {
    ($($what:tt)*) => {{ let _ = writeln!(io::stdout(), $($what)*); }};
}

const HELP: &str = "\
Downloads, built kernels, and the console of the last boot of each kernel are kept in
$RETRANS_MATRIX_CACHE, by default ${XDG_CACHE_HOME:-$HOME/.cache}/retrans-matrix.

Environment:
  JOBS          number of guests that run at the same time (default: the number of CPUs)
  MATRIX_ACCEL  kvm or tcg (default: KVM if a trial boot succeeds, else emulation)

Exit status:
  0  success
  1  a boot failed or differs, a check failed, or a row is stale with --release
  2  it could not start

Examples:
  matrix run 6.12 7.3         boots two kernels and records their results
  matrix check --release      fails if a row is stale";

/// The kernel matrix: boots a list of kernels and records the results of the lab, the live tests
/// and the demo in each
#[derive(Parser)]
#[command(name = "matrix", after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    action: Action,
    /// Uses the programs of cargo's dev profile, which `cargo test` has built already, instead of
    /// the release profile's
    #[arg(long, global = true)]
    dev: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Boots kernels and records the results of those that pass, and the table in
    /// docs/kernel-matrix.md
    Run(Run),
    /// Checks the recorded results without booting, and names the stale rows
    Check {
        /// Fails if a row is stale
        #[arg(long)]
        release: bool,
    },
    /// Boots the oldest kernel and another one by rotation, and fails if a result differs from the
    /// recorded one
    Gate {
        /// Number that selects the second kernel (default: the number of commits; without git, the
        /// number of days since 1970)
        #[arg(long, value_name = "N")]
        turn: Option<u64>,
        /// Runs the live tests also in emulation, where they need minutes
        #[arg(long)]
        tests: bool,
    },
    /// Writes the table in docs/kernel-matrix.md
    Table,
}

#[derive(Args)]
struct Run {
    /// Kernels of the list (default: all)
    #[arg(value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Leaves out patched kernels that are not built yet, and prints their names
    #[arg(long)]
    cached: bool,
    /// Records a row even if a recorded result is lost
    #[arg(long)]
    accept: bool,
    /// Boots one kernel, runs only the live tests whose names begin with PREFIX, and records
    /// nothing
    #[arg(long, value_name = "PREFIX")]
    only: Option<String>,
    /// Options to add to the command line of that kernel, such as lockdown=confidentiality
    #[arg(long, value_name = "OPTIONS", requires = "only", default_value = "", hide_default_value = true)]
    append: String,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let profile = if cli.dev { Profile::Dev } else { Profile::Release };
    let result = match cli.action {
        Action::Run(options) => run_kernels(&options, profile),
        Action::Check { release } => check_results(release, profile),
        Action::Gate { turn, tests } => gate(turn, tests, profile),
        Action::Table => results().and_then(|results| write_table(&results)).map(|()| true),
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

/// Returns the checkout from which this program was built.
fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}

/// The files of the tree that the live tests read.
const READ_BY_TESTS: [&str; 1] = ["examples/retrans/recordings/lab.kv"];

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))
}

/// Replaces the file as a whole, so that it is complete even if this process is killed.
fn write(path: &Path, text: &str) -> Result<()> {
    let scratch = path.with_extension("part");
    fs::write(&scratch, text).with_context(|| format!("cannot write {scratch:?}"))?;
    fs::rename(&scratch, path).with_context(|| format!("cannot write {path:?}"))
}

fn wanted() -> Result<Wanted> {
    Wanted::parse(&read(&tree().join("tests/kernels/kernels.list"))?)
}

fn results() -> Result<Results> {
    Results::parse(&read(&tree().join(PATH))?).context(PATH)
}

fn write_table(results: &Results) -> Result<()> {
    let page = tree().join(PAGE);
    write(&page, &put_into(&read(&page)?, &table(results))?)
}

/// Returns the state of the tree, which a current row must match.
fn current(tests: BTreeSet<String>) -> Result<Tree> {
    let scenarios = Trial::names().collect();
    Ok(Tree { inputs: inputs::hash(&tree())?, scenarios, tests })
}

/// Checks the results, and returns false if they are wrong.
fn check_results(release: bool, profile: Profile) -> Result<bool> {
    let checked = || {
        let results = results()?;
        results.check_kernels(&wanted()?.names())?;
        let page = read(&tree().join(PAGE))?;
        check(&page, &table(&results)).context("`matrix table` writes it")?;
        Ok::<_, Error>(results)
    };
    let results = match checked() {
        Ok(results) => results,
        Err(error) => {
            eprintln!("matrix: {error}");
            return Ok(false);
        }
    };
    let stale = results.stale(&current(guest_tests(&tree(), profile)?)?);
    for (kernel, why) in &stale {
        say!("stale: {kernel}: {why}");
    }
    say!("{} of {} rows of {PATH} are current", results.rows().len() - stale.len(), results.rows().len());
    if release && !stale.is_empty() {
        say!("a release requires all of them: `make matrix` boots the kernels and records the results");
    }
    Ok(!release || stale.is_empty())
}

fn cache() -> Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("RETRANS_MATRIX_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("retrans-matrix")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/retrans-matrix")))
        .ok_or_else(|| Error::new("neither RETRANS_MATRIX_CACHE, XDG_CACHE_HOME nor HOME is set"))
}

/// Boots kernels and records their results. Returns false if one failed.
fn run_kernels(options: &Run, profile: Profile) -> Result<bool> {
    if options.only.is_some() && (options.kernels.len() != 1 || options.only.as_deref() == Some("")) {
        return Err(Error::new("--only requires a prefix and one kernel"));
    }
    let wanted = wanted()?;
    let kernels = wanted.of_series(&options.kernels)?;
    // This is read before the boots, which need minutes: with a malformed file nothing could be
    // recorded.
    let mut recorded = results()?;
    recorded.retain(&wanted.names());
    let recorded = Mutex::new(recorded);
    let bench = Bench::new(&wanted, profile)?;
    let fetched = bench.fetch_all(&kernels, !options.cached)?;
    if let Some(prefix) = &options.only {
        return fetched
            .first()
            .map_or(Ok(false), |(pinned, kernel)| bench.only(prefix, &options.append, pinned, kernel));
    }
    let without = kernels.len() - fetched.len();
    let accelerator = bench.accelerator(&fetched)?;
    let booted = bench.boot_all(fetched, accelerator, Part::Everything, |booted| {
        let kept = booted.record(&recorded, &bench.current.inputs, options.accept);
        kept.err().map(|error| error.to_string())
    })?;
    write_table(&recorded.into_inner().unwrap_or_else(PoisonError::into_inner))?;
    if without > 0 {
        say!("{without} kernels were NOT BOOTED, because they are not built");
    }
    Ok(booted)
}

/// Boots two kernels and compares them with the recorded results. Returns false if one differs.
fn gate(turn: Option<u64>, tests: bool, profile: Profile) -> Result<bool> {
    let wanted = wanted()?;
    let recorded = results()?;
    let bench = Bench::new(&wanted, profile)?;
    let turn = turn.map_or_else(turn_of_tree, Ok)?;
    let oldest = wanted.oldest().ok_or_else(|| Error::new("the list has no kernel"))?.clone();
    let other = wanted.by_rotation(turn, |pinned| patched_kernels::is_built(&bench.archive, &bench.cache, pinned));
    let kernels: Vec<_> = [Some(oldest), other].into_iter().flatten().collect();
    say!("turn {turn}: {}", kernels.iter().map(|pinned| pinned.series.as_str()).collect::<Vec<_>>().join(" and "));
    let fetched = bench.fetch_all(&kernels, false)?;
    let accelerator = bench.accelerator(&fetched)?;
    let is_recorded =
        |pinned: &Pinned| recorded.row(&pinned.series).is_some_and(|row| row.inputs() == bench.current.inputs);
    let part = if tests || accelerator == Accelerator::Kvm {
        Part::Everything
    } else if kernels.iter().all(is_recorded) {
        // Each kernel gets each family in turn, also if their numbers have a common divisor.
        let (families, others) = (Family::ALL, wanted.kernels.len().max(2) as u64 - 1);
        Part::Sample(families[((turn + turn / others) % families.len() as u64) as usize])
    } else {
        Part::Scenarios
    };
    if part != Part::Everything {
        say!("LEFT OUT: the live tests, because emulation is too slow for them; `make matrix` runs them");
    }
    if let Part::Sample(family) = part {
        let family = family_name(family);
        say!("LEFT OUT: families other than {family}, and all but one demanding filter with kprobes:");
        say!("          `make matrix` has recorded them with the same inputs, and the family changes each turn");
    }
    bench.boot_all(fetched, accelerator, part, |booted| {
        let differences = booted.differences(&recorded, &bench.current, part);
        (!differences.is_empty()).then(|| {
            let series = &booted.series;
            let hint = format!("if this is intended, `make matrix KERNELS={series} ACCEPT=1` records it");
            format!("{series} DIFFERS from {PATH}:\n    {}\n    {hint}", differences.join("\n    "))
        })
    })
}

/// Returns a number that changes with each landing.
fn turn_of_tree() -> Result<u64> {
    let mut git = Command::new("git");
    git.arg("-C").arg(tree()).args(["rev-list", "--count", "HEAD"]);
    let count = run(git).ok().and_then(|count| count.trim().parse().ok());
    // In a shallow clone, which a CI may use, the number is the same each time.
    if let Some(count) = count.filter(|_| !tree().join(".git/shallow").exists()) {
        return Ok(count);
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(since.as_secs() / 86_400)
}

/// The number of boots if the guest's clock is too coarse.
const CLOCK_BOOTS: u32 = 10;

/// Everything that is the same for all kernels.
struct Bench {
    cache: PathBuf,
    archive: Archive,
    emulator: Emulator,
    built: Built,
    /// The programs of a guest without the live tests, and with them.
    programs: [OnceLock<Vec<u8>>; 2],
    current: Tree,
    jobs: usize,
    /// Locked while this program runs.
    _lock: File,
}

impl Bench {
    fn new(wanted: &Wanted, profile: Profile) -> Result<Self> {
        let began = Instant::now();
        let cache = cache()?;
        fs::create_dir_all(&cache).with_context(|| format!("cannot create {cache:?}"))?;
        let lock = File::create(cache.join("lock")).context("cannot create the lock file")?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).context("another run uses the cache")?;
        let jobs = match env::var("JOBS") {
            Ok(jobs) => jobs.parse().context("JOBS is not a number")?,
            Err(_) => thread::available_parallelism().map_or(1, usize::from),
        };
        let archive = Archive::new(cache.join("apt"), &wanted.suites())?;
        let emulator = Emulator::fetch(&archive, &cache, &wanted.emulator)?;
        let built = Built::new(&tree(), profile, &cache.join("programs"))?;
        // The state of the sources that were built just now. Changes during the boots are not in
        // these rows.
        let current = current(built.tests.iter().map(|(name, _)| name.clone()).collect())?;
        say!("emulator and programs: {:.0} s", began.elapsed().as_secs_f64());
        let programs = [OnceLock::new(), OnceLock::new()];
        Ok(Self { cache, archive, emulator, built, programs, current, jobs, _lock: lock })
    }

    fn programs(&self, tests: bool) -> Result<&[u8]> {
        let cell = &self.programs[usize::from(tests)];
        if cell.get().is_none() {
            let _ = cell.set(programs(&self.built, &READ_BY_TESTS.map(|file| tree().join(file)), tests)?);
        }
        Ok(cell.get().map(Vec::as_slice).unwrap_or_default())
    }

    /// Returns the kernels that are built or may be built now. Prints the others.
    fn fetch_all(&self, kernels: &[Pinned], build: bool) -> Result<Vec<(Pinned, Kernel)>> {
        let mut fetched = Vec::new();
        for pinned in kernels {
            fetched.extend(self.fetch(pinned, build)?.map(|kernel| (pinned.clone(), kernel)));
        }
        Ok(fetched)
    }

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

    /// Chooses how guests run, by a trial boot of the first kernel, and prints it.
    fn accelerator(&self, kernels: &[(Pinned, Kernel)]) -> Result<Accelerator> {
        let (_, kernel) = kernels.first().ok_or_else(|| Error::new("there is no kernel to boot"))?;
        let work = self.cache.join("boots/trial");
        let (accelerator, why) = Accelerator::choose(&self.emulator, kernel, self.programs(false)?, &work)?;
        say!("guests run by {accelerator}: {why}");
        Ok(accelerator)
    }

    /// Boots all kernels. Prints the result of each at once, with the objection of `then`. Returns
    /// false if one failed, or if `then` objected.
    fn boot_all(
        &self,
        kernels: Vec<(Pinned, Kernel)>,
        accelerator: Accelerator,
        part: Part,
        then: impl Fn(&Boot) -> Option<String> + Sync,
    ) -> Result<bool> {
        let (all, queue, ended) = (kernels.len(), Mutex::new(kernels.into_iter()), Mutex::new(Vec::new()));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    while let Some((pinned, kernel)) = next() {
                        let boot = self.boot_twice(accelerator, &pinned, &kernel, part);
                        let objection = then(&boot);
                        let is_good = boot.passed.is_some() && objection.is_none();
                        let said =
                            objection.map_or_else(|| boot.to_string(), |objection| format!("{boot}\n{objection}"));
                        say!("{said}");
                        ended.lock().unwrap_or_else(PoisonError::into_inner).push((is_good, said));
                    }
                });
            }
        });
        let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        let passed = ended.iter().filter(|(is_good, _)| *is_good).count();
        say!("{passed} of {all} kernels passed");
        // Failures are printed once more at the end, where the user reads them.
        ended.iter().filter(|(is_good, _)| !is_good).for_each(|(_, said)| say!("{said}"));
        Ok(passed == all)
    }

    /// Boots a kernel, and again if its clock is too coarse. Such a boot ends within seconds.
    #[allow(clippy::too_many_arguments)]
    fn boot_with_clock(
        &self,
        accelerator: Accelerator,
        pinned: &Pinned,
        kernel: &Kernel,
        programs: &[u8],
        options: &str,
        arguments: &[&str],
        work: &Path,
    ) -> Result<Booted> {
        for _ in 0..CLOCK_BOOTS {
            let booted = boot(&self.emulator, accelerator, kernel, programs, options, arguments, work)?;
            if !booted.lines.starts_with(COARSE_CLOCK) {
                return Ok(booted);
            }
            say!("{}: booted again, because the kernel did not calibrate its clock", pinned.series);
        }
        Err(Error::new(format!("the kernel did not calibrate its clock in {CLOCK_BOOTS} boots")))
    }

    /// Boots a kernel for some of the live tests. Returns false if one failed, if no test ran, or
    /// if the kernel complained.
    fn only(&self, prefix: &str, options: &str, pinned: &Pinned, kernel: &Kernel) -> Result<bool> {
        let work = self.cache.join("boots").join(format!("{}.only", pinned.series));
        let accelerator = self.accelerator(&[(pinned.clone(), kernel.clone())])?;
        let programs = self.programs(true)?;
        let booted = self.boot_with_clock(accelerator, pinned, kernel, programs, options, &[prefix], &work)?;
        say!("{}its console: {}", booted.lines, booted.console.display());
        booted.complaints.iter().for_each(|complaint| say!("{complaint}"));
        let tests = || booted.lines.lines().filter(|line| line.starts_with("test "));
        let passed = tests().filter(|line| line.contains(" result=ok")).count();
        let failed = tests().filter(|line| line.contains(" result=failed")).count();
        Ok(booted.complaints.is_empty() && passed > 0 && failed == 0)
    }

    /// Boots a kernel. If only scenarios, tests or the demo failed, boots it once more, because an
    /// emulated kernel may be late by seconds. The failures of the first boot are printed. A
    /// complaint of the kernel itself is final.
    fn boot_twice(&self, accelerator: Accelerator, pinned: &Pinned, kernel: &Kernel, part: Part) -> Boot {
        let began = Instant::now();
        let work = self.cache.join("boots").join(&pinned.series);
        let mut once = self.boot(accelerator, pinned, kernel, part, &work);
        let mut before = Vec::new();
        if once.complaints.is_empty() && !once.faults.is_empty() {
            before = once.faults;
            // The console of the first boot is useful, too.
            let first = work.with_file_name(format!("{}.first", pinned.series));
            let moved = remove(&first).is_ok() && fs::rename(&work, &first).is_ok();
            before.extend(moved.then(|| format!("its console is in {}", first.display())));
            once = self.boot(accelerator, pinned, kernel, part, &work);
        }
        let Verdict { passed, complaints, mut faults } = once;
        faults.extend(complaints);
        Boot { series: pinned.series.clone(), passed, faults, before, seconds: began.elapsed().as_secs(), work }
    }

    fn boot(&self, accelerator: Accelerator, pinned: &Pinned, kernel: &Kernel, part: Part, work: &Path) -> Verdict {
        let tests = self.built.tests.iter().map(|(name, _)| name.as_str());
        let tests: Vec<_> = tests.filter(|_| part == Part::Everything).collect();
        let arguments = part.argument();
        let programs = self.programs(part == Part::Everything);
        let booted = programs.and_then(|programs| {
            self.boot_with_clock(accelerator, pinned, kernel, programs, "", arguments.as_slice(), work)
        });
        match booted {
            Err(error) => Verdict { passed: None, complaints: vec![error.to_string()], faults: Vec::new() },
            Ok(booted) => {
                let text = format!("{}\n{}", headline(pinned, kernel), booted.lines);
                Verdict::of(&text, booted.complaints, &tests)
            }
        }
    }
}

/// Returns the first line of a log, which names the booted kernel.
fn headline(pinned: &Pinned, kernel: &Kernel) -> String {
    let packages = kernel.packages.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!("kernel series={} packages={packages}", pinned.series)
}

/// A kernel after its boot.
struct Boot {
    series: String,
    passed: Option<Log>,
    faults: Vec<String>,
    /// The failures of the first of two boots.
    before: Vec<String>,
    seconds: u64,
    /// The directory that contains the console.
    work: PathBuf,
}

impl Boot {
    /// Records a boot that passed. It does so at once, so that a killed run keeps the rows before.
    fn record(&self, results: &Mutex<Results>, inputs: &str, accept: bool) -> Result<()> {
        let Some(log) = &self.passed else { return Ok(()) };
        let row = Row::of(log, inputs);
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        let differences = results.row(&self.series).map(|recorded| recorded.compare(&row, true)).unwrap_or_default();
        let lost: Vec<_> = differences.iter().filter(|it| it.is_loss()).map(ToString::to_string).collect();
        if !lost.is_empty() && !accept {
            let (series, lost) = (&self.series, lost.join("\n    "));
            return Err(Error::new(format!(
                "{series} is NOT RECORDED, because it lost recorded results (--accept records it anyway):\n    {lost}"
            )));
        }
        results.set(&self.series, row);
        write(&tree().join(PATH), &results.to_string())
    }

    /// Returns the differences from the recorded row. If the row is stale, a name that exists on
    /// only one side is not a difference, and is printed.
    fn differences(&self, results: &Results, current: &Tree, part: Part) -> Vec<String> {
        let Some(log) = &self.passed else { return Vec::new() };
        let Some(recorded) = results.row(&self.series) else { return vec!["it has no row".to_owned()] };
        let booted = Row::of(log, &current.inputs);
        if recorded.packages() != booted.packages() {
            say!("{}: {} was recorded, {} was booted", self.series, recorded.packages(), booted.packages());
        }
        let stale = recorded.stale(current);
        if let Some(why) = &stale {
            say!("{}: its row is stale: {why}", self.series);
        }
        let (names, others): (Vec<_>, Vec<_>) = recorded
            .over(&log.families)
            .compare(&booted, part == Part::Everything)
            .into_iter()
            .partition(|it| stale.is_some() && matches!(it, Difference::Name { .. }));
        names.iter().for_each(|name| say!("{}: not compared: {name}", self.series));
        others.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.series)?;
        if !self.before.is_empty() {
            write!(f, "booted twice, because the first boot failed: {}; ", self.before.join(", "))?;
        }
        if let Some(log) = &self.passed {
            let (tests, all) = (log.passed(), log.tests.len());
            let (trials, release) = (log.cells.len(), &log.release);
            write!(f, "{trials} trials, {tests} of {all} live tests on {release} in {} s", self.seconds)?;
            let repeated = log.cells.iter().filter(|cell| cell.again);
            for cell in repeated {
                write!(f, "; repeated: {} over {} from {}", cell.outcome, cell.family, cell.source)?;
            }
            let again = log.tests.iter().filter(|test| test.again).map(|test| format!("; second run: {}", test.name));
            return again.collect::<Vec<_>>().iter().try_for_each(|test| f.write_str(test));
        }
        writeln!(f, "FAILED after {} s; its console and its lines are in {}", self.seconds, self.work.display())?;
        write!(f, "    {}", self.faults.join("\n    "))
    }
}
