// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON through serde: the keys and the order of the line; ids of 64 bits and `ts` are strings, for JSON numbers are
//! doubles in many readers; `err` is null where the source has none.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::event::Event;
use crate::field::{FIELDS, Value};

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
