// SPDX-License-Identifier: MIT OR Apache-2.0
//! The accelerator of the guests: KVM if it boots one of these kernels, otherwise emulation (TCG).
//!
//! # Design
//! It proves nothing that /dev/kvm can be opened, or even that a virtual CPU can be created. A host
//! that is itself a guest may offer KVM without hardware virtualization (kvm_pvm), which runs only
//! kernels that are made for it. So one of the kernels is first booted with KVM up to user space,
//! with a deadline.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use retrans_lab::{Error, Result};

use crate::boot::{Emulator, boot_within};
use crate::image::Kernel;

/// The environment variable that forces an accelerator.
pub const VARIABLE: &str = "MATRIX_ACCEL";

/// The argument of the guest that makes it report only its release.
pub const PROBE: &str = "--probe";

/// The limit for the trial boot. A kernel boots in two seconds with KVM. If it is not up after this
/// time, it does not boot.
const LIMIT: Duration = Duration::from_secs(30);

/// The method by which guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's processor runs the guest.
    Kvm,
    /// The emulator translates the guest's instructions.
    Tcg,
}

impl Accelerator {
    /// Returns the emulator's arguments.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // The instructions of newer processors do not make an emulated one faster: with `max` a
            // guest is slower by a fifth. The guest needs randomness.
            Self::Tcg => ["-accel", "tcg", "-cpu", "qemu64,+rdrand"],
        }
    }

    /// Chooses an accelerator, and returns it with the reason.
    ///
    /// # Errors
    /// Returns an error if [`VARIABLE`] has a value other than `kvm`, `tcg` or the empty string.
    pub fn choose(emulator: &Emulator, kernel: &Kernel, programs: &[u8], work: &Path) -> Result<(Self, String)> {
        let forced = env::var(VARIABLE).unwrap_or_default();
        if let Some(forced) = of_variable(&forced)? {
            return Ok((forced, format!("{VARIABLE} is set")));
        }
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if !has_virtualization(&cpu) {
            return Ok((Self::Tcg, "the processor has no hardware virtualization (neither vmx nor svm)".to_owned()));
        }
        if let Err(error) = File::options().read(true).write(true).open("/dev/kvm") {
            return Ok((Self::Tcg, format!("/dev/kvm: {error}")));
        }
        let booted = boot_within(LIMIT, emulator, Self::Kvm, kernel, programs, "", &[PROBE], work);
        Ok(match booted {
            Ok(booted) if booted.lines.starts_with("guest release=") => {
                (Self::Kvm, "a trial boot succeeded".to_owned())
            }
            Ok(booted) => {
                let why = booted.complaints.first().map_or("no line from the guest", String::as_str);
                (Self::Tcg, format!("a trial boot with KVM failed: {why}"))
            }
            Err(error) => (Self::Tcg, format!("a trial boot with KVM failed: {error}")),
        })
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "emulation (TCG)",
        })
    }
}

fn of_variable(value: &str) -> Result<Option<Accelerator>> {
    match value {
        "" => Ok(None),
        "kvm" => Ok(Some(Accelerator::Kvm)),
        "tcg" => Ok(Some(Accelerator::Tcg)),
        other => Err(Error::new(format!("{VARIABLE} is {other:?}; it must be kvm or tcg"))),
    }
}

fn has_virtualization(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_forces_an_accelerator() {
        assert_eq!(of_variable("").unwrap(), None);
        assert_eq!(of_variable("kvm").unwrap(), Some(Accelerator::Kvm));
        assert_eq!(of_variable("tcg").unwrap(), Some(Accelerator::Tcg));
        assert_eq!(of_variable("hvf").unwrap_err().to_string(), "MATRIX_ACCEL is \"hvf\"; it must be kvm or tcg");
    }

    #[test]
    fn a_processor_without_virtualization_is_recognized() {
        assert!(has_virtualization("processor\t: 0\nflags\t\t: fpu vmx sse\nvmx flags\t: vnmi\n"));
        assert!(has_virtualization("flags\t\t: fpu svm\n"));
        assert!(!has_virtualization("flags\t\t: fpu hypervisor svme\n"));
        assert!(!has_virtualization(""));
    }
}
