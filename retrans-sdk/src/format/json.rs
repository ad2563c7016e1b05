// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON by serde, with the keys and the order of the key=value line. 64-bit ids and `ts` are
//! strings, because many readers parse JSON numbers as doubles. `err` is null if it is not
//! available. `event.schema.json` describes the format.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::event::Event;
use crate::event::schema::{self, FIELDS, Field, FieldType, Value};
use crate::format::kv::{draft, validated};
use crate::text::escape::Escaped;

/// The JSON Schema (2020-12) of an [`Event`]. Requires the feature `serde`.
///
/// Its `$id` ends with a version. The version is incremented when readers of the previous version
/// could not read an event. Keys may be added without a new version.
pub const JSON_SCHEMA: &str = include_str!("../../event.schema.json");

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for field in FIELDS {
            match (field.get)(self) {
                Some(value) => map.serialize_entry(field.key, &value)?,
                None if field.always => map.serialize_entry(field.key, &())?,
                None => {}
            }
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Yes => serializer.serialize_bool(true),
            value => serializer.collect_str(value),
        }
    }
}

/// Accepts keys in any order and ignores unknown keys.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let mut draft = draft();
        let (mut seen, mut next) = (0u128, 0);
        while let Some(key) = map.next_key::<String>()? {
            let Some((index, field)) = schema::by_key(&key, next) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen & 1 << index != 0 {
                return Err(A::Error::custom(format_args!("duplicate key `{key}`")));
            }
            seen |= 1 << index;
            next = index + 1;
            let text = map.next_value::<JsonValue>()?.of(field).map_err(A::Error::custom)?;
            (field.set)(&mut draft, &text).map_err(|problem| {
                A::Error::custom(format_args!("`{key}` is `{}`: {problem}", Escaped::value(&text)))
            })?;
        }
        let missing = FIELDS.iter().enumerate().find(|(index, field)| field.always && seen & 1 << index == 0);
        if let Some((_, missing)) = missing {
            return Err(A::Error::custom(format_args!("missing key `{}`", missing.key)));
        }
        validated(draft).map_err(|error| A::Error::custom(error.problem()))
    }
}

/// A value in JSON.
enum JsonValue {
    String(String),
    Int(i64),
    Yes,
    Null,
}

impl JsonValue {
    /// Returns the text of the value in a key=value line, if the field has this JSON type.
    fn of(self, field: &Field) -> Result<String, String> {
        let is_number = matches!(field.field_type, FieldType::Int { .. });
        let is_flag = matches!(field.field_type, FieldType::Flag);
        match self {
            Self::String(text) if !is_number && !is_flag => Ok(text),
            Self::Int(number) if is_number => Ok(number.to_string()),
            Self::Yes if is_flag => Ok("yes".to_owned()),
            Self::Null if field.always => Ok("-".to_owned()),
            _ => Err(format!("wrong JSON type of `{}`", field.key)),
        }
    }
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonValueVisitor)
    }
}

struct JsonValueVisitor;

