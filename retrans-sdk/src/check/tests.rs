// SPDX-License-Identifier: MIT OR Apache-2.0
//! Feeds wrong headers to each of the three checks, which must name the enumerator.

use std::fs;
use std::time::{Duration, Instant};

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
fn an_enum_whose_first_value_is_unreadable_is_found() {
    let text = "enum e { TCP_ESTABLISHED = 1 << 63, TCP_SYN_SENT = -TCP_ESTABLISHED };";
    let report = header(Made::header(text).as_path()).expect("a header with an enum");
    assert!(report.findings.contains(&Finding::Unread { c_name: "TCP_ESTABLISHED".to_owned() }), "{report}");
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

/// BTF that is written by hand, such as no compiler produces.
struct RawBtf {
    types: Vec<u32>,
    count: u32,
    strings: Vec<u8>,
}

impl RawBtf {
    const PTR: u32 = 2;
    const ENUM: u32 = 6;
    const TYPEDEF: u32 = 8;
    const CONST: u32 = 10;
    const FUNC_PROTO: u32 = 13;
    const ENUM64: u32 = 19;

    fn new() -> Self {
        Self { types: Vec::new(), count: 0, strings: vec![0] }
    }

    fn string(&mut self, text: &[u8]) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend(text);
        self.strings.push(0);
        at
    }

    /// Adds a type, and returns its id.
    fn add(&mut self, name: u32, kind: u32, vlen: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        self.types.extend([name, kind << 24 | vlen, size_or_type]);
        self.types.extend(rest);
        self.count += 1;
        self.count
    }

    /// Adds the tracepoint, whose third argument has a type that may be added later.
    fn add_tracepoint(&mut self, third: u32) {
        let name = self.string(b"btf_trace_tcp_retransmit_skb");
        let pointer = self.add(0, Self::PTR, 0, self.count + 2, &[]);
        let prototype = self.add(0, Self::FUNC_PROTO, 4, 0, &[0, pointer, 0, pointer, 0, pointer, 0, third]);
        self.add(name, Self::TYPEDEF, 0, prototype - 1, &[]);
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32 * 4, self.strings.len() as u32);
        let header = [24, 0, types, types, strings];
        let words = header.iter().chain(&self.types).flat_map(|word| word.to_ne_bytes());
        0xeb9f_u16.to_ne_bytes().into_iter().chain([1, 0]).chain(words).chain(self.strings.iter().copied()).collect()
    }

    fn file(&self) -> Made {
        Made::file(&self.bytes())
    }
}

