// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of synthetic models on ratatui's test backend, at a fixed time.

use insta::assert_snapshot;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyCode;
use ratatui::style::{Color, Modifier};
use retrans_sdk::event::{Clock, Timestamp};
use retrans_sdk::{Filter, RetransResult};

use super::{ALARM, Shown, draw, rate, remove_colors, short};
use crate::top::input::Choices;
use crate::top::model::tests::event;
use crate::top::model::{Counters, Model};
use crate::top::remotes::Remotes;
use crate::top::source::{About, Progress};

/// The start time of each scene, in seconds since the epoch.
const BEGAN: u64 = 1_795_444_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos((BEGAN + seconds) * 1_000_000_000)
}

/// The data that [`Shown`] borrows.
struct Scene {
    about: About,
    progress: Progress,
    filter: Filter,
    model: Model,
    now: Timestamp,
    paused: bool,
    refused: Option<String>,
    choices: Choices,
}

impl Scene {
    fn empty() -> Self {
        let mut model = Model::new(at(0));
        model.read(counters(0, 0, Some(0)), at(0));
        Self {
            about: About {
                what: "source=tp_err companion=fexit".to_owned(),
                observes_failures: Some(true),
                unobservable: vec!["synack_failures".to_owned()],
                clock: Clock::Realtime,
            },
            progress: Progress::GoesOn,
            filter: Filter::default(),
            model,
            now: at(0),
            paused: false,
            refused: None,
            choices: Choices::default(),
        }
    }

    /// Twenty-five seconds of a host with many failures and losses.
    fn busy() -> Self {
        let mut scene = Self::empty();
        scene.now = at(25);
        for second in 0..=25 {
            let ts = (BEGAN + second).to_string();
            let mut count = |result, kind, daddr: &str, times| {
                (0..times).for_each(|_| scene.model.count(&event(&ts, result, kind, daddr)));
            };
            count("success", "rto", "192.0.2.7", second % 4);
            count("success", "tlp", "2001:db8:0:1:a:b:c:d", 1);
            count("success", "fast", "198.51.100.20", (second * second) % 7);
            count("denied", "rto", "203.0.113.9", u64::from(second % 5 == 0));
            count("xmit_drop", "fast", "192.0.2.7", if second == 12 { 200 } else { u64::from(second > 12) });
            count("k17", "unknown", "198.51.100.1", u64::from(second == 3));
        }
        scene.model.read(counters(3500, 0, Some(0)), at(20));
        let mut counters = counters(3700, 12, Some(1));
        counters.seen = Some(vec![
            (Some(RetransResult::Success), 3400),
            (Some(RetransResult::Denied), 60),
            (Some(RetransResult::XmitDrop), 123_456),
            (None, 1),
        ]);
        scene.model.read(counters, at(25));
        scene
    }

    fn press(mut self, keys: &[KeyCode]) -> Self {
        for key in keys {
            assert!(self.choices.on_key((*key).into(), &self.filter).is_none());
        }
        self
    }

    fn typing(self, text: &str) -> Self {
        let keys: Vec<_> = text.chars().map(KeyCode::Char).collect();
        self.press(&keys)
    }

    fn on(&self, width: u16, height: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it cannot fail");
        let shown = Shown {
            about: &self.about,
            progress: &self.progress,
            filter: &self.filter,
            model: &self.model,
            now: self.now,
            paused: self.paused,
            refused: self.refused.as_deref(),
            choices: &self.choices,
        };
        terminal.draw(|frame| draw(frame, &shown)).expect("it cannot fail");
        terminal
    }
}

fn counters(seen: u64, lost: u64, missed: Option<u64>) -> Counters {
    let values = [
        ("seen", Some(seen)),
        ("filtered", Some(0)),
        ("limited", Some(0)),
        ("lost", Some(lost)),
        ("submitted", Some(seen - lost)),
        ("rejected", Some(0)),
        ("dropped", Some(0)),
        ("delivered", Some(seen - lost)),
        ("missed", missed),
    ];
    Counters { values: values.to_vec(), seen: Some(Vec::new()) }
}

