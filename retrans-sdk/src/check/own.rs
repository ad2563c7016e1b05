// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares a table of the application with one enum.
//!
//! Such a table lists a kernel's reasons as they were when it was written, and is compared with
//! older and newer kernels. A number under another name is a difference. A number without a name is
//! not, since the table carries it.

use std::collections::BTreeSet;
use std::path::Path;

use super::{CEnum, Compared, Finding, Report, compare, enums_as_written};
use crate::error::Error;
use crate::kernel;
use crate::text::escape::Escaped;
use crate::text::reason_table::ReasonTable;

/// Compares a table of the application with an enum of the running kernel, by the names of the
/// enumerators.
///
/// `name` is the name of the enum in C, such as `skb_drop_reason`. Only enums of the kernel itself
/// are searched, not the enums of its modules. The variants whose `c_name` begins with `prefix` are
/// compared with the enumerators that begin with it. An empty prefix selects all.
///
/// A [`Finding`] is:
///
/// - an enumerator with another number than in the table ([`Finding::Renumbered`]): raw numbers of
///   this kernel would be misnamed;
/// - an enumerator of the table that this kernel lacks ([`Finding::Missing`]): misspelt, renamed
///   since, or younger than this kernel. A tool that runs on older kernels too may accept this one;
/// - an enumerator that the table lacks, and whose number is another enumerator's in the table
///   ([`Finding::Extra`]);
/// - no such enum ([`Finding::NoEnum`]), or no such variant ([`Finding::NothingToCompare`]):
///   nothing was compared.
///
/// Other enumerators that the table lacks, such as enumerators of newer kernels and end markers
/// such as `…_MAX`, are in [`Report::kernel_only`]. They are not differences:
/// [`ReasonTable::from_raw`] carries their numbers.
///
/// Requires Linux 5.10 with BTF, which every user may read. The enum may be younger:
/// `skb_drop_reason` is in Linux 5.17 and newer, `sk_rst_reason` in 6.10.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::{check, reason_table};
///
/// /// A reason for which a packet was dropped, as far as this tool uses it.
/// #[reason_table(key = "drop", c_prefix = "SKB_DROP_REASON_")]
/// enum Drop {
///     /// No socket matches the packet.
///     NoSocket = 3,
///     /// The socket's receive buffer is full.
///     #[reason(value = "rcvbuf")]
///     SocketRcvbuff = 6,
/// }
///
/// let report = check::table_in_running_kernel::<Drop>("skb_drop_reason", "SKB_DROP_REASON_")?;
/// assert!(report.passed(), "{report}");
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
///
/// # Errors
///
/// - [`ErrorKind::NoBtf`](crate::ErrorKind::NoBtf) if there is no BTF to compare the table with
/// - [`ErrorKind::System`](crate::ErrorKind::System) if the BTF is invalid
pub fn table_in_running_kernel<T: ReasonTable>(name: &str, prefix: &str) -> Result<Report, Error> {
    table_in_btf::<T>(Path::new(kernel::VMLINUX), name, prefix)
}

/// Compares a table as [`table_in_running_kernel`] does, with the BTF in a file: BTF of another
/// kernel, or an object with BTF.
///
/// # Errors
///
/// As [`table_in_running_kernel`].
pub fn table_in_btf<T: ReasonTable>(path: &Path, name: &str, prefix: &str) -> Result<Report, Error> {
    let enums = kernel::enums(&kernel::read_btf(path)?)?;
    Ok(report::<T>(format!("BTF in {}", Escaped::path(path)), &enums, name, prefix))
}

/// Compares a table as [`table_in_running_kernel`] does, with the bytes of an object, such as one
/// that a tool embeds.
///
/// Clang writes only the enums that the object's source uses.
///
/// # Errors
///
/// As [`table_in_running_kernel`].
pub fn table_in_object<T: ReasonTable>(object: &[u8], name: &str, prefix: &str) -> Result<Report, Error> {
    Ok(report::<T>("object".to_owned(), &kernel::enums_of_object(object)?, name, prefix))
}

/// Compares a table as [`table_in_running_kernel`] does, with a C header, such as a kernel tree's
/// `include/net/dropreason-core.h`.
///
/// An enumerator whose value is not a number, a sum or a shift is a [`Finding::Unread`], and the
/// enumerators after it are not compared.
///
/// # Errors
///
/// [`ErrorKind::System`](crate::ErrorKind::System) if the file cannot be read, or is larger than 16
/// MiB.
pub fn table_in_header<T: ReasonTable>(path: &Path, name: &str, prefix: &str) -> Result<Report, Error> {
    Ok(report::<T>(format!("header {}", Escaped::path(path)), &enums_as_written(path)?, name, prefix))
}

