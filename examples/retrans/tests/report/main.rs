// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `retrans report` as a user does, and reads the page.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;
use retrans_sdk::event::PercentEncoded;

const LAB: &str = "recordings/lab.kv";
const PERF: &str = "recordings/perf-script.txt";
const INCIDENT: &str = "tests/report/incident.kv";

fn report(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retrans"));
    command.arg("report").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    report(arguments).stdin(Stdio::null()).output().expect("retrans is built")
}

fn fed(arguments: &[&str], text: &[u8]) -> Output {
    let mut child = report(arguments).spawn().expect("retrans is built");
    // It may end before it has read everything.
    let _ = child.stdin.take().expect("piped").write_all(text);
    child.wait_with_output().expect("it ends")
}

fn printed(output: &Output) -> &str {
    str::from_utf8(&output.stdout).expect("text")
}

/// Returns the page without the style, the version and the meanings, which have tests of their own.
fn body(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").expect("a style");
    let (_, rest) = rest.split_once("</style>").expect("a style");
    let (policy, head) = head.split_once("style-src '").expect("a policy");
    let (_, head) = head.split_once('\'').expect("a hash");
    let (rest, _) = rest.split_once("<section id=\"meanings\">").expect("meanings");
    format!("{policy}style-src '…'{head}<style>…</style>{rest}")
}

