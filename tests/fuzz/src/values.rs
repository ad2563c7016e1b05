// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines, JSON, records, field sets and filters.

use retrans_sdk::event::{PercentEncoded, Verdict};
use retrans_sdk::format::{Escaped, Line, LineBuffer};
use retrans_sdk::harness::readers;
use retrans_sdk::{Event, FieldSet, Filter};

use crate::assert_printable;

/// Asserts that an event prints to a line and to JSON that read back to the same event.
pub(crate) fn assert_prints(event: &Event) {
    let line = event.to_string();
    assert!(line.is_ascii() && !line.contains(|c: char| c.is_ascii_control()), "{line:?}");
    assert_eq!(line.as_bytes(), LineBuffer::new().line(event));
    assert_eq!(line.parse::<Event>().as_ref(), Ok(event), "{line}");
    assert_eq!(readers::general_line(&line).as_ref(), Ok(event), "{line}");
    if let Some(canonical) = readers::canonical_line(&line) {
        assert_eq!(canonical.as_ref(), Ok(event), "{line}");
    }
    let json = serde_json::to_string(event).expect("an event has no other value than JSON's");
    assert!(json.is_ascii(), "{json}");
    assert_eq!(serde_json::from_str::<Event>(&json).expect(&json), *event, "{json}");
}

/// A key=value line: the parser of the canonical form, the general parser, and `Line`.
pub(crate) fn line(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let general = readers::general_line(text);
    if let Some(canonical) = readers::canonical_line(text) {
        assert_eq!(canonical, general, "{text:?}");
    }
    if let Err(error) = &general {
        assert_printable(&error.to_string());
        assert!((1..=text.len() + 1).contains(&error.column()), "{error}");
    }
    match text.parse::<Line>() {
        Ok(line) => {
            assert_eq!(general, Ok(line.event), "{text:?}");
            let printed = line.to_string();
            assert_printable(&printed);
            assert_eq!(printed.parse::<Line>(), Ok(line.clone()), "{printed:?}");
            match text.parse::<Event>() {
                Ok(event) => assert!(line.unknown.is_empty() && event == line.event, "{text:?}"),
                Err(error) => assert!(!line.unknown.is_empty(), "{text:?}: {error}"),
            }
            assert_prints(&line.event);
        }
        Err(error) => {
            assert_printable(&error.to_string());
            assert!(text.parse::<Event>().is_err(), "{text:?}");
        }
    }
}

/// JSON of an event.
pub(crate) fn json(bytes: &[u8]) {
    if let Ok(event) = serde_json::from_slice::<Event>(bytes) {
        assert_prints(&event);
    }
}

/// A record of the ring buffer. The first byte decides whether its header is made valid, because
/// other records end at the header.
pub(crate) fn record(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let mut record = bytes.to_vec();
    if mode & 1 == 0 && record.len() >= 80 {
        let length = u16::try_from(record.len()).unwrap_or_default();
        record[..2].copy_from_slice(&length.to_ne_bytes());
        record[2..4].copy_from_slice(&2u16.to_ne_bytes());
        record[36] = if mode & 2 == 0 { 2 } else { 10 };
    }
    match readers::record(&record) {
        Ok(event) => {
            assert_prints(&event);
            // A buffer of events is reused, so nothing may remain of the event before.
            let mut reused = other_event();
            assert_eq!(readers::record_into(&mut reused, &record), Ok(()));
            assert_eq!(reused, event);
        }
        Err(error) => assert_printable(&error),
    }
}

/// The line of a verdict, or its record if the first byte is not printable.
pub(crate) fn verdict(bytes: &[u8]) {
    if bytes.first().is_some_and(u8::is_ascii_control) {
        let mut record = bytes[1..].to_vec();
        record.resize(104, 0);
        record[..4].copy_from_slice(&[104u16.to_ne_bytes(), 0x8001u16.to_ne_bytes()].concat());
        if let Some(verdict) = readers::verdict_record(&record) {
            assert_verdict_prints(&verdict);
        }
    } else if let Ok(text) = std::str::from_utf8(bytes) {
        match text.parse::<Verdict>() {
            Ok(verdict) => assert_verdict_prints(&verdict),
            Err(error) => assert_printable(&error.to_string()),
        }
    }
}

fn assert_verdict_prints(verdict: &Verdict) {
    let line = verdict.to_string();
    assert_printable(&line);
    assert!(line.starts_with("what=verdict ") && line.is_ascii(), "{line:?}");
    assert_eq!(line.parse::<Verdict>().as_ref(), Ok(verdict), "{line}");
    let json = serde_json::to_string(verdict).expect("a verdict has no other value than JSON's");
    assert!(json.starts_with(r#"{"what":"verdict","#), "{json}");
}

/// Returns an event with all fields of a full record.
fn other_event() -> Event {
    let mut record = vec![0xa5; 1024];
    record[..2].fill(0);
    let place = retrans_sdk::harness::empty_record();
    record.truncate(place.len());
    record[..4].copy_from_slice(&place[..4]);
    record[36] = 10;
    readers::record(&record).expect("a valid header")
}

/// The list of optional fields.
pub(crate) fn field_set(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<FieldSet>() {
        Ok(fields) => {
            assert_eq!(fields.to_string().parse(), Ok(fields));
            let names = text.split(',').filter(|name| !name.is_empty());
            assert!(names.into_iter().all(|name| fields.contains(name)), "{text:?}");
        }
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// Any bytes as a value of a message and of a line.
pub(crate) fn escaped(bytes: &[u8]) {
    let value = Escaped::value(bytes).to_string();
    assert_printable(&value);
    assert!(!value.contains(['\n', '\t']), "{value:?}");
    let text = Escaped::text(bytes).to_string();
    assert_printable(&text);
    let encoded = PercentEncoded(bytes).to_string();
    assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic() && !b"=,\"".contains(&byte)), "{encoded:?}");
}

/// A filter, and an event that it is applied to: the first line is the filter, and the second is a
/// key=value line.
pub(crate) fn filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, line) = text.split_once('\n').unwrap_or((text, ""));
    match text.parse::<Filter>() {
        Ok(filter) => {
            let printed = filter.to_string();
            assert_printable(&printed);
            let again: Filter = printed.parse().unwrap_or_else(|error| panic!("{printed:?}: {error}"));
            assert_eq!(again.to_string(), printed);
            if let Ok(event) = line.parse::<Event>() {
                assert_eq!(again.matches(&event), filter.matches(&event), "{printed}");
                let either = filter.or(&again);
                assert!(either.is_err() || either.is_ok_and(|either| either.matches(&event) == filter.matches(&event)));
            }
        }
        Err(error) => {
            assert_printable(&error.to_string());
            assert!((1..=text.chars().count() + 1).contains(&error.column()), "{text:?}: {error}");
        }
    }
}
