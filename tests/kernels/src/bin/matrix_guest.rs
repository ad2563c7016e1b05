// SPDX-License-Identifier: MIT OR Apache-2.0
//! Process 1 of a guest of `matrix`. It mounts file systems, loads the modules, and starts a child
//! that runs the demo, the scenarios and the live tests. An argument after `--` on the kernel's
//! command line selects a part: `--probe` runs nothing, `--scenarios` and `--sample-…` are in
//! [`Part`], and anything else runs the live tests whose names begin with it.

use std::env;
use std::error::Error;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::process::{Command, ExitCode};

use retrans_kernels::accelerator::PROBE;
use retrans_kernels::guest::{self, COARSE_CLOCK, Part};
use retrans_kernels::image::GUEST_MODULES;
use retrans_lab::privilege;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::system::{RebootCommand, finit_module, reboot};

/// The serial port that the kernel does not write to.
const LINES: &str = "/dev/ttyS1";

/// The file systems to mount. /tmp is not one of them, because the programs may have been built
/// below it.
const MOUNTS: [(&str, &str); 7] = [
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("tracefs", "/sys/kernel/tracing"),
    ("bpf", "/sys/fs/bpf"),
    ("cgroup2", "/sys/fs/cgroup"),
];

/// The file that names the kernel's clock source. An emulated kernel without another one than the
/// TSC falls back to its tick if it cannot calibrate the TSC, because the host was busy at that
/// moment. Then two events of one tick are simultaneous for TCP, and fewer kinds are proven than on
/// a host.
const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let is_init = std::process::id() == 1;
    let result = if is_init { init() } else { tell() };
    if let Err(error) = &result {
        eprintln!("matrix_guest: {error}");
    }
    if is_init {
        // If process 1 returned, the kernel would panic. The emulator exits on a reboot
        // (`-no-reboot`).
        let refused = reboot(RebootCommand::Restart);
        eprintln!("matrix_guest: cannot reboot: {refused:?}");
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn init() -> Result<()> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place)?;
        mount(kind, place, kind, MountFlags::empty(), None::<&CStr>).map_err(|errno| format!("{place}: {errno}"))?;
    }
    let mut modules: Vec<_> = match fs::read_dir(GUEST_MODULES) {
        Ok(directory) => directory.collect::<io::Result<_>>()?,
        // This kernel has no modules.
        Err(_) => Vec::new(),
    };
    modules.sort_by_key(fs::DirEntry::file_name);
    for module in modules {
        let file = File::open(module.path())?;
        finit_module(&file, c"", 0).map_err(|errno| format!("{:?}: {errno}", module.path()))?;
    }
    // On a host the loopback device is already up.
    let up = Command::new("/bin/ip").args(["link", "set", "lo", "up"]).status()?;
    if !up.success() {
        return Err(format!("the loopback device: {up}").into());
    }
    // Kernels before 5.11 count BPF maps against this limit.
    let unlimited = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Memlock, unlimited).map_err(|errno| format!("RLIMIT_MEMLOCK: {errno}"))?;
    // Process 1 starts with the kernel's limit of 1024 descriptors, which login programs raise. A
    // test opens sixty streams at once.
    let many = Rlimit { current: Some(1 << 16), maximum: Some(1 << 16) };
    setrlimit(Resource::Nofile, many).map_err(|errno| format!("RLIMIT_NOFILE: {errno}"))?;
    // A child, because a hardened kernel treats process 1 as a special case (see
    // `observe::undisturbed`).
    let status = Command::new("/init").args(env::args().skip(1)).env("PATH", "/bin").status()?;
    if !status.success() {
        return Err(format!("its child: {status}").into());
    }
    Ok(())
}

fn tell() -> Result<()> {
    let mut lines = File::options().write(true).open(LINES)?;
    let argument = env::args().nth(1);
    if argument.as_deref() != Some(PROBE) && fs::read_to_string(CLOCK)?.trim().ends_with("jiffies") {
        return Ok(writeln!(lines, "{COARSE_CLOCK}")?);
    }
    writeln!(lines, "guest release={}", guest::release()?)?;
    match (argument.as_deref(), Part::of(argument.as_deref())) {
        (Some(PROBE), _) => Ok(()),
        (_, Some(part)) => {
            demo(&mut lines)?;
            Ok(guest::run(&mut lines, part)?)
        }
        (prefix, None) => Ok(guest::run_tests(prefix.unwrap_or_default(), &mut lines)?),
    }
}

/// Writes the demo's exit status and its table. The rest of its output differs from boot to boot.
fn demo(lines: &mut File) -> Result<()> {
    // Without privileges the demo would replay its recording.
    privilege::check()?;
    let output = Command::new("retrans").arg("demo").output()?;
    io::stderr().write_all(&output.stderr)?;
    if !output.status.success() {
        io::stderr().write_all(&output.stdout)?;
    }
    writeln!(lines, "demo exit={}", output.status.code().unwrap_or(-1))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = text.lines().skip_while(|line| !is_head(line));
    Ok(rows.take_while(|line| !line.is_empty()).try_for_each(|line| writeln!(lines, "demo | {line}"))?)
}

/// Returns whether this line contains the names of the columns of the demo's table.
fn is_head(line: &str) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    ["result", "class", "errno", "events"].iter().all(|name| words.contains(name))
}
