// SPDX-License-Identifier: MIT OR Apache-2.0
//! One boot in the emulator, and the output on its console.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use retrans_lab::command::run_within;
use retrans_lab::{Context, Error, Result};

use crate::accelerator::Accelerator;
use crate::debian::Archive;
use crate::image::{Kernel, modules, remove};
use crate::list::{Package, Pinned};

/// The limit for one guest. With two CPUs for two guests, most needed 900 to 1,400 s, and one was
/// 20 s from its end after 1,500 s.
const LIMIT: Duration = Duration::from_secs(2400);

/// The memory of a guest in MiB, and the memory of a guest whose programs are larger than
/// [`LARGE`]. At most half of it can be files. Programs of the dev profile need the larger size.
const MEMORY: [&str; 2] = ["1024", "2048"];
const LARGE: usize = 256 << 20;

/// Warnings and worse messages go to the console. The kernel must not compare the TSC with another
/// clock, because the result would depend on the host's load.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=5 panic=-1 oops=panic tsc=reliable";

/// Texts that a console must not contain, each with the word that it is reported with.
const COMPLAINTS: [(&str, &str); 9] = [
    ("Kernel panic", "panic"),
    ("possible recursive locking", "lockdep"),
    ("WARNING: ", "WARN"),
    ("BUG: ", "BUG"),
    ("kernel BUG at", "BUG"),
    ("Oops: ", "oops"),
    ("general protection fault", "oops"),
    ("rcu: INFO:", "stall"),
    ("blocked for more than", "hang"),
];

/// A QEMU of a fixed version with its own libraries, including libc, so that the host's libraries
/// do not matter.
#[derive(Debug)]
pub struct Emulator {
    root: PathBuf,
}

impl Emulator {
    /// Fetches the emulator from the archive, or uses the one in `cache` if it was fetched before.
    ///
    /// # Errors
    /// Returns an error if the package cannot be downloaded or unpacked.
    pub fn fetch(archive: &Archive, cache: &Path, pinned: &Pinned) -> Result<Self> {
        let ready = |package: &Package| cache.join(package.file_name().trim_end_matches(".deb"));
        // The archive is not queried for a package that is unpacked already, because the packages
        // are not kept.
        if ready(&pinned.package).exists() {
            return Ok(Self { root: ready(&pinned.package) });
        }
        let package = archive.resolve(pinned)?;
        let root = ready(&package);
        if package != pinned.package {
            eprintln!("emulator: {package} instead of {}, which the archive no longer has", pinned.package);
        }
        if !root.exists() {
            let scratch = root.with_extension("part");
            remove(&scratch)?;
            archive.unpack_whole(pinned, &package, &scratch)?;
            fs::rename(&scratch, &root).with_context(|| format!("cannot create {root:?}"))?;
        }
        Ok(Self { root })
    }

    /// Returns the command, without the kernel and the initramfs. The emulator ends when the thread
    /// that started it ends.
    fn command(&self, accelerator: Accelerator, memory: &str) -> Command {
        let at = |path: &str| self.root.join(path);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        command.arg(at("usr/lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(at("usr/lib/x86_64-linux-gnu"));
        command.arg(at("usr/bin/qemu-system-x86_64"));
        command.arg("-L").arg(at("usr/share/qemu")).arg("-L").arg(at("usr/share/seabios"));
        command.env("QEMU_MODULE_DIR", at("usr/lib/x86_64-linux-gnu/qemu"));
        command.args(accelerator.arguments()).args(["-smp", "1", "-m", memory]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command
    }
}

/// The output of one boot.
#[derive(Debug)]
pub struct Booted {
    /// The lines that the guest wrote.
    pub lines: String,
    /// The file with the kernel's console.
    pub console: PathBuf,
    /// Complaints of the kernel or the emulator. A boot with a complaint is not valid.
    pub complaints: Vec<String>,
}

/// Boots `kernel` in the directory `work`, with an initramfs of `programs` and the kernel's
/// modules, until it has powered off. Its first process gets the arguments. The options are added
/// to the kernel's command line.
///
/// # Errors
/// Returns an error if a file cannot be read or written. A failure in the guest is a complaint.
pub fn boot(
    emulator: &Emulator,
    accelerator: Accelerator,
    kernel: &Kernel,
    programs: &[u8],
    options: &str,
    arguments: &[&str],
    work: &Path,
) -> Result<Booted> {
    boot_within(LIMIT, emulator, accelerator, kernel, programs, options, arguments, work)
}

/// Does the same as [`boot`], with another limit.
#[allow(clippy::too_many_arguments)]
pub(crate) fn boot_within(
    limit: Duration,
    emulator: &Emulator,
    accelerator: Accelerator,
    kernel: &Kernel,
    programs: &[u8],
    options: &str,
    arguments: &[&str],
    work: &Path,
) -> Result<Booted> {
    remove(work)?;
    fs::create_dir_all(work).with_context(|| format!("cannot create {work:?}"))?;
    let [console, lines] = ["console.log", "lines"].map(|name| work.join(name));
    // The file is in memory, so that nothing remains on disk.
    let mut initrd = File::from(memfd_create("initrd", MemfdFlags::CLOEXEC).context("memfd_create")?);
    [programs, &modules(kernel)?]
        .iter()
        .try_for_each(|part| initrd.write_all(part))
        .context("cannot create the initramfs")?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), initrd.as_raw_fd());
    let mut command = emulator.command(accelerator, MEMORY[usize::from(programs.len() > LARGE)]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&path).arg("-append");
    command.arg(format!("{COMMAND_LINE} {options} -- {}", arguments.join(" ")));
    // Two ports, so that the kernel's messages do not interrupt the guest's lines.
    for port in [&console, &lines] {
        command.arg("-serial").arg(format!("file:{}", port.display()));
    }
    let ended = run_within(limit, command);
    drop(initrd);
    let read = |path: &Path| {
        let bytes = fs::read(path).with_context(|| format!("cannot read {path:?}"))?;
        Ok::<_, Error>(String::from_utf8_lossy(&bytes).replace('\r', ""))
    };
    // The guest's terminals end lines with CR LF.
    let (said, lines) = (read(&console)?, read(&lines)?);
    // Leaves out the command line, which is long.
    let failed = |error: Error| format!("emulator: {}", error.to_string().rsplit("` ").next().unwrap_or_default());
    let mut complaints: Vec<String> = ended.err().map(failed).into_iter().collect();
    complaints.extend(complaints_in(&said));
    Ok(Booted { lines, console, complaints })
}

/// Returns the complaints in the text of a console.
pub fn complaints_in(console: &str) -> Vec<String> {
    let complaint = |line: &str| {
        let (_, name) = COMPLAINTS.iter().find(|(text, _)| line.contains(text))?;
        Some(format!("{name}: {}", line.trim()))
    };
    console.lines().filter_map(complaint).collect()
}

#[cfg(test)]
mod tests {
    use super::complaints_in;

    #[test]
    fn complaints_on_a_console_are_found() {
        let console = "[    0.1] Linux version 7.3\n[    1.0] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1\n\
            [    2.0] WARNING: possible recursive locking detected\n[    3.0] BUG: kernel NULL pointer dereference\n\
            [    4.0] Kernel panic - not syncing: Fatal exception\n";
        let names: Vec<_> =
            complaints_in(console).iter().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(names, ["WARN", "lockdep", "BUG", "panic"]);
        assert!(complaints_in("[    0.1] Linux version 7.3\n").is_empty());
    }
}