/// Returns the parts of a picture that have a style.
fn in_style(buffer: &Buffer, style: ratatui::style::Style) -> Vec<String> {
    let mut runs = vec![String::new()];
    for cell in buffer.content() {
        if cell.fg == style.fg.unwrap_or_default() && cell.bg == style.bg.unwrap_or_default() {
            runs.last_mut().expect("one").push_str(cell.symbol());
        } else if !runs.last().expect("one").is_empty() {
            runs.push(String::new());
        }
    }
    runs.retain(|run| !run.trim().is_empty());
    runs
}

#[test]
fn empty() {
    assert_snapshot!(Scene::empty().on(100, 20).backend());
}

#[test]
fn busy() {
    let terminal = Scene::busy().on(120, 30);
    assert_snapshot!(terminal.backend());
    let alarms = in_style(terminal.backend().buffer(), ALARM);
    assert_eq!(alarms.len(), 3, "{alarms:?}");
    assert_eq!((alarms[0].as_str(), alarms[1].as_str()), ("lost=12", "missed=1"));
    assert!(alarms[2].starts_with("(losses)"), "{alarms:?}");
}

#[test]
fn without_losses_there_is_no_alarm() {
    assert!(in_style(Scene::empty().on(100, 20).backend().buffer(), ALARM).is_empty());
}

#[test]
fn in_eighty_columns_sorted_by_address() {
    let scene = Scene::busy().typing("sss");
    assert_snapshot!(scene.on(80, 24).backend());
}

#[test]
fn failures_unobservable() {
    let mut scene = Scene::empty();
    scene.about = About {
        what: "source=tp_success".to_owned(),
        observes_failures: Some(false),
        unobservable: vec!["failures".to_owned(), "synack_failures".to_owned()],
        clock: Clock::Realtime,
    };
    scene.now = at(2);
    for ts in [BEGAN, BEGAN + 1] {
        scene.model.count(&event(&ts.to_string(), "success", "rto", "192.0.2.7"));
    }
    scene.model.read(counters(2, 0, None), at(2));
    assert_snapshot!(scene.on(100, 20).backend());
}

#[test]
fn paused_at_the_end_of_a_recording() {
    let mut scene = Scene::busy().typing("jj");
    scene.about = About {
        what: "recording lab.kv".to_owned(),
        observes_failures: None,
        unobservable: Vec::new(),
        clock: Clock::Realtime,
    };
    scene.model.counters =
        Counters { values: vec![("read", Some(75)), ("filtered", Some(3)), ("delivered", Some(72))], seen: None };
    scene.filter = "dport=443".parse().expect("a filter");
    (scene.progress, scene.paused) = (Progress::Ended, true);
    assert_snapshot!(scene.on(100, 24).backend());
}

#[test]
fn removed_addresses() {
    let mut scene = Scene::empty();
    scene.model.remotes = Remotes::new(4);
    for i in 0..9 {
        let result = if i == 0 { "denied" } else { "success" };
        scene.model.remotes.count(&event(&BEGAN.to_string(), result, "rto", &format!("192.0.2.{i}")));
    }
    assert_snapshot!(scene.on(100, 20).backend());
}

#[test]
fn droppers() {
    let mut scene = Scene::empty();
    scene.choices.droppers = true;
    assert!(scene.on(80, 24).backend().to_string().contains("no drop is known"));
    for (seconds, drop) in [(1, "TC_EGRESS"), (5, "QDISC_DROP"), (9, "QDISC_DROP")] {
        let mut dropped = event(&(BEGAN + seconds).to_string(), "xmit_drop", "rto", "192.0.2.7");
        dropped.drop_reason = Some(drop.parse().expect("a reason"));
        dropped.drop_at = Some("__dev_queue_xmit+0xdd1".parse().expect("a symbol"));
        dropped.drop_dev = Some("eth0".parse().expect("a name"));
        scene.model.count(&dropped);
    }
    scene.now = at(10);
    let shown = scene.on(80, 24).backend().to_string();
    let rows: Vec<_> = shown.lines().filter(|line| line.contains("__dev_queue_xmit")).collect();
    assert_eq!(rows.len(), 2, "{shown}");
    assert!(rows[0].contains("QDISC_DROP at __dev_queue_xmit on eth0") && rows[0].contains("1 s"), "{shown}");
    assert!(!shown.contains("192.0.2.7"), "the addresses are not shown: {shown}");
}

