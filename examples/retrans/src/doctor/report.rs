// SPDX-License-Identifier: MIT OR Apache-2.0
//! The diagnosis for a person: the coverage, what is not observable, and what to do about it.

use std::fmt::Write as _;

use retrans_sdk::attach::{AttachMethod, CgroupMode, Coverage, Diagnosis, Support, Unobservable};
use retrans_sdk::format::Escaped;

use super::tried;
use crate::output::Paint;

/// The data of the report.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) coverage: Coverage,
    pub(crate) kernel: String,
    pub(crate) lockdown: Option<String>,
    pub(crate) cgroups: CgroupMode,
    /// The reason that `Filter::current_cgroup` is not available.
    pub(crate) no_current_cgroup: Option<String>,
    /// The names of features. A feature that is not available has a reason.
    pub(crate) available: Vec<(&'static str, Option<String>)>,
    /// The names of capabilities, each with true if it is held.
    pub(crate) capabilities: Vec<(&'static str, bool)>,
    pub(crate) stream: Result<Attached, String>,
}

/// The attachment of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Attached {
    pub(crate) method: AttachMethod,
    pub(crate) companion: Option<AttachMethod>,
    /// The time to open the stream, in milliseconds.
    pub(crate) took: f64,
    pub(crate) unobservable: Vec<Unobservable>,
    /// Better attach methods, and why they were not used.
    pub(crate) unavailable: Vec<(String, String)>,
}

impl Report {
    pub(crate) fn of(diagnosis: &Diagnosis) -> Self {
        let available = tried(diagnosis).map(|(name, found)| match found {
            Support::Unavailable { reason } => (name, Some(reason.clone())),
            _ => (name, None),
        });
        let stream = match &diagnosis.attachment {
            Ok(attachment) => Ok(Attached {
                method: attachment.method,
                companion: attachment.companion,
                took: attachment.timing.total.as_secs_f64() * 1e3,
                unobservable: attachment.unobservable().collect(),
                unavailable: attachment
                    .unavailable()
                    .map(|better| (better.name(), better.reason().unwrap_or_default().to_owned()))
                    .collect(),
            }),
            Err(why) => Err(why.clone()),
        };
        Self {
            coverage: diagnosis.coverage(),
            kernel: Escaped::value(&diagnosis.kernel).to_string(),
            lockdown: diagnosis.lockdown.as_ref().map(|mode| Escaped::value(mode).to_string()),
            cgroups: diagnosis.cgroup_mode,
            no_current_cgroup: match &diagnosis.current_cgroup {
                Support::Unavailable { reason } => Some(reason.clone()),
                _ => None,
            },
            available: available.to_vec(),
            capabilities: diagnosis.capabilities.iter().map(|found| (found.name, found.held)).collect(),
            stream,
        }
    }

    pub(crate) fn render(&self, paint: Paint) -> String {
        let mut text = self.headline(paint);
        text += "\n";
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  kernel         {}", self.kernel);
        let lockdown = self.lockdown.as_deref().unwrap_or("unknown: /sys/kernel/security/lockdown cannot be read");
        let _ = writeln!(text, "  lockdown       {lockdown}");
        let _ = writeln!(text, "  cgroups        {}: {}", self.cgroups, plain(self.cgroups.description()));
        if let Some(why) = &self.no_current_cgroup {
            let _ =
                writeln!(text, "                 Filter::current_cgroup() {}: {why}", paint.warning("not available"));
        }
        let held = |(name, held): &(&str, bool)| {
            format!("{name} {}", if *held { paint.good("held") } else { paint.warning("not held") })
        };
        let capabilities: Vec<_> = self.capabilities.iter().map(held).collect();
        let _ = writeln!(text, "  capabilities   {}", capabilities.join(", "));
        for (name, why) in &self.available {
            let _ = match why {
                None => writeln!(text, "  {name:<13}  {}", paint.good("available")),
                Some(why) => writeln!(text, "  {name:<13}  {}: {why}", paint.warning("not available")),
            };
        }
        match &self.stream {
            Ok(attached) => attached.render(&mut text, paint),
            Err(why) => {
                let _ = writeln!(text, "  stream         {}: {why}", paint.bad("cannot be opened"));
            }
        }
        let advice = self.advice();
        if !advice.is_empty() {
            let _ = writeln!(text, "\n{}", paint.bold("What to do"));
        }
        for step in advice {
            let _ = writeln!(text, "  - {step}");
        }
        text
    }

