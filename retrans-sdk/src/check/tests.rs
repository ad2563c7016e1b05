// SPDX-License-Identifier: MIT OR Apache-2.0
//! Feeds wrong headers to each of the three checks, which must name the enumerator.

use super::*;
use crate::testing::{CA_STATES, Made, PROPOSAL, STATES, kernel};

/// A wrong copy of a text, and what the check must report.
struct Wrong {
    from: &'static str,
    to: &'static str,
    findings: &'static [&'static str],
}

const WRONG_STATES: [Wrong; 4] = [
    Wrong {
        from: "TCP_FIN_WAIT1, TCP_FIN_WAIT2,",
        to: "TCP_FIN_WAIT2, TCP_FIN_WAIT1,",
        findings: &["TCP_FIN_WAIT1 is 5, in the table 4", "TCP_FIN_WAIT2 is 4, in the table 5"],
    },
    Wrong { from: "TCP_NEW_SYN_RECV,", to: "", findings: &["TCP_NEW_SYN_RECV is missing"] },
    Wrong {
        from: "TCP_ESTABLISHED = 1, TCP_SYN_SENT,",
        to: "TCP_SYN_SENT = 2,",
        findings: &["TCP_ESTABLISHED is missing"],
    },
    Wrong { from: "TCP_BOUND_INACTIVE,", to: "TCP_HALF_OPEN,", findings: &["TCP_HALF_OPEN = 13 is in no table"] },
];

const WRONG_CA_STATES: [Wrong; 3] = [
    Wrong {
        from: "TCP_CA_CWR = 2, TCP_CA_Recovery = 3",
        to: "TCP_CA_CWR = 3, TCP_CA_Recovery = 2",
        findings: &["TCP_CA_CWR is 3, in the table 2", "TCP_CA_Recovery is 2, in the table 3"],
    },
    Wrong { from: ", TCP_CA_Loss = 4", to: "", findings: &["TCP_CA_Loss is missing"] },
    Wrong {
        from: "TCP_CA_Loss = 4",
        to: "TCP_CA_Loss = 4, TCP_CA_Lost",
        findings: &["TCP_CA_Lost = 5 is in no table"],
    },
];

const WRONG_PROPOSAL: [Wrong; 3] = [
    Wrong {
        from: "TCP_RETRANS_ERR_DEFAULT, TCP_RETRANS_SUCCESS,",
        to: "TCP_RETRANS_SUCCESS, TCP_RETRANS_ERR_DEFAULT,",
        findings: &["TCP_RETRANS_ERR_DEFAULT is 1, in the table 0", "TCP_RETRANS_SUCCESS is 0, in the table 1"],
    },
    Wrong { from: ", TCP_RETRANS_PSKB_COPY_NOBUFS", to: "", findings: &["TCP_RETRANS_PSKB_COPY_NOBUFS is missing"] },
    Wrong {
        from: "TCP_RETRANS_PSKB_COPY_NOBUFS",
        to: "TCP_RETRANS_PSKB_COPY_NOBUFS, TCP_RETRANS_MOON_PHASE",
        findings: &["TCP_RETRANS_MOON_PHASE = 10 is in no table"],
    },
];

/// Feeds each wrong copy of `good` to a check.
fn each_is_found(good: &str, wrongs: &[Wrong], check: impl Fn(&str) -> Report) {
    let report = check(good);
    assert!(report.passed(), "{report}");
    for Wrong { from, to, findings } in wrongs {
        assert!(good.contains(from), "{from} is not in {good}");
        let report = check(&good.replace(from, to));
        let found: Vec<_> = report.findings.iter().map(Finding::to_string).collect();
        assert_eq!(found, *findings, "{report}");
        assert!(report.to_string().contains("DIFFERS"));
    }
}

/// Returns the header that the built object is made from, with each enum in use.
fn our_header() -> String {
    // The types are defined here instead.
    let header = include_str!("../../bpf/retrans.h").replace("#include \"vmlinux.h\"", "");
    format!(
        "typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef int __s32;
        typedef unsigned long long __u64;
        {header}
        volatile enum tcp_retransmit_quit_reason one; volatile enum retrans_own_result two; volatile enum retrans_kind three;
        volatile enum retrans_transmit four;"
    )
}

#[test]
fn a_wrong_object_is_found() {
    let wrongs = [
        Wrong {
            from: "TCP_RETRANS_SUCCESS = 1,\n\tTCP_RETRANS_IN_HOST_QUEUE = 2,",
            to: "TCP_RETRANS_SUCCESS = 2, TCP_RETRANS_IN_HOST_QUEUE = 1,",
            findings: &["TCP_RETRANS_IN_HOST_QUEUE is 1, in the table 2", "TCP_RETRANS_SUCCESS is 2, in the table 1"],
        },
        Wrong { from: "TCP_RETRANS_FRAG_NOMEM = 6,", to: "", findings: &["TCP_RETRANS_FRAG_NOMEM is missing"] },
        Wrong {
            from: "TCP_RETRANS_PSKB_COPY_NOBUFS = 9,",
            to: "TCP_RETRANS_PSKB_COPY_NOBUFS = 9, TCP_RETRANS_MOON_PHASE,",
            findings: &["TCP_RETRANS_MOON_PHASE = 10 is in no table"],
        },
        Wrong { from: "RETRANS_KIND_TLP = 2,", to: "", findings: &["RETRANS_KIND_TLP is missing"] },
        Wrong { from: "RETRANS_TRANSMIT_NO = 1,", to: "", findings: &["RETRANS_TRANSMIT_NO is missing"] },
        Wrong { from: "RETRANS_OWN_DENIED = 130,", to: "", findings: &["RETRANS_OWN_DENIED is missing"] },
    ];
    each_is_found(&our_header(), &wrongs, |source| {
        object_in(&Made::object(source).bytes()).expect("an object with BTF")
    });
}

