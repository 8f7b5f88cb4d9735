//! Where two values differ, field by field.
//!
//! Owns the walk over two JSON values side by side. Refuses to know what they mean. It can not fail.

use serde_json::Value as Json;

/// Fields that are listed; of more only the number is said.
const LISTED: usize = 12;

/// One field that is not the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Where, members joined by dots; empty: the whole.
    pub path: String,
    /// What was recorded; `None`: nothing is there.
    pub recorded: Option<Json>,
    /// What came.
    pub came: Option<Json>,
}

/// All fields in which two values differ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    /// The first of them.
    pub listed: Vec<Field>,
    /// How many more there are.
    pub more: usize,
}

impl Fields {
    fn add(&mut self, path: &str, recorded: Option<&Json>, came: Option<&Json>) {
        if self.listed.len() < LISTED {
            self.listed.push(Field { path: path.into(), recorded: recorded.cloned(), came: came.cloned() });
        } else {
            self.more += 1;
        }
    }
}

/// What of `came` is not as it was recorded.
#[must_use]
pub fn fields(recorded: &Json, came: &Json) -> Fields {
    let mut fields = Fields::default();
    walk("", Some(recorded), Some(came), &mut fields);
    fields
}

fn walk(path: &str, recorded: Option<&Json>, came: Option<&Json>, fields: &mut Fields) {
    let inner = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (recorded, came) {
        (Some(one), Some(other)) if one == other => {}
        // Cases of one variant: another name is another value, not a member more and a member less.
        (Some(Json::Object(one)), Some(Json::Object(other))) if !other_case(one, other) => {
            for name in one.keys().chain(other.keys().filter(|name| !one.contains_key(*name))) {
                walk(&inner(name), one.get(name), other.get(name), fields);
            }
        }
        (Some(Json::Array(one)), Some(Json::Array(other))) => {
            for place in 0..one.len().max(other.len()) {
                walk(&inner(&place.to_string()), one.get(place), other.get(place), fields);
            }
        }
        (recorded, came) => fields.add(path, recorded, came),
    }
}

fn other_case(one: &serde_json::Map<String, Json>, other: &serde_json::Map<String, Json>) -> bool {
    one.len() == 1 && other.len() == 1 && one.keys().ne(other.keys())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_field_that_differs_is_named() {
        let check = |recorded: &str, came: &str, expected: &[&str]| {
            let (recorded, came) = (serde_json::from_str(recorded).unwrap(), serde_json::from_str(came).unwrap());
            let fields = fields(&recorded, &came);
            let paths: Vec<&str> = fields.listed.iter().map(|field| field.path.as_str()).collect();
            assert_eq!(paths, expected, "{recorded} and {came}");
        };
        check(r#"{"a":1,"b":[1,2]}"#, r#"{"b":[1,2],"a":1}"#, &[]);
        check(
            r#"{"step":{"transmit":"250","wake":1}}"#,
            r#"{"step":{"transmit":"251","wake":2}}"#,
            &["step.transmit", "step.wake"],
        );
        check(r#"{"events":[{"detail":"a"}]}"#, r#"{"events":[{"detail":"a"},{"detail":"b"}]}"#, &["events.1"]);
        check(r#"{"need":"input"}"#, r#"{"need":{"answer":"data"}}"#, &["need"]);
        check(r#"{"need":{"answer":{"sender":1}}}"#, r#"{"need":{"answer":{"verify":"x"}}}"#, &["need.answer"]);
        check(r#"{"step":{}}"#, r#"{"trap":"x"}"#, &[""]);
    }

    #[test]
    fn of_many_only_the_number_is_said() {
        let recorded = Json::Array(vec![Json::Null; 30]);
        let fields = fields(&recorded, &Json::Array(Vec::new()));
        assert_eq!((fields.listed.len(), fields.more), (LISTED, 30 - LISTED));
    }
}
