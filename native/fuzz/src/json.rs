//! JSON as serde_json understands it, with what else makes a line a record: distinct keys and a limit of depth.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value whose numbers are text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Value>),
    Object(Members),
}

/// In the order in which they stand.
pub type Members = Vec<(String, Value)>;

/// The record that a line is, if it is one.
pub fn record(line: &[u8], depth_max: usize) -> Option<Members> {
    let text = std::str::from_utf8(line).ok()?;
    match value(text.trim_matches([' ', '\t', '\r']), depth_max)? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// The value that the text is; `depth` objects and lists may be open at once.
pub fn value(text: &str, depth: usize) -> Option<Value> {
    Some(match text.bytes().next()? {
        b'{' => {
            let pairs: Pairs = serde_json::from_str(text).ok()?;
            let depth = depth.checked_sub(1)?;
            let members: Members =
                pairs.0.into_iter().map(|(key, raw)| Some((key, value(raw.get(), depth)?))).collect::<Option<_>>()?;
            let mut keys: Vec<_> = members.iter().map(|(key, _)| key).collect();
            keys.sort_unstable();
            if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                return None;
            }
            Value::Object(members)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let depth = depth.checked_sub(1)?;
            Value::List(items.into_iter().map(|raw| value(raw.get(), depth)).collect::<Option<_>>()?)
        }
        b'"' => Value::Text(serde_json::from_str(text).ok()?),
        b't' | b'f' => Value::Bool(serde_json::from_str(text).ok()?),
        b'n' => {
            serde_json::from_str::<()>(text).ok()?;
            Value::Null
        }
        _ => Value::Number(serde_json::from_str::<&RawValue>(text).ok()?.get().to_owned()),
    })
}

struct Pairs<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Pairs<'de>;

            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(All)
    }
}