impl Visitor<'_> for JsonValueVisitor {
    type Value = JsonValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an integer, true or null")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<JsonValue, E> {
        Ok(JsonValue::String(text.to_owned()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<JsonValue, E> {
        Ok(JsonValue::Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<JsonValue, E> {
        i64::try_from(number).map(JsonValue::Int).map_err(|_| E::custom("an integer out of range"))
    }

    fn visit_bool<E: Error>(self, yes: bool) -> Result<JsonValue, E> {
        if yes { Ok(JsonValue::Yes) } else { Err(E::custom("a flag that is not set must be omitted")) }
    }

    fn visit_unit<E: Error>(self) -> Result<JsonValue, E> {
        Ok(JsonValue::Null)
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use serde_json::{Map, Value as Json, json};

    use super::*;
    use crate::event::record::decode;
    use crate::event::record::tests::any_record;
    use crate::event::result::RetransResult;

    /// Returns the JSON Schema of the list of fields.
    fn schema() -> String {
        let of = |field: &Field| match field.field_type {
            FieldType::Time => json!({"type": "string", "pattern": "^[0-9]+\\.[0-9]{9}$"}),
            FieldType::Table { names, .. } => {
                let names = names().replace(' ', "|");
                json!({"type": "string", "pattern": format!("^({names}|k[0-9]+)$")})
            }
            FieldType::Int { low, high } if field.key == "err" => {
                json!({"type": ["integer", "null"], "minimum": low, "maximum": high})
            }
            FieldType::Int { low, high } => json!({"type": "integer", "minimum": low, "maximum": high}),
            FieldType::Id => json!({"type": "string", "pattern": "^[0-9]{1,20}$"}),
            FieldType::Flags => json!({"type": "string", "pattern": "^0x[0-9a-f]{3,4}$"}),
            FieldType::Addr => json!({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}),
            FieldType::KernelStr => json!({"type": "string", "pattern": "^[!-~]*$"}),
            FieldType::Symbol => json!({"type": "string", "pattern": r"^[A-Za-z0-9_.$]+\+0x[0-9a-f]+$"}),
            FieldType::Flag => json!({"const": true}),
        };
        let properties: Map<_, _> = FIELDS.iter().map(|field| (field.key.to_owned(), of(field))).collect();
        let required: Vec<_> = FIELDS.iter().filter(|field| field.always).map(|field| field.key).collect();
        let schema = json!({
            "$comment": "SPDX-License-Identifier: MIT OR Apache-2.0",
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "urn:retrans:event:1",
            "title": "An attempt to retransmit a TCP segment",
            "type": "object",
            "properties": properties,
            "required": required,
        });
        serde_json::to_string_pretty(&schema).expect("JSON") + "\n"
    }

    /// Compares the schema file with the fields. `RETRANS_WRITE_SCHEMA=1` writes the file instead.
    #[test]
    fn the_schema_file_matches_the_fields() {
        if env::var_os("RETRANS_WRITE_SCHEMA").is_some() {
            fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/event.schema.json"), schema()).expect("a file");
            return;
        }
        assert_eq!(JSON_SCHEMA, schema());
    }

    proptest::proptest! {
        #[test]
        fn an_event_survives_json(record in any_record()) {
            let event = decode(&record, 0).expect("a good header");
            let json = serde_json::to_string(&event).expect("JSON");
            proptest::prop_assert_eq!(serde_json::from_str::<Event>(&json).expect("an event"), event, "{}", json);
        }
    }

    #[test]
    fn invalid_json_is_rejected() {
        let mut event = Event::sample(RetransResult::Denied);
        event.cookie = Some(u64::MAX);
        let good = serde_json::to_value(event).expect("JSON");
        let with = |key: &str, value: Json| {
            let mut json = good.clone();
            json[key] = value;
            serde_json::from_value::<Event>(json).map_err(|error| error.to_string())
        };
        assert_eq!(with("later", json!([1, {"a": 2}])), Ok(event));
        assert_eq!(with("err", Json::Null).map(|event| event.err), Ok(None));
        assert_eq!(with("kind", json!("k99")).map(|event| event.kind.to_string()), Ok("k99".to_owned()));
        for (key, value) in [
            ("cookie", json!(17)),
            ("sport", json!("80")),
            ("sport", json!(65536)),
            ("sport", json!(1.5)),
            ("mapped", json!(false)),
            ("mapped", json!("yes")),
            ("result", Json::Null),
            ("cookie", Json::Null),
            ("result", json!("refused")),
            ("class", json!("ok")),
            ("saddr", json!("::1")),
            ("ts", json!("1.5")),
            ("ts", json!(1.5)),
            ("dport", json!({})),
        ] {
            assert!(with(key, value.clone()).is_err(), "{key}: {value}");
        }
        let mut json = good.clone();
        json.as_object_mut().expect("an object").remove("kind");
        assert!(serde_json::from_value::<Event>(json).is_err());
        assert!(serde_json::from_str::<Event>("[]").is_err());
    }
}
