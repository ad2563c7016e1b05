// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `reset_reasons` on this kernel and on synthetic kernels, some of which differ from its
//! table.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use retrans_sdk::{check, reason_table};

/// The enum of Linux 6.18.
const ENUM: &str = "enum sk_rst_reason {
    SK_RST_REASON_NOT_SPECIFIED, SK_RST_REASON_NO_SOCKET, SK_RST_REASON_TCP_INVALID_ACK_SEQUENCE,
    SK_RST_REASON_TCP_RFC7323_PAWS, SK_RST_REASON_TCP_TOO_OLD_ACK, SK_RST_REASON_TCP_ACK_UNSENT_DATA,
    SK_RST_REASON_TCP_FLAGS, SK_RST_REASON_TCP_OLD_ACK, SK_RST_REASON_TCP_ABORT_ON_DATA,
    SK_RST_REASON_TCP_TIMEWAIT_SOCKET, SK_RST_REASON_INVALID_SYN, SK_RST_REASON_TCP_ABORT_ON_CLOSE,
    SK_RST_REASON_TCP_ABORT_ON_LINGER, SK_RST_REASON_TCP_ABORT_ON_MEMORY, SK_RST_REASON_TCP_STATE,
    SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT, SK_RST_REASON_TCP_DISCONNECT_WITH_DATA, SK_RST_REASON_MAX
}; volatile enum sk_rst_reason why;";

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

fn reset_reasons(btf: Option<&Path>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reset_reasons")).args(btf).output().expect("reset_reasons is built")
}

fn on_a_kernel_with(source: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder in the temporary directory");
    let (c, object) = (folder.path().join("kernel.c"), folder.path().join("kernel.o"));
    fs::write(&c, source).expect("the folder just made");
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let built = Command::new(clang).args(["-g", "-O2", "-target", "bpf", "-c"]).arg(&c).arg("-o").arg(&object).status();
    assert!(built.expect("clang, which built the SDK").success(), "{source}");
    reset_reasons(Some(&object))
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("text")
}

/// Asserts the exit status and a part of the output on a kernel in whose enum `from` is replaced.
fn assert_report(from: &str, to: &str, status: i32, what: &str) {
    assert!(ENUM.contains(from), "{from}");
    let output = on_a_kernel_with(&ENUM.replace(from, to));
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(what), "`{what}` is not in: {said}");
}

#[test]
fn the_status_is_1_if_the_enum_differs() {
    assert_report("", "", 0, "10 enumerators match `reset`");
    assert_report("", "", 0, "only in the kernel, not a difference: SK_RST_REASON_TCP_RFC7323_PAWS = 3, ");
    assert_report("SK_RST_REASON_MAX", "SK_RST_REASON_NEW, SK_RST_REASON_MAX", 0, ", SK_RST_REASON_NEW = 17, ");
    assert_report("SK_RST_REASON_TCP_OLD_ACK,", "", 1, "SK_RST_REASON_TCP_OLD_ACK is missing");
    // Linux 6.11 inserted an enumerator, which renumbered those after it.
    assert_report(
        "SK_RST_REASON_INVALID_SYN,",
        "SK_RST_REASON_NEW, SK_RST_REASON_INVALID_SYN,",
        1,
        "SYN is 11, in the table 10",
    );
    assert_report("enum sk_rst_reason", "enum other_reason", 1, "there is no enum sk_rst_reason");
    let nowhere = reset_reasons(Some(Path::new("/nonexistent")));
    assert_eq!((nowhere.status.code(), text(&nowhere.stdout)), (Some(2), ""));
    assert!(text(&nowhere.stderr).starts_with("cannot compare: cannot open /nonexistent: No such file"), "{nowhere:?}");
}

/// Returns whether the BTF of the running kernel contains the name of an enumerator.
fn this_kernel_has(enumerator: &str) -> bool {
    let btf = fs::read(VMLINUX).unwrap_or_default();
    let name = format!("\0{enumerator}\0");
    btf.windows(name.len()).any(|window| window == name.as_bytes())
}

#[test]
fn the_running_kernel_is_compared() {
    let output = reset_reasons(None);
    let said = text(&output.stdout);
    println!("{said}");
    if !Path::new(VMLINUX).exists() {
        assert_eq!(output.status.code(), Some(2), "{said}");
    } else if !this_kernel_has("SK_RST_REASON_NOT_SPECIFIED") {
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("there is no enum sk_rst_reason"), "{said}");
    } else if this_kernel_has("SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT") {
        assert_eq!(output.status.code(), Some(0), "{said}");
    } else {
        // Linux 6.10 lacks newer enumerators.
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT is missing"), "{said}");
    }
}

/// A wrong table of `enum tcp_ca_state`, which all kernels have.
#[reason_table(key = "wrong")]
enum Wrong {
    /// The correct enumerator.
    #[reason(value = "open", c_name = "TCP_CA_Open")]
    Open = 0,
    /// The enumerator of another state.
    #[reason(value = "disorder", c_name = "TCP_CA_CWR")]
    Disorder = 1,
    /// An enumerator that no kernel has.
    #[reason(value = "lost", c_name = "TCP_CA_Lost")]
    Lost = 4,
}

#[test]
fn a_wrong_table_is_found_on_this_kernel() {
    let report =
        check::table_in_running_kernel::<Wrong>("tcp_ca_state", "TCP_CA_").expect("the running kernel has BTF");
    let found: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "TCP_CA_CWR is 2, in the table 1",
            "TCP_CA_Lost is missing",
            "TCP_CA_Disorder = 1 is in no table",
            "TCP_CA_Loss = 4 is in no table"
        ],
        "{report}"
    );
    assert_eq!(report.kernel_only, [("TCP_CA_Recovery".to_owned(), 3)]);
}