/// Returns the text between the tags of a page, which must be well-formed where text from a
/// recording could break it.
fn text_of(page: &str) -> String {
    let mut text = String::new();
    // A place at which a name may be broken is not a space.
    let page = page.replace("<wbr>", "");
    let mut rest = page.split_once("</style>").expect("a style").1;
    while let Some((before, tag)) = rest.split_once('<') {
        text += before;
        text += " ";
        rest = tag.split_once('>').expect("each tag has an end").1;
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    text.replace("&amp;", "&").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_of_an_incident() {
    let output = run(&[INCIDENT, "--title", "Incident 1"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_snapshot!(body(printed(&output)));
}

#[test]
fn the_page_of_a_kernel_text() {
    let output = run(&[PERF]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_snapshot!(body(printed(&output)));
}

#[test]
fn the_numbers_are_those_of_the_recording() {
    let output = run(&[LAB]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let lines = fs::read_to_string(LAB).expect("a recording");
    let all = lines.lines().count();
    let failed = lines.lines().filter(|line| !line.contains(" result=success ")).count();
    let text = text_of(printed(&output));
    assert!(text.contains(&format!("{failed} of {all} attempts to retransmit failed on this host")), "{text}");
    for result in ["success", "denied", "xmit_drop", "route_fail", "in_host_queue", "rcv_zero_window", "nomem"] {
        let count = lines.lines().filter(|line| line.contains(&format!(" result={result} "))).count();
        let share = format!("{result} {count} {:.1} %", 100.0 * count as f64 / all as f64);
        assert!(text.contains(&share), "{share}: {text}");
        assert!(printed(&output).contains(&format!("id=\"result-{result}\"")), "{result} has a meaning");
    }
}

#[test]
fn the_same_input_yields_the_same_page() {
    let pages = [(); 3].map(|()| run(&[LAB, INCIDENT]).stdout);
    assert!(pages.iter().all(|page| *page == pages[0] && page.len() > 10_000));
    let compressed = zstd::encode_all(&*fs::read(INCIDENT).expect("a recording"), 3).expect("compressed");
    assert_eq!(fed(&["-"], &compressed).stdout, fed(&["-"], &fs::read(INCIDENT).expect("a recording")).stdout);
}

#[test]
fn each_link_leads_to_a_place_on_the_page() {
    for recording in [LAB, INCIDENT, PERF] {
        let output = run(&[recording]);
        let page = printed(&output);
        let links: Vec<_> = page.split("href=\"").skip(1).map(|rest| rest.split('"').next().expect("a link")).collect();
        assert!(links.len() > 10);
        for link in links {
            let id = link.strip_prefix('#').unwrap_or_else(|| panic!("{link} leads elsewhere"));
            assert_eq!(page.matches(&format!(" id=\"{id}\"")).count(), 1, "{id}");
        }
        for (tag, attributes) in tags(page) {
            let is_known = TAGS.contains(&&*tag) && attributes.iter().all(|name| ATTRIBUTES.contains(&&**name));
            assert!(is_known, "{tag} {attributes:?}");
        }
    }
}

/// The elements and attributes of a page. None of them can run a script or load anything: the only
/// `href` are of links, and the test above checks them.
const TAGS: [&str; 47] = [
    "!DOCTYPE",
    "html",
    "head",
    "meta",
    "title",
    "body",
    "header",
    "main",
    "section",
    "article",
    "footer",
    "nav",
    "h1",
    "h2",
    "h3",
    "h4",
    "p",
    "a",
    "ul",
    "ol",
    "li",
    "dl",
    "dt",
    "dd",
    "div",
    "span",
    "strong",
    "em",
    "code",
    "pre",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "figure",
    "figcaption",
    "details",
    "summary",
    "svg",
    "rect",
    "path",
    "br",
    "wbr",
    "hr",
];
const ATTRIBUTES: [&str; 24] = [
    "html",
    "lang",
    "charset",
    "http-equiv",
    "content",
    "name",
    "id",
    "class",
    "href",
    "scope",
    "data-h",
    "aria-label",
    "aria-hidden",
    "role",
    "viewBox",
    "preserveAspectRatio",
    "x",
    "width",
    "height",
    "d",
    "align",
    "start",
    "type",
    "title",
];

/// Returns the elements of a page in their order, each with the names of its attributes.
fn tags(page: &str) -> Vec<(String, Vec<String>)> {
    let (head, rest) = page.split_once("<style>").expect("a style");
    let (_, rest) = rest.split_once("</style>").expect("a style");
    let tag = |tag: &str| {
        let tag = tag.split_once('>').expect("each tag has an end").0;
        if let Some(closed) = tag.strip_prefix('/') {
            return (closed.to_owned(), vec![]);
        }
        let (name, mut rest) = tag.trim_end_matches('/').split_once(' ').unwrap_or((tag.trim_end_matches('/'), ""));
        let mut attributes = Vec::new();
        while !rest.trim().is_empty() {
            let (attribute, value) = rest.split_once("=\"").unwrap_or((rest, "\""));
            attributes.push(attribute.trim().to_owned());
            rest = value.split_once('"').expect("each value has an end").1;
        }
        (name.to_owned(), attributes)
    };
    head.split('<').skip(1).chain(rest.split('<').skip(1)).map(tag).collect()
}

/// Attempts whose names are markup, close attributes, end elements, or reorder text.
fn hostile() -> String {
    const LINE: &str = "result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=1 daddr=10.0.0.2 dport=2 \
                        state=established segs=1 class=drop owner=connect pid=7";
    let values = [
        "<script>",
        "\"><script>",
        "'><b/onload=x>",
        "</title>",
        "</style><b>",
        "--><b>",
        "]]><b>",
        "&lt;b&gt;",
        "\u{202e}",
        "\x1b[31m",
        "<!--",
        "javascript:x",
    ];
    let mut lines = String::new();
    for (at, value) in values.iter().enumerate() {
        let name = PercentEncoded(value.as_bytes());
        lines += &format!("ts={at}.000000000 {LINE} comm={name} drop_dev={name} cgroup_path=/{name} host={name}\n");
    }
    lines
}

#[test]
fn no_value_of_a_recording_becomes_markup() {
    let text = hostile();
    let output = fed(&["-", "--title", "</title><script>alert(1)</script>"], text.as_bytes());
    assert!(output.status.success(), "{output:?}");
    let page = printed(&output);
    let plain = fed(&["-"], text.replace(['<', '>', '"', '\'', '&', '!'], "_").replace("%22", "_").as_bytes());
    assert!(plain.status.success(), "{plain:?}");
    // The values add text, but no tag and no attribute.
    assert_eq!(tags(page), tags(printed(&plain)));
    assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\x1b'));
    let text = text_of(page);
    for shown in ["</title><script>alert(1)</script>", "%22><script>[7]", "</style><b>[7]", "<!--[7]", "%E2%80%AE[7]"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

#[test]
fn a_name_of_a_file_is_escaped() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("<b>\"\u{202e}.kv");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/report/incident.kv"), &path).expect("copied");
    let output = run(&[path.to_str().expect("a path")]);
    assert!(output.status.success());
    assert!(
        printed(&output).contains("&lt;b&gt;\\&quot;\\u{202e}.kv")
            || printed(&output).contains("&lt;b&gt;&quot;\\u{202e}.kv")
    );
}

#[test]
fn an_error_ends_a_recording_but_not_the_report() {
    let text = fs::read_to_string(INCIDENT).expect("a recording");
    let cut = &text[..text.find("result=denied").expect("a line") + 20];
    let output = fed(&["-", PERF], cut.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("retrans: stdin: line 5: unterminated last line"), "{stderr}");
    // The clock of the second recording is another one.
    assert!(stderr.contains("retrans: recordings/perf-script.txt: the clock of this text is not known"), "{stderr}");
    let page = text_of(printed(&output));
    assert!(page.contains("Incomplete: stdin: line 5: unterminated last line"), "{page}");
    assert!(page.contains("2 of 3 attempts"), "{page}");
    assert!(printed(&output).ends_with("</html>\n"));

    let skipped = fed(&["-", "--skip-bad-lines"], cut.as_bytes());
    assert!(skipped.status.success());
    assert!(text_of(printed(&skipped)).contains("1 line was skipped"), "{}", text_of(printed(&skipped)));
}

#[test]
fn a_recording_that_cannot_be_opened_is_reported_before_anything_is_read() {
    for (arguments, problem) in
        [(&[LAB, "/nonexistent"][..], "cannot open /nonexistent"), (&["-", "-"], "stdin can be read only once")]
    {
        let output = run(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(problem), "{output:?}");
    }
    for arguments in [&[][..], &[LAB, "--rows", "0"], &[LAB, "--v4-prefix", "33"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_recording_without_attempts_has_a_page() {
    let output = fed(&["-"], b"");
    assert!(output.status.success());
    let text = text_of(printed(&output));
    assert!(text.contains("No attempt to retransmit was recorded.") && text.contains("no verdict"), "{text}");
    // A verdict has a time, and no attempt is needed to show it.
    let verdicts = fs::read_to_string(INCIDENT).expect("a recording");
    let verdicts: String =
        verdicts.lines().filter(|line| line.starts_with("what=")).map(|line| format!("{line}\n")).collect();
    let output = fed(&["-"], verdicts.as_bytes());
    assert!(output.status.success(), "{output:?}");
    assert!(text_of(printed(&output)).contains("timed_out 1 3 3 seconds"), "{}", text_of(printed(&output)));
}

#[test]
fn lost_entries_are_in_the_columns_in_which_they_may_be_missing() {
    let text = fs::read_to_string(PERF).expect("a recording");
    let lines: Vec<_> = text.lines().collect();
    let with_loss = [&lines[..3], &["CPU:1 [LOST 7 EVENTS]"], &lines[3..]].concat().join("\n") + "\n";
    let output = fed(&["-"], with_loss.as_bytes());
    assert!(output.status.success(), "{output:?}");
    let page = text_of(printed(&output));
    assert!(page.contains("The text reports 7 lost trace entries of any event"), "{page}");
    assert!(printed(&output).contains("aria-label=\"entries lost: in "), "{page}");
}

#[test]
fn the_status_shows_what_the_recording_lacks() {
    let scratch = tempfile::tempdir().expect("a directory");
    let with = |status: &str| {
        let path = scratch.path().join("status");
        fs::write(&path, status).expect("written");
        run(&[INCIDENT, "--status", path.to_str().expect("a path")])
    };
    let ready = "ready source=tp_err failures=observed synack_failures=unobservable\n";
    let stats = |delivered: u64| {
        format!(
            "stats seen=1234 filtered=1200 limited=20 lost=7 submitted=7 rejected=0 dropped=0 delivered={delivered} missed=3 \
             failures=9\n"
        )
    };
    let output = with(&format!("{ready}{}", stats(4)));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let page = text_of(printed(&output));
    for shown in [
        "Attach method tp_err",
        "seen 1,234 observed",
        "lost 7 lost, because",
        "The recordings contain every attempt that was delivered.",
        "10 attempts of those that retrans watch should have recorded are missing",
        "Failed SYN-ACKs were not observable in 1 run.",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let page = text_of(printed(&with(&format!("{ready}{}", stats(6)))));
    assert!(page.contains("contain 2 attempts fewer than were delivered"), "{page}");
    let page = text_of(printed(&with(&format!("{ready}{}", stats(1)))));
    assert!(page.contains("contain 3 attempts more than were delivered"), "{page}");
    let page = text_of(printed(&with(ready)));
    assert!(page.contains("1 of 1 run of retrans watch printed no counters"), "{page}");
    let hostile = with(&ready.replace("tp_err", "<script>"));
    assert!(printed(&hostile).contains("&lt;script&gt;") && !printed(&hostile).contains("<script"));

    let output = with("x\n");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no line `ready`"), "{output:?}");
}

#[test]
fn a_filter_selects_attempts_and_is_stated() {
    let output = run(&[LAB, "--filter", "class=route dport!=1 --or kind=syn"]);
    assert!(output.status.success(), "{output:?}");
    let lines = fs::read_to_string(LAB).expect("a recording");
    let selected = lines.lines().filter(|line| line.contains(" class=route ") || line.contains(" kind=syn ")).count();
    let excluded = lines.lines().count() - selected;
    let page = text_of(printed(&output));
    assert!(selected > 5 && page.contains(&format!("of {selected} attempts to retransmit failed")), "{page}");
    let stated =
        format!("Filter class=route dport!=1 --or kind=syn : {excluded} attempts of the recordings did not match");
    assert!(page.contains(&stated), "{page}");
    // Every attempt is excluded, and there are still verdicts.
    let output = run(&[INCIDENT, "--filter", "dport=1"]);
    let page = text_of(printed(&output));
    assert!(
        output.status.success() && page.contains("No attempt to retransmit matches") && page.contains("timed_out 1"),
        "{page}"
    );
    for (filter, problem) in [("dport=x", "dport"), ("cookie=mine", "requires a live stream")] {
        let output = run(&[LAB, "--filter", filter]);
        assert_eq!(output.status.code(), Some(2), "{filter}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(problem), "{output:?}");
    }
}

#[test]
fn the_header_of_perf_names_the_host() {
    let text = format!("# hostname : <web>\n# os release : 6.18.0\n{}", fs::read_to_string(PERF).expect("a recording"));
    let page = fed(&["-"], text.as_bytes());
    assert!(text_of(printed(&page)).contains("Host <web> Kernel 6.18.0 Recordings"), "{}", text_of(printed(&page)));
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let mut child = report(&[LAB]).stdin(Stdio::null()).spawn().expect("retrans is built");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
