// SPDX-License-Identifier: MIT OR Apache-2.0
//! The events and records that `emit::tracing` and `emit::log` pass to the application's own log.
#![cfg(all(feature = "log", feature = "tracing"))]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use retrans_sdk::format::emit;
use retrans_sdk::{Event, RetransResult};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

/// Returns an event with every key that is emitted as a field, and one without the optional ones.
fn events() -> [Event; 2] {
    let bare = Event::sample(RetransResult::Success);
    let mut full = Event::sample(RetransResult::Denied);
    (full.cookie, full.netns, full.cgroup, full.uid) = (Some(u64::MAX), Some(4026531840), Some(34), Some(1000));
    (full.owner, full.pid) = (Some(retrans_sdk::event::OwnerSource::Connect), Some(17));
    full.comm = Some("a b".parse().unwrap_or_else(|_| "a%20b".parse().expect("a text")));
    [full, bare]
}

#[derive(Default)]
struct Seen(BTreeMap<&'static str, String>);

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name(), format!("integer {value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name(), format!("integer {value}"));
    }
}

type Emitted = Arc<Mutex<Vec<(Level, String, BTreeMap<&'static str, String>)>>>;

struct Collector(Emitted);

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        let of = event.metadata();
        self.0.lock().expect("no panic").push((*of.level(), of.target().to_owned(), seen.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn tracing_receives_the_keys_as_fields() {
    let emitted = Emitted::default();
    tracing::subscriber::with_default(Collector(Arc::clone(&emitted)), || events().iter().for_each(emit::tracing));
    let emitted = emitted.lock().expect("no panic");
    let integers = ["err", "sport", "dport", "segs", "cookie", "netns", "cgroup", "uid", "pid"];
    for ((event, expected_level), (level, target, fields)) in
        events().iter().zip([Level::WARN, Level::INFO]).zip(emitted.iter())
    {
        assert_eq!((*level, target.as_str()), (expected_level, emit::TARGET));
        let mut expected = BTreeMap::from([("message", event.to_string())]);
        let line = event.to_string();
        for (key, value) in
            line.split(' ').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key != "transmit")
        {
            let key = retrans_sdk::event::keys().find(|of| of == &key).expect("a key");
            let value = if integers.contains(&key) { format!("integer {value}") } else { value.to_owned() };
            expected.insert(key, value);
        }
        assert_eq!(fields, &expected);
    }
    assert_eq!(emitted.len(), 2);
}

struct Logger(Mutex<Vec<String>>);

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {} {}", record.level(), record.target(), record.args());
        self.0.lock().expect("no panic").push(line);
    }

    fn flush(&self) {}
}

#[test]
fn log_receives_the_line() {
    static LOGGER: Logger = Logger(Mutex::new(Vec::new()));
    log::set_logger(&LOGGER).expect("the only one");
    log::set_max_level(log::LevelFilter::Trace);
    events().iter().for_each(emit::log);
    let [full, bare] = events();
    assert_eq!(*LOGGER.0.lock().expect("no panic"), [format!("WARN retrans {full}"), format!("INFO retrans {bare}")]);
}