#[test]
fn a_chain_of_typedefs_is_followed_to_its_end() {
    // Each type of the chain refers to the next. The last one refers to `end`, counted from it.
    let chain = |kind: u32, length: u32, end: fn(u32) -> u32| {
        let mut btf = RawBtf::new();
        let name = btf.string(b"a");
        btf.add_tracepoint(4);
        for _ in 1..length {
            btf.add(name, kind, 0, btf.count + 2, &[]);
        }
        btf.add(name, kind, 0, end(btf.count + 1), &[]);
        kernel_btf(btf.file().as_path())
    };
    let began = Instant::now();
    for (kind, length) in [(RawBtf::TYPEDEF, 1), (RawBtf::TYPEDEF, 2), (RawBtf::CONST, 3), (RawBtf::TYPEDEF, 100_000)] {
        let report = chain(kind, length, |_| 1).expect("a chain that ends");
        let note = report.notes.last().expect("the note of the tracepoint");
        assert!(note.ends_with("third argument of tcp_retransmit_skb: Ptr "), "{note}");
        for end in [|_| 4, |own| own] {
            let error = chain(kind, length, end).expect_err("a cycle");
            assert_eq!(error.kind(), ErrorKind::System);
            let text = error.to_string();
            assert_eq!(text, "invalid BTF: the chain of typedefs and modifiers at type 4 has no end");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn long_names_in_btf_are_an_error() {
    let long = |length: usize, enumerators: u32| {
        let mut btf = RawBtf::new();
        let name = btf.string(&vec![b'a'; length]);
        btf.add(0, RawBtf::ENUM, enumerators, 4, &[name, 1].repeat(enumerators as usize));
        let began = Instant::now();
        let error = kernel_btf(btf.file().as_path()).expect_err("invalid").to_string();
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        error
    };
    // 65,535 copies of the name would have 46 GB.
    assert_eq!(long(700_000, 65_535), "invalid BTF: a name has 700000 bytes; the maximum is 4096");
    assert_eq!(long(4096, 65_535), "invalid BTF: the names of its enums have more than 16777216 bytes");
    assert!(long(4096, 1).contains("no tracepoint"), "valid, but not a kernel's");

    let mut btf = RawBtf::new();
    let name = btf.string(&vec![b'a'; 1_000_000]);
    for _ in 0..50_000 {
        btf.add(name, RawBtf::TYPEDEF, 0, 0, &[]);
    }
    let began = Instant::now();
    let error = kernel_btf(btf.file().as_path()).expect_err("invalid").to_string();
    assert_eq!(error, "invalid BTF: a name has 1000000 bytes; the maximum is 4096");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn enums_of_64_bits_are_read() {
    let mut btf = RawBtf::new();
    let names = ["reason", "REASON_A", "REASON_B", "REASON_C", "REASON_D"].map(|name| btf.string(name.as_bytes()));
    // Each enumerator has the lower and the upper half of its number.
    let members = [names[1], 7, 0, names[2], 0, 1, names[3], u32::MAX, u32::MAX, names[4], 9, 0];
    btf.add(names[0], RawBtf::ENUM64, 4, 8, &members);
    let table = generate_table(EnumSource::Btf(btf.file().as_path()), "reason", None).expect("an enum");
    assert!(table.contains("    A = 7,\n"), "{table}");
    assert!(table.contains("// Left out: REASON_B = 4294967296: its number is not within"), "{table}");
    assert!(table.contains("// Left out: REASON_C and those after it: "), "the largest number of 64 bits: {table}");
    assert!(!table.contains("REASON_D"), "{table}");
}

#[test]
fn names_in_btf_are_escaped() {
    let harmful = "\x1b]52;c;eA==\x07\n\u{9b}2J\u{202e}\x7f";
    let mut btf = RawBtf::new();
    let name = btf.string(format!("tcp_retransmit_result{harmful}").as_bytes());
    let proposal = btf.string(super::PROPOSAL[0].as_bytes());
    let enumerator = btf.string(format!("TCP_RETRANS_{harmful}").as_bytes());
    btf.add_tracepoint(5);
    btf.add(proposal, RawBtf::ENUM, 1, 4, &[enumerator, 1]);
    btf.add(name, RawBtf::ENUM, 1, 4, &[enumerator, 1]);
    let file = btf.file();
    let report = kernel_btf(file.as_path()).expect("a report");
    let third = report.notes.last().expect("the note of the tracepoint");
    assert!(
        third.ends_with(": enum tcp_retransmit_result\\u{1b}]52;c;eA==\\u{7}\\n\\u{9b}2J\\u{202e}\\u{7f}"),
        "{third}"
    );
    let generated = generate_table(EnumSource::Btf(file.as_path()), super::PROPOSAL[0], None).expect_err("no row");
    let named = report.findings.iter().find(|finding| matches!(finding, Finding::Extra { .. })).expect("a finding");
    assert_eq!(named.to_string(), "TCP_RETRANS_\\u{1b}]52;c;eA==\\u{7}\\n\\u{9b}2J\\u{202e}\\u{7f} = 1 is in no table");
    for text in [report.to_string(), generated.to_string()] {
        assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    }
}

/// Changed bytes, as in a damaged file, must not end the process. The lengths of the cases are
/// bounded by libbpf's own checks.
#[test]
fn damaged_btf_is_a_report_or_an_error() {
    let mut btf = RawBtf::new();
    btf.add_tracepoint(4);
    let names = ["e", "TCP_ESTABLISHED", "TCP_CA_Open"].map(|name| btf.string(name.as_bytes()));
    btf.add(names[0], RawBtf::TYPEDEF, 0, 5, &[]);
    btf.add(names[0], RawBtf::CONST, 0, 6, &[]);
    btf.add(names[0], RawBtf::ENUM, 2, 4, &[names[1], 1, names[2], 0]);
    btf.add(names[0], RawBtf::ENUM64, 1, 8, &[names[1], 1, 0]);
    let good = btf.bytes();
    let mut reports = 0;
    for at in 0..good.len() {
        for byte in [0, 1, 4, 8, 10, 0x7f, 0xff, good[at] ^ 0x80] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            let file = Made::file(&bytes);
            reports += usize::from(kernel_btf(file.as_path()).is_ok());
            let _ = generate_table(EnumSource::Btf(file.as_path()), "e", None);
        }
        assert!(kernel_btf(Made::file(&good[..at]).as_path()).is_err(), "the first {at} bytes");
    }
    assert!(reports > good.len(), "most names may change: {reports}");
}

#[test]
fn a_file_without_end_is_an_error() {
    let error = header(Path::new("/dev/zero")).expect_err("no header").to_string();
    assert_eq!(error, "/dev/zero: is larger than 16 MiB, so it is not a C header");
    assert!(kernel_btf(Path::new("/dev/zero")).is_err());
}
