// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opens the page in Chromium, at the width of a phone and of a desktop, light and dark. Run by
//! `make report-test`, which installs Chromium; `test = false` in the manifest keeps it out of the
//! other test runs.
//!
//! The test speaks the DevTools protocol over two pipes, so it needs no other program.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use retrans_sdk::event::PercentEncoded;
use serde_json::{Value, json};

/// The widths in CSS pixels.
const PHONE: u32 = 390;
const DESKTOP: u32 = 1280;

/// A browser that ends when it is dropped.
struct Browser {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    number: u64,
    /// The messages that are not answers.
    events: Vec<Value>,
    /// The profile, which the browser writes.
    _profile: tempfile::TempDir,
}

impl Browser {
    fn start() -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        // The browser reads requests from descriptor 3 and writes answers to 4.
        let script = "exec 3<&0 4>&1 </dev/null >/dev/null; exec \"$@\"";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", "chromium", "--headless=new", "--remote-debugging-pipe", "--disable-gpu"])
            // The sandbox needs another user than root. The browser opens only this page.
            .args(["--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh is installed");
        let (requests, answers) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { child, requests, answers: BufReader::new(answers), number: 0, events: Vec::new(), _profile: profile }
    }

    /// Sends a request, waits for its answer, and returns the result.
    fn call(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut request = json!({ "id": self.number, "method": method, "params": parameters });
        if let Some(session) = session {
            request["sessionId"] = session.into();
        }
        write!(self.requests, "{request}\0").expect("Chromium runs: is it installed (make report-test)?");
        self.requests.flush().expect("Chromium runs");
        loop {
            let message = self.receive();
            if message["id"] == self.number {
                assert_eq!(message.get("error"), None, "{method}");
                return message["result"].clone();
            }
        }
    }

    fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.answers.read_until(0, &mut bytes).expect("Chromium answers");
        assert_eq!(bytes.pop(), Some(0), "Chromium has ended: is it installed (make report-test)?");
        let message: Value = serde_json::from_slice(&bytes).expect("JSON");
        if message.get("id").is_none() {
            self.events.push(message.clone());
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page that is open in a tab of its own.
struct Tab<'a> {
    browser: &'a mut Browser,
    session: String,
}

impl<'a> Tab<'a> {
    fn open(browser: &'a mut Browser, page: &Path, width: u32, scheme: &str) -> Self {
        browser.events.clear();
        let target = browser.call(None, "Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session =
            browser.call(None, "Target.attachToTarget", target)["sessionId"].as_str().expect("text").to_owned();
        let mut tab = Tab { browser, session };
        for domain in ["Page", "Network", "Log", "Runtime", "Accessibility"] {
            tab.call(&format!("{domain}.enable"), json!({}));
        }
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width == PHONE }),
        );
        let feature = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        tab.call("Emulation.setEmulatedMedia", feature);
        tab.call(
            "Network.emulateNetworkConditions",
            json!({
                "offline": true, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1,
            }),
        );
        tab.call("Page.navigate", json!({ "url": format!("file://{}", page.display()) }));
        while !tab.browser.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            tab.browser.receive();
        }
        tab
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.browser.call(Some(&self.session), method, parameters)
    }

    /// Evaluates an expression in the page. The page's policy does not apply to it.
    fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        assert_eq!(answer.get("exceptionDetails"), None, "{expression}");
        answer["result"]["value"].clone()
    }

    /// Writes a picture of the whole page, and returns its width and height.
    fn photograph(&mut self, path: &Path) -> (u32, u32) {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        let png = base64(picture["data"].as_str().expect("text"));
        fs::write(path, &png).expect("written");
        // The header of a PNG file contains both numbers.
        let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
        (number(16), number(20))
    }
}

