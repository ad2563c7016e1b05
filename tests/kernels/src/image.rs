// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image of a guest: a kernel with the modules that the lab needs, and an initramfs with the
//! programs.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use retrans_lab::command::{run, run_within};
use retrans_lab::{Context, Error, Result};

use crate::build::{Built, Program};
use crate::debian::Archive;
use crate::list::{Package, Pinned};

/// Features that the lab needs and that may be modules.
const MODULES: [&str; 7] = ["veth", "tun", "nf_tables", "nft_numgen", "nft_reject_inet", "sch_fq", "sch_tbf"];

/// The host's programs that the lab, its tests and their shell scripts run.
const PROGRAMS: [&str; 14] =
    ["ip", "nft", "tc", "sh", "rmdir", "sleep", "env", "grep", "sed", "setpriv", "setsid", "unshare", "mount", "cat"];

/// The project's programs that a guest needs if it runs no live tests.
const SCENARIO_PROGRAMS: [&str; 2] = ["matrix_guest", "retrans"];

/// The file with a line for each live test: its name, a space, its program.
pub const GUEST_TESTS: &str = "/tests";

/// The directory of the modules in the guest. The names in it sort in load order.
pub const GUEST_MODULES: &str = "/modules";

/// The limit for indexing or decompressing the modules of a kernel.
const LIMIT: Duration = Duration::from_secs(120);

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The packages from which it was created.
    pub packages: Vec<Package>,
    /// The kernel's image.
    pub image: PathBuf,
    /// Its modules, in the order in which they load.
    pub modules: Vec<PathBuf>,
}

impl Kernel {
    /// Fetches the kernel from the archive, or uses the one in `cache` if it was fetched before.
    ///
    /// # Errors
    /// Returns an error if a package cannot be fetched, or if it contains no kernel.
    pub fn fetch(archive: &Archive, cache: &Path, pinned: &Pinned) -> Result<Self> {
        let package = archive.resolve(pinned)?;
        let ready = cache.join(package.file_name().trim_end_matches(".deb"));
        if !ready.exists() {
            // The directory is renamed when it is complete.
            let scratch = ready.with_extension("part");
            remove(&scratch)?;
            let (root, new) = (scratch.join("root"), scratch.join("new"));
            fs::create_dir_all(&new).with_context(|| format!("cannot create {new:?}"))?;
            let mut packages = vec![package.clone()];
            if let Some(rest) = package.name.strip_prefix("linux-binary-") {
                let modules = Package { name: format!("linux-modules-{rest}"), version: package.version.clone() };
                if archive.has(&pinned.suite, &modules)? {
                    packages.push(modules);
                }
            }
            for package in &packages {
                archive.unpack(package, &root)?;
            }
            keep(&root, &new)?;
            let names: String = packages.iter().map(|package| format!("{package}\n")).collect();
            fs::write(new.join("packages"), names).context("cannot write the packages' names")?;
            fs::rename(&new, &ready).with_context(|| format!("cannot create {ready:?}"))?;
            remove(&scratch)?;
        }
        Self::open(&ready)
    }

    fn open(ready: &Path) -> Result<Self> {
        let names = fs::read_to_string(ready.join("packages")).with_context(|| format!("cannot read {ready:?}"))?;
        let package = |line: &str| {
            let (name, version) = line.split_once('=')?;
            Some(Package { name: name.to_owned(), version: version.to_owned() })
        };
        let mut modules = files(&ready.join("modules"))?;
        modules.sort();
        Ok(Self { packages: names.lines().filter_map(package).collect(), image: ready.join("vmlinuz"), modules })
    }
}