fn report<T: ReasonTable>(subject: String, enums: &[CEnum], name: &str, prefix: &str) -> Report {
    let mut report = Report::new(subject);
    // In BTF a declared enum without a definition has no enumerators, and an enum that two files
    // define differently occurs twice.
    let has_any = |found: &CEnum| !found.values.is_empty() || found.unread.is_some();
    let mut found = enums.iter().filter(|found| found.name.as_deref() == Some(name) && has_any(found)).peekable();
    if found.peek().is_none() {
        report.findings.push(Finding::NoEnum { what: format!("enum {}", Escaped::value(name)) });
    }
    found.for_each(|found| report.hold_own::<T>(found, prefix));
    report
}

impl Report {
    /// As [`hold`](Self::hold), for a table that does not require all enumerators.
    fn hold_own<T: ReasonTable>(&mut self, found: &CEnum, prefix: &str) {
        let Compared { enumerators, findings } = compare::<T>(found, prefix);
        if enumerators == 0 {
            self.findings.push(Finding::NothingToCompare { key: T::KEY, prefix: prefix.to_owned() });
            return;
        }
        let theirs = found.with_prefix(prefix);
        let is_right = |entry: &&crate::text::reason_table::Entry<T>| {
            entry.c_name.and_then(|name| theirs.get(name)).is_some_and(|&theirs| theirs == i64::from(entry.number))
        };
        let right: BTreeSet<u32> = T::ALL.iter().filter(is_right).map(|entry| entry.number).collect();
        let numbers: BTreeSet<u32> = T::ALL.iter().map(|entry| entry.number).collect();
        // An unlisted number is reported as it is. An enumerator with the number of a variant that
        // matches is a second name.
        let does_no_harm = |number: i64| {
            u32::try_from(number).map_or(true, |number| !numbers.contains(&number) || right.contains(&number))
        };
        let mut differences = Vec::new();
        for finding in findings {
            match finding {
                Finding::Extra { c_name, number } if does_no_harm(number) => self.kernel_only.push((c_name, number)),
                finding => differences.push(finding),
            }
        }
        self.kernel_only.sort_by_key(|(_, number)| *number);
        if differences.is_empty() {
            self.note_agreement::<T>(found, enumerators);
        }
        let others = T::ALL.len() - enumerators;
        if others > 0 {
            self.notes.push(format!("variants of `{}` without such a c_name, not compared: {others}", T::KEY));
        }
        self.findings.append(&mut differences);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::testing::Made;
    use retrans_macros::reason_table;

    /// A reason for rain.
    #[reason_table(key = "rain")]
    enum Rain {
        /// A front.
        #[reason(value = "front", c_name = "RAIN_FRONT")]
        Front = 1,
        /// A thunderstorm.
        #[reason(value = "storm", c_name = "RAIN_STORM")]
        Storm = 2,
        /// A reason of the tool, which no kernel has.
        #[reason(value = "sprinkler")]
        Sprinkler = 900,
    }

    /// Compares the table with the same enum in a kernel's BTF, in an object and in a header.
    fn reports(source: &str) -> [Report; 3] {
        let (object, header) = (Made::object(source), Made::header(source));
        let (name, prefix) = ("rain_reason", "RAIN_");
        [
            table_in_btf::<Rain>(object.as_path(), name, prefix),
            table_in_object::<Rain>(&object.bytes(), name, prefix),
            table_in_header::<Rain>(header.as_path(), name, prefix),
        ]
        .map(|report| report.expect("it can be read"))
    }

    fn texts(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(Finding::to_string).collect()
    }

    /// Verifies that each of the three reports, of an enum with this body, has these findings and
    /// these enumerators that only the kernel has.
    fn each_has(body: &str, findings: &[&str], kernel_only: &[(&str, i64)]) {
        for report in reports(&format!("enum rain_reason {{ {body} }}; volatile enum rain_reason why;")) {
            assert_eq!(texts(&report.findings), findings, "{report}");
            assert_eq!(
                report.kernel_only,
                Vec::from_iter(kernel_only.iter().map(|&(name, number)| (name.to_owned(), number)))
            );
            assert_eq!(report.passed(), findings.is_empty());
            let verdict = if findings.is_empty() { "matches" } else { "DIFFERS" };
            assert!(report.to_string().contains(&format!(": {verdict}\n")), "{report}");
        }
    }

    #[test]
    fn a_matching_enum_passes_and_the_report_lists_the_comparison() {
        each_has("RAIN_NONE, RAIN_FRONT, RAIN_STORM", &[], &[("RAIN_NONE", 0)]);
        for report in reports(
            "enum rain_reason { RAIN_FRONT = 1, RAIN_STORM, RAIN_MAX, RAIN_LAST = 9 }; volatile enum rain_reason why;",
        ) {
            let (_, rest) =
                report.to_string().split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("lines");
            assert_eq!(
                rest,
                "  enum rain_reason: 2 enumerators match `rain`
  variants of `rain` without such a c_name, not compared: 1
  only in the kernel, not a difference: RAIN_MAX = 3, RAIN_LAST = 9"
            );
        }
    }

    #[test]
    fn findings_are_printed_before_ten_enumerators_that_only_the_kernel_has() {
        let only: Vec<_> = (0..12).map(|number| format!("RAIN_NEW{number} = {}", number + 10)).collect();
        let body = format!("RAIN_FRONT = 2, RAIN_STORM = 3, {}", only.join(", "));
        for report in reports(&format!("enum rain_reason {{ {body} }}; volatile enum rain_reason why;")) {
            let text = report.to_string();
            let lines: Vec<_> = text.lines().collect();
            assert!(lines[0].ends_with(": DIFFERS"), "{text}");
            assert_eq!(
                lines[1..3],
                ["  RAIN_FRONT is 2, in the table 1", "  RAIN_STORM is 3, in the table 2"],
                "{text}"
            );
            let names = only[..10].join(", ");
            assert_eq!(lines[4], format!("  only in the kernel, not a difference: {names}, and 2 more"), "{text}");
            assert_eq!((report.kernel_only.len(), lines.len()), (12, 5), "{text}");
        }
    }

    #[test]
    fn enumerators_that_only_the_kernel_has_are_not_differences() {
        let kernel_only = [("RAIN_LAST", 2), ("RAIN_HAIL", 3), ("RAIN_LARGE", 0x10003)];
        each_has(
            "RAIN_FRONT = 1, RAIN_STORM, RAIN_HAIL, RAIN_LAST = RAIN_STORM, RAIN_LARGE = 0x10003",
            &[],
            &kernel_only,
        );
        // Enumerators with another prefix belong to another table.
        each_has("SNOW_MAX, RAIN_FRONT, RAIN_STORM", &[], &[]);
    }

    #[test]
    fn numbers_under_another_name_are_found() {
        // An inserted enumerator, as in new kernels.
        let found = ["RAIN_STORM is 3, in the table 2", "RAIN_HAIL = 2 is in no table"];
        each_has("RAIN_FRONT = 1, RAIN_HAIL, RAIN_STORM", &found, &[]);
        // With the number of a variant that the kernel does not have.
        each_has("RAIN_FRONT = 1, RAIN_STORM, RAIN_SPRAY = 900", &["RAIN_SPRAY = 900 is in no table"], &[]);
    }

    #[test]
    fn missing_enumerators_are_found() {
        each_has("RAIN_FRONT = 1", &["RAIN_STORM is missing"], &[]);
        each_has("RAIN_FRONT = 1, RAIN_STROM", &["RAIN_STORM is missing", "RAIN_STROM = 2 is in no table"], &[]);
    }

    #[test]
    fn a_check_that_compares_nothing_does_not_pass() {
        for report in reports("enum snow_reason { RAIN_FRONT = 1, RAIN_STORM }; volatile enum snow_reason why;") {
            assert_eq!(texts(&report.findings), ["there is no enum rain_reason"], "{report}");
        }
        let header = Made::header("enum rain_reason { RAIN_FRONT = 1, RAIN_STORM };");
        let report = table_in_header::<Rain>(header.as_path(), "rain_reason", "RAINS_").expect("it can be read");
        assert_eq!(texts(&report.findings), ["no variant of `rain` has a c_name that begins with \"RAINS_\""]);
        // An empty prefix selects all variants.
        let report = table_in_header::<Rain>(header.as_path(), "rain_reason", "").expect("it can be read");
        assert!(report.passed(), "{report}");
    }

    #[test]
    fn a_declaration_without_enumerators_is_not_an_enum() {
        let source = "enum rain_reason; struct holds { enum rain_reason *why; } it;";
        let report = table_in_object::<Rain>(&Made::object(source).bytes(), "rain_reason", "RAIN_").expect("an object");
        assert_eq!(texts(&report.findings), ["there is no enum rain_reason"], "{report}");
    }

    #[test]
    fn an_unreadable_value_in_a_header_is_found() {
        let header = Made::header("enum rain_reason { RAIN_FRONT = 1, RAIN_STORM, RAIN_X = BIT(3), RAIN_Y };");
        let report = table_in_header::<Rain>(header.as_path(), "rain_reason", "RAIN_").expect("it can be read");
        assert_eq!(texts(&report.findings), ["the value of RAIN_X cannot be read"]);
    }

    #[test]
    fn an_unreadable_source_is_an_error() {
        let nowhere = Path::new("/nonexistent");
        let error = table_in_btf::<Rain>(nowhere, "rain_reason", "RAIN_").expect_err("there is nothing");
        assert_eq!(error.kind(), ErrorKind::NoBtf);
        let error = table_in_header::<Rain>(nowhere, "rain_reason", "RAIN_").expect_err("there is nothing");
        assert_eq!(error.kind(), ErrorKind::System);
        assert!(table_in_object::<Rain>(b"no object", "rain_reason", "RAIN_").is_err());
    }
}
