// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON schema is valid, and JSON output conforms to it.

use jsonschema::Validator;
use retrans_sdk::format::{JSON_SCHEMA, Line};
use retrans_sdk::{Event, RetransResult};
use serde_json::{Value, json};

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(JSON_SCHEMA).expect("JSON");
    jsonschema::meta::validate(&schema).expect("a schema");
    assert_eq!(schema["$id"], "urn:retrans:event:1");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema")
}

fn recorded() -> Vec<Event> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/retrans/recordings/lab.kv");
    let text = std::fs::read_to_string(path).expect("the recording");
    text.lines().map(|line| line.parse::<Line>().expect("a line").event).collect()
}

#[test]
fn every_event_conforms_to_the_schema() {
    let validator = validator();
    let all = RetransResult::ALL.iter().map(|entry| Event::sample(entry.variant));
    let unknown = Event::sample(RetransResult::from_raw(0x1_0011));
    for event in recorded().into_iter().chain(all).chain([unknown]) {
        let json = serde_json::to_value(event).expect("JSON");
        let errors: Vec<_> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{event}: {errors:?}");
    }
}

#[test]
fn unexpected_json_does_not_conform() {
    let validator = validator();
    let good = serde_json::to_value(recorded()[0]).expect("JSON");
    // Keys are added without a new version.
    for (key, value, is_valid) in [
        ("later", json!([1]), true),
        ("err", Value::Null, true),
        ("result", json!("k17"), true),
        ("cookie", json!(17), false),
        ("ts", json!(1.5), false),
        ("sport", json!(65536), false),
        ("result", json!("refused"), false),
        ("mapped", json!(false), false),
        ("saddr", json!("10.0.0"), false),
        ("tcp_flags", json!("18"), false),
    ] {
        let mut event = good.clone();
        event[key] = value.clone();
        assert_eq!(validator.is_valid(&event), is_valid, "{key}: {value}");
    }
    for key in retrans_sdk::event::keys().take(11) {
        let mut event = good.clone();
        event.as_object_mut().expect("an object").remove(key);
        assert!(!validator.is_valid(&event), "without {key}");
    }
}
