//! The operator's settings as a type of the plugin's own.

use serde::de::DeserializeOwned;

use crate::{Failure, config};

/// Reads all of this plugin's settings. Give the type `#[serde(deny_unknown_fields)]`, so that a misspelled key is an
/// error and not a surprise.
///
/// # Errors
/// The settings do not fit the type; the text names the key.
pub fn settings<T: DeserializeOwned>() -> Result<T, Failure> {
    let json = config::json();
    serde_json::from_str(&json).map_err(|error| Failure::new(format!("settings: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::Fake;

    #[derive(serde::Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[serde(default)]
        limit: u32,
    }

    fn read(json: &str) -> Result<Settings, String> {
        let mut fake = Fake::new();
        fake.settings(json);
        fake.run(|| settings().map_err(|failure| failure.to_string()))
    }

    #[test]
    fn settings_are_read_and_mistakes_are_named() {
        assert_eq!(read("{}"), Ok(Settings { limit: 0 }));
        assert_eq!(read(r#"{"limit": 3}"#), Ok(Settings { limit: 3 }));
        let error = read(r#"{"limt": 3}"#).expect_err("a misspelled key");
        assert!(error.contains("`limt`"), "{error}");
        let error = read(r#"{"limit": -1}"#).expect_err("a negative limit");
        assert!(error.contains("-1"), "{error}");
    }
}