#[test]
fn an_object_without_the_enum_is_found() {
    let report = object_in(&Made::object("volatile int one;").bytes()).expect("an object with BTF");
    let found: Vec<_> = report.findings.iter().map(Finding::to_string).collect();
    assert_eq!(found[0], "there is no enum tcp_retransmit_quit_reason");
    assert!(object_in(b"no object").is_err());
}

#[test]
fn the_built_object_matches() {
    let report = object().expect("the object of this build");
    assert!(report.passed(), "{report}");
    assert!(report.notes[0].contains("tcp_retransmit_quit_reason: 10 enumerators"), "{report}");
}

#[test]
fn a_wrong_kernel_is_found() {
    let check = |source: &str| kernel_btf(Made::object(source).as_path()).expect("BTF with the tracepoint");
    each_is_found(&kernel(Some("int")), &WRONG_STATES, check);
    each_is_found(&kernel(Some("int")), &WRONG_CA_STATES, check);
    each_is_found(&kernel(Some("enum tcp_retransmit_quit_reason")), &WRONG_PROPOSAL, check);
}

#[test]
fn the_type_of_the_third_argument_is_reported() {
    for (third, expected) in [
        (None, "absent"),
        (Some("int"), "int err"),
        (Some("const int"), "int err"),
        (Some("enum tcp_retransmit_quit_reason"), "enum tcp_retransmit_quit_reason"),
        (Some("const struct sock *"), "Ptr"),
    ] {
        let report = kernel_btf(Made::object(&kernel(third)).as_path()).expect("BTF with the tracepoint");
        let note = report.notes.last().expect("the last note is of the tracepoint");
        assert!(note.contains(&format!("third argument of tcp_retransmit_skb: {expected}")), "{third:?}: {note}");
    }
    let without = kernel_btf(Made::object("volatile int one;").as_path()).expect_err("there is no tracepoint");
    assert_eq!(without.kind(), ErrorKind::NoTracepoint);
}

#[test]
fn a_wrong_header_is_found() {
    let check = |text: &str| header(Made::header(text).as_path()).expect("a header with an enum");
    each_is_found(STATES, &WRONG_STATES, check);
    each_is_found(CA_STATES, &WRONG_CA_STATES, check);
    each_is_found(PROPOSAL, &WRONG_PROPOSAL, check);
    // A value that the reader cannot evaluate is a finding, not the end of the enum.
    let unread = check(&CA_STATES.replace("TCP_CA_Loss = 4", "TCP_CA_Loss = 4, TCP_CA_New = BIT(3), TCP_CA_Newer"));
    assert_eq!(unread.findings[0].to_string(), "the value of TCP_CA_New cannot be read");
    // The names that uapi/linux/bpf.h uses.
    let copied = STATES.replace("TCP_", "BPF_TCP_");
    assert!(check(&copied).passed());
    assert_eq!(
        check(&copied.replace("BPF_TCP_LISTEN,", "")).findings[0].to_string(),
        "TCP_CLOSING is 10, in the table 11"
    );
}

#[test]
fn a_header_without_a_known_enum_is_an_error() {
    for text in ["", "enum other { A };"] {
        let error = header(Made::header(text).as_path()).expect_err("nothing was checked");
        assert!(error.to_string().contains("contains no enum"), "{error}");
    }
    assert!(header(Path::new("/nonexistent")).is_err());
}

#[test]
fn a_kernel_tree_is_read() {
    let tree = std::env::temp_dir().join(format!("retrans-tree-{}", std::process::id()));
    for (name, text) in [
        ("include/net/tcp_states.h", STATES),
        ("include/uapi/linux/tcp.h", CA_STATES),
        ("include/linux/tcp.h", PROPOSAL),
    ] {
        let path = tree.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder in the temporary directory");
        fs::write(path, text).expect("a file in the temporary directory");
    }
    let good = header(&tree);
    fs::write(tree.join("include/uapi/linux/tcp.h"), "").expect("the file just written");
    let bad = header(&tree);
    fs::remove_dir_all(&tree).expect("the folder just made");

    let good = good.expect("a tree");
    assert!(good.passed() && good.notes.len() == 3, "{good}");
    let bad = bad.expect("a tree");
    assert_eq!(bad.findings[0].to_string(), "there is no enum with TCP_CA_Open");
}