/// Copies the files that a guest needs from an unpacked kernel.
fn keep(root: &Path, new: &Path) -> Result<()> {
    let is_image = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"));
    let all = files(root)?;
    let image = all.iter().find(|path| is_image(path)).ok_or_else(|| Error::new("the package contains no kernel"))?;
    fs::copy(image, new.join("vmlinuz")).with_context(|| format!("cannot copy {image:?}"))?;
    let to = new.join("modules");
    fs::create_dir(&to).with_context(|| format!("cannot create {to:?}"))?;

    // In older packages /lib is a directory.
    let place = ["usr/lib/modules", "lib/modules"].map(|place| root.join(place));
    let Some(place) = place.into_iter().find(|place| place.is_dir()) else { return Ok(()) };
    let Some(release) = fs::read_dir(&place).context("cannot read the modules")?.next() else { return Ok(()) };
    let release = release.context("cannot read the modules")?;
    let prefix = place.parent().and_then(Path::parent).ok_or_else(|| Error::new("no directory above the modules"))?;
    let mut depmod = Command::new(in_path("depmod")?);
    depmod.arg("-b").arg(prefix).arg(release.file_name());
    // A package that contains only modules lacks the lists of built-in modules, which depmod does
    // not require.
    run_within(LIMIT, depmod)?;
    let index = release.path().join("modules.dep");
    let index = fs::read_to_string(&index).with_context(|| format!("cannot read {index:?}"))?;
    for (number, module) in in_order(&index, &MODULES).iter().enumerate() {
        let bytes = decompressed(&release.path().join(module))?;
        let to = to.join(format!("{number:02}-{}.ko", name_of(module)));
        fs::write(&to, bytes).with_context(|| format!("cannot write {to:?}"))?;
    }
    Ok(())
}

/// Returns the paths of these modules and of their dependencies, in load order. A module that the
/// index lacks is built in or not available. The lab finds out in the guest.
fn in_order(index: &str, wanted: &[&str]) -> Vec<String> {
    // Each line contains a module, a colon, and all its dependencies, the nearest first.
    let needs: BTreeMap<&str, (&str, Vec<&str>)> = index
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| (name_of(module), (module, needs.split_whitespace().collect())))
        .collect();
    let mut order = Vec::new();
    for (module, needs) in wanted.iter().filter_map(|name| needs.get(name)) {
        for path in needs.iter().rev().chain([module]) {
            if !order.iter().any(|other| other == path) {
                order.push((*path).to_owned());
            }
        }
    }
    order
}

/// Returns the name of a module: `veth` for `kernel/drivers/net/veth.ko.xz`.
fn name_of(module: &str) -> &str {
    let file = module.rsplit('/').next().unwrap_or(module);
    file.split('.').next().unwrap_or(file)
}

fn decompressed(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).with_context(|| format!("cannot read {path:?}")),
    };
    let output = Command::new(program).arg("-dc").arg(path).output();
    let output = output.with_context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        return Err(Error::new(format!("`{program}` cannot read {path:?}")));
    }
    Ok(output.stdout)
}

/// Returns the part of the initramfs that is the same for all kernels. It contains `matrix_guest`
/// as the first process, the project's programs and these files at the same paths as here, the
/// host's programs that the lab runs, and the libraries of all of them. If `tests` is false, it
/// does not contain the live tests.
///
/// # Errors
/// Returns an error if a program, a library or a file is missing.
pub fn programs(built: &Built, files: &[PathBuf], tests: bool) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    for directory in ["bin", "dev", "proc", "sys", "tmp", "run"] {
        cpio.directory(directory);
    }
    // The first process needs both devices before it mounts anything.
    cpio.device("dev/console", (5, 1));
    cpio.device("dev/null", (1, 3));
    let mut libraries = BTreeSet::new();
    let mut add = |cpio: &mut Cpio, path: &Path, to: &str| -> Result<()> {
        let mut ldd = Command::new("ldd");
        ldd.arg(path);
        libraries.extend(libraries_of(&run(ldd)?)?);
        cpio.file_of(path, to)
    };
    let is_needed = |program: &&Program| tests || SCENARIO_PROGRAMS.contains(&program.name.as_str());
    for program in built.programs.iter().filter(is_needed) {
        add(&mut cpio, &program.stripped, &inside(&program.place))?;
    }
    cpio.link("init", &built.program("matrix_guest")?.place);
    cpio.link("bin/retrans", &built.program("retrans")?.place);
    for program in PROGRAMS {
        add(&mut cpio, &in_path(program)?, &format!("bin/{program}"))?;
    }
    for path in libraries.iter().chain(files) {
        cpio.file_of(path, &inside(path))?;
    }
    let tests = built.tests.iter().filter(|_| tests).map(|(name, place)| format!("{name} {}\n", place.display()));
    cpio.file(&inside(Path::new(GUEST_TESTS)), tests.collect::<String>().as_bytes());
    Ok(cpio.finish())
}