/// Decodes base64.
fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | u32::from(digit(byte));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// Writes the page of a recording with everything that the page can show.
fn page(directory: &Path) -> PathBuf {
    let mut lines = fs::read_to_string("tests/report/incident.kv").expect("a recording");
    for (at, name) in ["<script>", "\"><script>", "'><img>", "</style>", "--><b>"].iter().enumerate() {
        let name = PercentEncoded(name.as_bytes());
        lines += &format!(
            "ts=179600963{at}.000000000 result=denied err=-1 kind=zero_window_probe family=inet6 \
             saddr=2001:db8:aaaa:bbbb:cccc:dddd:eeee:{at} sport=65535 daddr=2001:db8:ffff:fff{at}:ffff:ffff:ffff:ffff dport=65535 \
             state=established segs=1 class=drop owner=connect pid=4194303 comm={name} cgroup_path=/{name}\n"
        );
    }
    let recording = directory.join("attempts of a host with a long name, and a directory in which it was recorded.kv");
    fs::write(&recording, lines).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_retrans"))
        .args(["report", "--title", "Incident 4711: <script>window.injected = true</script>"])
        .arg("recordings/lab.kv")
        .arg(&recording)
        .output()
        .expect("retrans is built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = directory.join("report.html");
    fs::write(&path, output.stdout).expect("written");
    path
}

/// Lists the texts whose contrast with their background is below 4.5 (WCAG 2.2, AA).
const FAINT_TEXTS: &str = r#"(() => {
    const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const numbers = color => color.match(/[\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const ground = element => {
        for (; element; element = element.parentElement) {
            const color = numbers(getComputedStyle(element).backgroundColor);
            if (color.length < 4 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    document.querySelectorAll('details').forEach(details => details.open = true);
    const faint = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
        const element = node.parentElement;
        if (!node.data.trim() || element.closest('svg') || !element.checkVisibility()) continue;
        const [one, other] = [numbers(getComputedStyle(element).color), ground(element)].map(luminance);
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (contrast < 4.5) faint.add(element.tagName + ' ' + contrast.toFixed(2) + ' ' + node.data.trim().slice(0, 30));
    }
    return [...faint];
})()"#;

/// Lists the elements that do not fit in the width of the window.
const TOO_WIDE: &str = r#"(() => {
    document.querySelectorAll('details').forEach(details => details.open = true);
    const wide = [...document.body.querySelectorAll('*')].filter(element => {
        // On a phone the heads of stacked tables are only for screen readers.
        const head = element.closest('thead');
        if (head && head.clientWidth === 1 && getComputedStyle(head).overflow === 'hidden') return false;
        const box = element.getBoundingClientRect();
        return box.width > 1 && (box.right > innerWidth + 0.5 || box.left < -0.5);
    });
    return wide.slice(0, 5).map(element => element.tagName + '.' + element.getAttribute('class') + ' ' + element.textContent.slice(0, 40));
})()"#;

#[test]
fn the_page_is_readable_on_a_phone_and_on_a_desktop_light_and_dark() {
    let scratch = tempfile::tempdir().expect("a directory");
    let page = page(scratch.path());
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&pictures).expect("created");
    let mut browser = Browser::start();
    let mut grounds = Vec::new();
    for width in [PHONE, DESKTOP] {
        for scheme in ["light", "dark"] {
            let at = format!("{width} {scheme}");
            let mut tab = Tab::open(&mut browser, &page, width, scheme);
            let picture = pictures.join(format!("{width}-{scheme}.png"));
            let (drawn, height) = tab.photograph(&picture);
            assert!(drawn == width && height > 2000, "{at}: {drawn}x{height}");
            println!("{}", picture.display());

            assert_eq!(tab.evaluate("innerWidth"), width, "{at}");
            assert_eq!(tab.evaluate(TOO_WIDE), json!([]), "{at}");
            assert_eq!(tab.evaluate("document.documentElement.scrollWidth"), width, "{at}");
            assert_eq!(tab.evaluate(FAINT_TEXTS), json!([]), "{at}");
            assert_eq!(tab.evaluate("typeof window.injected"), "undefined", "{at}");
            assert_eq!(tab.evaluate("document.querySelectorAll('script, img, b').length"), 0, "{at}");
            assert_eq!(tab.evaluate("document.title"), "Incident 4711: <script>window.injected = true</script>");
            grounds.push(tab.evaluate("getComputedStyle(document.body).backgroundColor"));

            // The policy blocks nothing that the page uses, and the page is the only request.
            let events = &tab.browser.events;
            let of = |method: &str| events.iter().filter(|event| event["method"] == method).collect::<Vec<_>>();
            assert!(of("Log.entryAdded").is_empty(), "{at}: {:?}", of("Log.entryAdded"));
            let urls: Vec<_> = of("Network.requestWillBeSent")
                .iter()
                .map(|event| event["params"]["request"]["url"].to_string())
                .collect();
            assert!(urls.len() == 1 && urls[0].ends_with("/report.html\""), "{at}: {urls:?}");
        }
    }
    // The style is in force, and it follows the scheme.
    assert_eq!(grounds[..2], grounds[2..]);
    assert_ne!(grounds[0], grounds[1]);
}

#[test]
fn the_page_is_accessible() {
    let scratch = tempfile::tempdir().expect("a directory");
    let page = page(scratch.path());
    let mut browser = Browser::start();
    for width in [PHONE, DESKTOP] {
        let mut tab = Tab::open(&mut browser, &page, width, "light");
        let tree = tab.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().expect("nodes");
        let of = |role: &str| -> Vec<&str> {
            let nodes = nodes.iter().filter(|node| node["role"]["value"] == role && node["ignored"] != true);
            nodes.map(|node| node["name"]["value"].as_str().unwrap_or_default()).collect()
        };
        let strips = of("image");
        assert!(strips.len() > 20 && strips.iter().all(|name| name.contains(" columns")), "{width}: {strips:?}");
        assert_eq!(of("heading").iter().filter(|name| name.is_empty()).count(), 0);
        assert!(
            of("heading").contains(&"Results over time") && of("main").len() == 1 && of("navigation") == ["Contents"]
        );
        assert!(of("link").iter().all(|name| !name.is_empty()));
        assert_eq!(tab.evaluate("document.documentElement.lang"), "en");
        let tables = "document.querySelectorAll('.heat, .stack').length";
        let named = "[...document.querySelectorAll('.heat, .stack')].filter(t => t.querySelector('th[scope=col]') && \
                     (t.caption || t.closest('figure').querySelector('figcaption'))).length";
        assert_eq!(tab.evaluate(tables), tab.evaluate(named), "each table has headers and a caption");
        // The rows of a table are also rows where the phone's layout stacks their cells.
        assert!(of("rowheader").len() > 20 && of("table").len() >= 6, "{width}: {:?}", of("table"));
    }
}