#[test]
fn help() {
    assert_snapshot!(Scene::busy().typing("?").on(100, 30).backend());
}

#[test]
fn filter_entry() {
    let terminal = Scene::empty().typing("fdaddr=10.0.0.0/8").on(80, 16);
    assert_snapshot!(terminal.backend());
}

#[test]
fn filter_entry_with_an_error() {
    let scene = Scene::empty().typing("fdport=443 stat=close");
    let mut terminal = scene.on(80, 16);
    assert_snapshot!(terminal.backend());
    // After the text.
    terminal.backend_mut().assert_cursor_position((28, 14));
}

#[test]
fn a_filter_that_could_not_be_applied() {
    let mut scene = Scene::empty();
    scene.refused = Some("missing CAP_BPF: …".to_owned());
    assert_snapshot!(scene.on(80, 16).backend());
}

#[test]
fn tiny() {
    assert_snapshot!(Scene::busy().on(30, 6).backend());
}

#[test]
fn without_colors_alarms_are_reversed() {
    let mut buffer = Scene::busy().on(120, 30).backend().buffer().clone();
    let alarms = in_style(&buffer, ALARM).concat();
    remove_colors(&mut buffer);
    assert!(buffer.content().iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
    let reversed = buffer.content().iter().filter(|cell| cell.modifier.contains(Modifier::REVERSED));
    assert_eq!(reversed.map(|cell| cell.symbol()).collect::<String>(), alarms);
}

#[test]
fn losses_are_visible_in_any_size() {
    for (width, height) in [(8, 1), (20, 3), (60, 14), (80, 14), (200, 14)] {
        let terminal = Scene::busy().on(width, height);
        let alarms = in_style(terminal.backend().buffer(), ALARM);
        assert!(!alarms.is_empty(), "{width} x {height}: {}", terminal.backend());
    }
}

/// Draws every scene in many sizes, from empty to very large.
#[test]
fn no_size_panics() {
    let scenes = || {
        let mut recorded = Scene::busy();
        recorded.about.observes_failures = Some(false);
        recorded.refused = Some("no".repeat(200));
        recorded.progress = Progress::Broken("line 7: no".to_owned());
        recorded.paused = true;
        [
            Scene::empty(),
            Scene::busy().typing("?"),
            Scene::busy().typing(&format!("f{}", "字=".repeat(100))),
            Scene::busy().typing("jjjj"),
            recorded,
        ]
    };
    for scene in scenes() {
        for width in (0..12).chain([20, 40]).chain(57..63).chain([80, 120, 500]) {
            for height in (0..20).chain([30, 200]) {
                scene.on(width, height);
            }
        }
    }
}

#[test]
fn control_characters_are_never_shown() {
    let hostile = "\u{1b}[2J\u{1b}]0;pwned\u{7}\r\n\u{9b}31m";
    let mut scene = Scene::busy();
    scene.about.what = format!("recording {hostile}");
    scene.refused = Some(hostile.to_owned());
    scene.progress = Progress::Broken(hostile.to_owned());
    for scene in [scene, Scene::busy().typing(&format!("f{hostile}"))] {
        for (width, height) in [(120, 30), (30, 10)] {
            let terminal = scene.on(width, height);
            let cells = terminal.backend().buffer().content();
            assert!(cells.iter().all(|cell| !cell.symbol().contains(char::is_control)));
        }
    }
}

#[test]
fn numbers_fit_their_columns() {
    for (number, text) in [
        (0, "0"),
        (99_999, "99999"),
        (100_000, "100k"),
        (999_999, "999k"),
        (1_000_000, "1.00M"),
        (12_345_678, "12.3M"),
        (u64::MAX, "18.4E"),
    ] {
        assert_eq!(short(number), text);
    }
    for (number, text) in [(0.0, "0.0"), (0.25, "0.2"), (999.94, "999.9"), (12_345.6, "12345")] {
        assert_eq!(rate(number), text);
    }
}