/// Returns the name of an absolute path in the archive.
fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// Returns the part of the initramfs with a kernel's modules.
///
/// # Errors
/// Returns an error if a module cannot be read.
pub fn modules(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    for path in &kernel.modules {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        cpio.file_of(path, &format!("{}/{name}", GUEST_MODULES.trim_start_matches('/')))?;
    }
    Ok(cpio.finish())
}

pub(super) fn in_path(program: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // These directories are not in the PATH of an unprivileged user.
    let directories = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = directories.map(|directory| directory.join(program)).find(|path| path.is_file());
    found.ok_or_else(|| Error::new(format!("no program `{program}`")))
}

/// Reads `name => /path (0x…)` and `/path (0x…)`. The kernel's own library has no path.
fn libraries_of(ldd: &str) -> Result<Vec<PathBuf>> {
    let missing = ldd.lines().find(|line| line.contains("not found"));
    if let Some(line) = missing {
        return Err(Error::new(format!("a library is missing: {}", line.trim())));
    }
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(ldd.lines().filter_map(path).collect())
}

/// An archive in the format that the kernel unpacks (`newc`).
#[derive(Debug, Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

impl Cpio {
    fn directory(&mut self, path: &str) {
        if self.directories.insert(path.to_owned()) {
            self.entry(path, DIRECTORY, (0, 0), &[]);
        }
    }

    fn device(&mut self, path: &str, number: (u32, u32)) {
        self.entry(path, CHARACTER_DEVICE, number, &[]);
    }

    fn file_of(&mut self, from: &Path, to: &str) -> Result<()> {
        self.file(to, &fs::read(from).with_context(|| format!("cannot read {from:?}"))?);
        Ok(())
    }

    fn file(&mut self, path: &str, bytes: &[u8]) {
        for (end, _) in path.match_indices('/') {
            self.directory(&path[..end]);
        }
        self.entry(path, FILE, (0, 0), bytes);
    }

    fn link(&mut self, path: &str, to: &Path) {
        self.entry(path, LINK, (0, 0), to.as_os_str().as_bytes());
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), bytes: &[u8]) {
        self.entries += 1;
        let (links, size, name) = (1, bytes.len() as u32, path.len() as u32 + 1);
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name, 0];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.map(|field| format!("{field:08x}")).concat().bytes());
        self.bytes.extend(path.bytes().chain([0]));
        self.pad();
        self.bytes.extend(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

/// Returns all files below a directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {directory:?}"))? {
        let entry = entry.with_context(|| format!("cannot read {directory:?}"))?;
        let kind = entry.file_type().context("cannot read a file's type")?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes a directory if it exists.
///
/// # Errors
/// Returns an error if it cannot be removed.
pub fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {directory:?}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_precede_their_module() {
        let index = "k/veth.ko.xz:\nk/nf_tables.ko: k/nfnetlink.ko.zst k/crc.ko\nk/nfnetlink.ko.zst:\nk/crc.ko:\n\
            k/nft_reject.ko: k/nf_tables.ko k/nfnetlink.ko.zst k/crc.ko\n";
        let order = in_order(index, &["veth", "nf_tables", "tun", "nft_reject"]);
        assert_eq!(order, ["k/veth.ko.xz", "k/crc.ko", "k/nfnetlink.ko.zst", "k/nf_tables.ko", "k/nft_reject.ko"]);
        assert_eq!(name_of("kernel/net/nft_reject.ko.xz"), "nft_reject");
    }

    #[test]
    fn the_output_of_ldd_is_read() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibelf.so.1 => /lib/x86_64-linux-gnu/libelf.so.1 (0x00007f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths = libraries_of(ldd).unwrap();
        assert_eq!(paths, ["/lib/x86_64-linux-gnu/libelf.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from));
        assert!(libraries_of("\tlibz.so.1 => not found\n").is_err());
    }

    #[test]
    fn an_archive_has_the_newc_format() {
        let mut cpio = Cpio::default();
        cpio.entry("a", FILE, (0, 0), b"12345");
        let bytes = cpio.finish();
        assert_eq!(&bytes[..14], b"07070100000001");
        // Header and name occupy 112 bytes, and the contents are padded to a multiple of four.
        assert_eq!((&bytes[110..112], &bytes[112..120]), (&b"a\0"[..], &b"12345\0\0\0"[..]));
        assert_eq!(&bytes[54..62], b"00000005");
        assert_eq!(bytes.len(), 120 + 124);
    }
}