    fn headline(&self, paint: Paint) -> String {
        let (coverage, meaning) = match self.coverage {
            Coverage::Full => {
                (paint.good("full"), "A stream can observe everything that retrans can observe on any released kernel.")
            }
            Coverage::Degraded => {
                (paint.warning("degraded"), "A stream can be opened, but retrans could observe more on another kernel.")
            }
            _ => (paint.bad("unable"), "No stream can be opened."),
        };
        format!("{} {coverage}. {meaning}\n", paint.bold("Coverage:"))
    }

    /// Returns why something is not available.
    fn reason(&self, name: &str) -> Option<&str> {
        self.available.iter().find(|(known, _)| *known == name)?.1.as_deref()
    }

    fn is_missing(&self, name: &str) -> bool {
        self.reason(name).is_some()
    }

    /// Returns what to do about missing features, most important first.
    fn advice(&self) -> Vec<String> {
        let mut steps = Vec::new();
        let holds = |name: &str| self.capabilities.iter().any(|(known, held)| *known == name && *held);
        let missing: Vec<_> =
            ["CAP_BPF", "CAP_PERFMON"].into_iter().filter(|name| !holds(name) && !holds("CAP_SYS_ADMIN")).collect();
        if !missing.is_empty() {
            steps.push(format!(
                "Add {}: run retrans with sudo, or run `sudo setcap cap_bpf,cap_perfmon+ep \"$(command -v retrans)\"` once. In a container, \
                 add both capabilities to the container (docker run --cap-add BPF --cap-add PERFMON).",
                missing.join(" and ")
            ));
        }
        if let Some(why) = self.reason("btf") {
            steps.push(
                if why.contains("/sys/kernel/btf/vmlinux") && why.contains("No such file") {
                    "Make /sys/kernel/btf/vmlinux visible if /sys is masked here, use a kernel built with CONFIG_DEBUG_INFO_BTF=y, or name a \
                     file that contains the BTF of exactly this kernel (--btf FILE)."
                } else {
                    "Name a readable file that contains the BTF of exactly this kernel (--btf FILE), or make the kernel's own readable."
                }
                .into(),
            );
        }
        if self.lockdown.as_deref() == Some("confidentiality") && self.stream.is_err() {
            steps.push(
                "Boot with lockdown=integrity or without lockdown: `confidentiality` forbids the helper by which kprobes read kernel memory."
                    .into(),
            );
        }
        // Without the capabilities nothing else was tried.
        if !missing.is_empty() {
            return steps;
        }
        if self.is_missing("ring_buffer") {
            steps.push("Use Linux 5.8 or newer, which has the BPF ring buffer.".into());
        }
        if self.would_fexit_report_more() {
            // Profiles of seccomp filters answer with EPERM or ENOSYS.
            let refusals = ["not permitted", "Function not implemented"];
            let refused = |name| self.reason(name).is_some_and(|why| refusals.iter().any(|text| why.contains(text)));
            if refused("fexit") {
                steps.push(
                    "Allow tracing programs: the capabilities are held, but fexit is refused by a security module, kernel lockdown or a \
                     seccomp filter of the container."
                        .into(),
                );
            } else if self.is_missing("fexit") {
                steps.push(
                    "Make fexit available: run `sudo sysctl net.core.bpf_jit_enable=1`, and use a kernel built with CONFIG_BPF_JIT=y, \
                     CONFIG_DEBUG_INFO_BTF=y and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y."
                        .into(),
                );
            }
            if self.is_missing("kretprobe") {
                steps.push(
                    "Make kretprobe available: use a kernel built with CONFIG_KPROBES=y and CONFIG_BPF_EVENTS=y, and run \
                     `echo 1 | sudo tee /sys/kernel/debug/kprobes/enabled`."
                        .into(),
                );
            }
            if self.unobservable().contains(&Unobservable::Failures) {
                steps.push(
                    "Or use Linux 6.17 or newer, whose tracepoint reports failed attempts with their error.".into(),
                );
            }
        }
        if self.stream.is_err() {
            for (name, method) in [("fexit", AttachMethod::Fexit), ("kretprobe", AttachMethod::Kretprobe)] {
                if self.available.iter().any(|(known, why)| *known == name && why.is_none()) {
                    steps.push(format!("Try `retrans watch --attach-method {method}`: {method} is available."));
                }
            }
        }
        steps
    }

    fn unobservable(&self) -> &[Unobservable] {
        self.stream.as_ref().map_or(&[], |attached| &attached.unobservable)
    }

    /// Returns whether fexit would report something that the stream cannot observe.
    fn would_fexit_report_more(&self) -> bool {
        self.stream.is_err() || !self.unobservable().is_empty()
    }
}

