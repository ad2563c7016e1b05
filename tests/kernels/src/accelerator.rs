// SPDX-License-Identifier: MIT OR Apache-2.0
//! KVM where it boots one of these kernels, emulation (TCG) otherwise.
//!
//! # Design
//! That /dev/kvm can be opened, and even that a virtual CPU can be created, proves nothing: a host
//! that is itself a guest may offer KVM without hardware virtualization (kvm_pvm), which runs
//! kernels that are made for it and no other. So one of the kernels is booted with KVM first, up to
//! user space, within a deadline.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use retrans_lab::{Error, Result};

use crate::boot::{Emulator, boot_within};
use crate::image::Kernel;

/// Forces one of them.
pub const VARIABLE: &str = "MATRIX_ACCEL";

/// The argument of the guest that only has it report its release.
pub const PROBE: &str = "--probe";

/// A kernel takes two seconds with KVM; one that has not come up in this time does not.
const LIMIT: Duration = Duration::from_secs(30);

/// How guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By the host's processor.
    Kvm,
    /// By the emulator, which translates the guest's instructions.
    Tcg,
}

impl Accelerator {
    /// The emulator's arguments.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // Newer processors' instructions make no emulated one faster: with `max` a guest takes
            // a fifth longer. It needs randomness.
            Self::Tcg => ["-accel", "tcg", "-cpu", "qemu64,+rdrand"],
        }
    }

    /// Chooses one, and returns the reason.
    ///
    /// # Errors
    /// Returns an error if [`VARIABLE`] has another value than `kvm`, `tcg` or nothing.
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
        let booted = boot_within(LIMIT, emulator, Self::Kvm, kernel, programs, &[PROBE], work);
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
    fn the_variable_forces_one() {
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
