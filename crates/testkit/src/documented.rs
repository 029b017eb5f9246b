//! The fields of JSON documents, for tests that hold them against the tables that describe them.

use serde_json::Value;
use std::collections::BTreeSet;

/// The paths of all fields of a document, `findings[].id`, each below `here`.
#[must_use]
pub fn paths(document: &Value, here: &str) -> BTreeSet<String> {
    match document {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                let path = match here {
                    "" => name.clone(),
                    here => format!("{here}.{name}"),
                };
                let below = paths(value, &path);
                below.into_iter().chain([path])
            })
            .collect(),
        Value::Array(values) => {
            let each = values.iter();
            each.flat_map(|value| paths(value, &format!("{here}[]")))
                .collect()
        }
        _ => BTreeSet::new(),
    }
}