impl Attached {
    fn render(&self, text: &mut String, paint: Paint) {
        let companion = self.companion.map(|companion| format!(" with {companion}")).unwrap_or_default();
        let _ = writeln!(text, "  attach method  {}{companion}, opened in {:.0} ms", self.method, self.took);
        if !self.unobservable.is_empty() {
            let _ = writeln!(text, "\n{}", paint.bold("Not observable"));
        }
        for what in &self.unobservable {
            let description = plain(what.description());
            let _ = writeln!(text, "  {:<15}  {description} Another attach method reports this.", what.to_string());
        }
        let width = self.unavailable.iter().map(|(method, _)| method.len()).max().unwrap_or_default();
        if !self.unavailable.is_empty() {
            let _ = writeln!(text, "\n{}", paint.bold("Better attach methods that were not used"));
        }
        for (method, why) in &self.unavailable {
            let _ = writeln!(text, "  {method:<width$}  {why}");
        }
    }
}

/// Returns a text of the documentation without backquotes.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const PLAIN: Paint = Paint { colors: false };

    fn full() -> Report {
        Report {
            coverage: Coverage::Full,
            kernel: "6.18.0".to_owned(),
            lockdown: Some("none".to_owned()),
            cgroups: CgroupMode::V2,
            no_current_cgroup: None,
            available: vec![("btf", None), ("ring_buffer", None), ("fexit", None), ("kretprobe", None)],
            capabilities: vec![("CAP_BPF", true), ("CAP_PERFMON", true), ("CAP_SYS_ADMIN", false)],
            stream: Ok(Attached {
                method: AttachMethod::TpErr,
                companion: Some(AttachMethod::Fexit),
                took: 31.4,
                unobservable: Vec::new(),
                unavailable: vec![(
                    "tp_enum+fexit".to_owned(),
                    "the tracepoint's third argument is int err".to_owned(),
                )],
            }),
        }
    }

    #[test]
    fn full_needs_nothing() {
        assert_snapshot!(full().render(PLAIN));
    }

    #[test]
    fn degraded_names_what_to_enable() {
        let mut report = full();
        report.coverage = Coverage::Degraded;
        report.available[2].1 = Some("the kernel has no BPF trampoline".to_owned());
        report.available[3].1 = Some("no kprobes".to_owned());
        let attached = report.stream.as_mut().expect("a stream");
        (attached.method, attached.companion) = (AttachMethod::TpSuccess, None);
        attached.unobservable = vec![Unobservable::Failures, Unobservable::SynackFailures];
        attached.unavailable.push(("fexit".to_owned(), "the kernel has no BPF trampoline".to_owned()));
        assert_snapshot!(report.render(PLAIN));
    }

    #[test]
    fn missing_capabilities_are_named_with_the_remedy() {
        let mut report = full();
        report.coverage = Coverage::Unable;
        report.capabilities = vec![("CAP_BPF", false), ("CAP_PERFMON", false), ("CAP_SYS_ADMIN", false)];
        report.stream = Err("missing CAP_BPF and CAP_PERFMON".to_owned());
        assert_snapshot!(report.render(PLAIN));
    }

    #[test]
    fn a_refusal_and_lockdown_have_their_own_advice() {
        let mut report = full();
        report.lockdown = Some("confidentiality".to_owned());
        let missing = |file: &str| Some(format!("cannot open {file}: No such file or directory (os error 2)"));
        report.available[0].1 = missing("/sys/kernel/btf/vmlinux");
        report.available[2].1 = Some("cannot load the programs: Operation not permitted (os error 1)".to_owned());
        report.stream = Err("no attach method".to_owned());
        let steps = report.advice().join("\n");
        for step in [
            "CONFIG_DEBUG_INFO_BTF=y",
            "lockdown=integrity",
            "refused by a security module",
            "--attach-method kretprobe",
        ] {
            assert!(steps.contains(step), "{step}: {steps}");
        }
        assert!(report.render(Paint { colors: true }).contains("\u{1b}["));

        // The file that the user named.
        report.available[0].1 = missing("/tmp/vmlinux");
        let steps = report.advice().join("\n");
        assert!(steps.contains("Name a readable file") && !steps.contains("/sys is masked"), "{steps}");

        // The answer of a seccomp filter that hides the system call.
        report.available[2].1 = Some("cannot load the programs: Function not implemented (os error 38)".to_owned());
        assert!(report.advice().join("\n").contains("seccomp filter of the container"), "{:?}", report.advice());
    }
}
