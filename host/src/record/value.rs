//! How a value of `wit/engine` looks in JSON: the table in `wit/session.md`.
//!
//! Owns [`Value`], its primitive types, and the macros by which [`super::server`] and [`super::client`] list the others. The
//! lists can not fall behind the WIT: a field or a case that is missing there does not compile. Fails by [`Wrong`].

use std::hash::Hasher;

use serde_json::Value as Json;

/// The largest number that every reader of JSON takes as it stands (RFC 8259 section 6).
const EXACT: u64 = (1 << 53) - 1;
/// Characters of what was found that an error shows.
const SHOWN: usize = 60;

/// A value that is of another type than it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}expected {expected}, not {found}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct Wrong {
    /// Where in the line, members joined by dots; empty: all of it.
    pub path: String,
    /// What should stand there.
    pub expected: String,
    /// What does.
    pub found: String,
}

impl Wrong {
    /// At this very place.
    #[must_use]
    pub fn new(expected: impl Into<String>, found: &Json) -> Self {
        Self { path: String::new(), expected: expected.into(), found: shown(found) }
    }

    /// A member that has to be there is not.
    #[must_use]
    pub fn lacking(name: &str) -> Self {
        Self { path: String::new(), expected: format!("a member `{name}`"), found: "an object without it".into() }
    }

    /// The same, seen from the value around it.
    #[must_use]
    pub fn inside(mut self, name: impl std::fmt::Display) -> Self {
        self.path = if self.path.is_empty() { name.to_string() } else { format!("{name}.{}", self.path) };
        self
    }
}

/// JSON for a person, cut to a bearable length.
#[must_use]
pub fn shown(json: &Json) -> String {
    let text = json.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A value of `wit/engine` in JSON.
pub trait Value: Sized {
    /// Puts it behind what is there.
    fn write(&self, json: &mut String);

    /// Reads it.
    ///
    /// # Errors
    /// See [`Wrong`].
    fn read(json: &Json) -> Result<Self, Wrong>;

    /// Gives all of it to a hash, which is far cheaper than to write it.
    fn feed(&self, hash: &mut impl Hasher);

    /// Gives several of them to a hash.
    fn feed_list(list: &[Self], hash: &mut impl Hasher) {
        hash.write_usize(list.len());
        list.iter().for_each(|value| value.feed(hash));
    }

    /// Several of them: an array, unless they are octets.
    fn write_list(list: &[Self], json: &mut String) {
        json.push('[');
        for (place, value) in list.iter().enumerate() {
            if place > 0 {
                json.push(',');
            }
            value.write(json);
        }
        json.push(']');
    }

    /// Reads several of them.
    ///
    /// # Errors
    /// See [`Wrong`].
    fn read_list(json: &Json) -> Result<Vec<Self>, Wrong> {
        let list = json.as_array().ok_or_else(|| Wrong::new("an array", json))?;
        list.iter().enumerate().map(|(place, value)| Self::read(value).map_err(|wrong| wrong.inside(place))).collect()
    }
}

/// A string as JSON has it.
pub fn write_text(text: &str, json: &mut String) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\r' => json.push_str("\\r"),
            '\n' => json.push_str("\\n"),
            '\t' => json.push_str("\\t"),
            // C1 controls, and what JavaScript takes for ends of lines, would spoil the view.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                json.push_str(&format!("\\u{:04x}", character as u32));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}

/// WIT's name for a field or a case of Rust's.
#[must_use]
pub fn kebab(name: &str) -> String {
    let mut kebab = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        match character {
            '_' => kebab.push('-'),
            'A'..='Z' => {
                if !kebab.is_empty() {
                    kebab.push('-');
                }
                kebab.push(character.to_ascii_lowercase());
            }
            _ => kebab.push(character),
        }
    }
    kebab
}

/// `"name"`, of a field or a case of Rust's.
pub fn write_name(name: &str, json: &mut String) {
    json.push('"');
    json.push_str(&kebab(name));
    json.push('"');
}

/// The member of that name.
///
/// # Errors
/// It is not there, or of another type.
pub fn member<T: Value>(object: &serde_json::Map<String, Json>, name: &str) -> Result<T, Wrong> {
    let value = object.get(name).ok_or_else(|| Wrong::lacking(name))?;
    T::read(value).map_err(|wrong| wrong.inside(name))
}

/// The object has no other members than these.
///
/// # Errors
/// The first that is not among them.
pub fn only(object: &serde_json::Map<String, Json>, names: &[String]) -> Result<(), Wrong> {
    match object.keys().find(|key| !names.contains(key)) {
        None => Ok(()),
        Some(key) => Err(Wrong {
            path: String::new(),
            expected: format!("no members but {}", names.join(", ")),
            found: shown(&Json::String(key.clone())),
        }),
    }
}

impl Value for bool {
    fn write(&self, json: &mut String) {
        json.push_str(if *self { "true" } else { "false" });
    }

    fn read(json: &Json) -> Result<Self, Wrong> {
        json.as_bool().ok_or_else(|| Wrong::new("true or false", json))
    }

    fn feed(&self, hash: &mut impl Hasher) {
        hash.write_u8(u8::from(*self));
    }
}

impl Value for String {
    fn write(&self, json: &mut String) {
        write_text(self, json);
    }

    fn read(json: &Json) -> Result<Self, Wrong> {
        json.as_str().map(str::to_owned).ok_or_else(|| Wrong::new("a string", json))
    }

    fn feed(&self, hash: &mut impl Hasher) {
        u8::feed_list(self.as_bytes(), hash);
    }
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn write(&self, json: &mut String) {
                json.push_str(&self.to_string());
            }

            fn read(json: &Json) -> Result<Self, Wrong> {
                let number = json.as_i64().and_then(|number| Self::try_from(number).ok());
                number.ok_or_else(|| Wrong::new(format!("a number from {} to {}", Self::MIN, Self::MAX), json))
            }

            fn feed(&self, hash: &mut impl Hasher) {
                hash.write(&self.to_le_bytes());
            }
        }
    )*};
}

number!(u16, u32, i8, i32);

impl Value for u64 {
    fn write(&self, json: &mut String) {
        match *self {
            number @ 0..=EXACT => json.push_str(&number.to_string()),
            number => json.push_str(&format!("\"{number}\"")),
        }
    }

    fn read(json: &Json) -> Result<Self, Wrong> {
        let number = match json {
            Json::Number(number) => number.as_u64().filter(|number| *number <= EXACT),
            // One way to write each: no sign, no zeros in front.
            Json::String(digits) => {
                digits.parse().ok().filter(|number: &Self| *number > EXACT && number.to_string() == *digits)
            }
            _ => None,
        };
        number.ok_or_else(|| Wrong::new(format!("a number up to {EXACT}, or a larger one as a string of digits"), json))
    }

    fn feed(&self, hash: &mut impl Hasher) {
        hash.write_u64(*self);
    }
}

/// Alone it is a small number. A list of them is text in which each character is an octet.
impl Value for u8 {
    fn write(&self, json: &mut String) {
        json.push_str(&self.to_string());
    }

    fn read(json: &Json) -> Result<Self, Wrong> {
        let number = json.as_u64().and_then(|number| Self::try_from(number).ok());
        number.ok_or_else(|| Wrong::new("a number from 0 to 255", json))
    }

    fn feed(&self, hash: &mut impl Hasher) {
        hash.write_u8(*self);
    }

    fn feed_list(list: &[Self], hash: &mut impl Hasher) {
        hash.write_usize(list.len());
        hash.write(list);
    }

    fn write_list(list: &[Self], json: &mut String) {
        json.reserve(list.len() + 2);
        write_text(&list.iter().copied().map(char::from).collect::<String>(), json);
    }

    fn read_list(json: &Json) -> Result<Vec<Self>, Wrong> {
        let wrong = || Wrong::new("a string of characters from U+0000 to U+00FF", json);
        let text = json.as_str().ok_or_else(wrong)?;
        text.chars().map(|octet| Self::try_from(octet).map_err(|_| wrong())).collect()
    }
}

impl<T: Value> Value for Vec<T> {
    fn write(&self, json: &mut String) {
        T::write_list(self, json);
    }

    fn read(json: &Json) -> Result<Self, Wrong> {
        T::read_list(json)
    }

    fn feed(&self, hash: &mut impl Hasher) {
        T::feed_list(self, hash);
    }
}

impl<T: Value> Value for Option<T> {
    fn write(&self, json: &mut String) {
        match self {
            None => json.push_str("null"),
            Some(value) => value.write(json),
        }
    }

    fn read(json: &Json) -> Result<Self, Wrong> {
        if json.is_null() { Ok(None) } else { T::read(json).map(Some) }
    }

    fn feed(&self, hash: &mut impl Hasher) {
        hash.write_u8(u8::from(self.is_some()));
        if let Some(value) = self {
            value.feed(hash);
        }
    }
}

impl<T: Value, E: Value> Value for Result<T, E> {
    fn write(&self, json: &mut String) {
        match self {
            Ok(value) => {
                json.push_str("{\"ok\":");
                value.write(json);
            }
            Err(error) => {
                json.push_str("{\"err\":");
                error.write(json);
            }
        }
        json.push('}');
    }

    fn read(json: &Json) -> Result<Self, Wrong> {
        match case(json) {
            Some(("ok", Some(value))) => T::read(value).map(Ok).map_err(|wrong| wrong.inside("ok")),
            Some(("err", Some(error))) => E::read(error).map(Err).map_err(|wrong| wrong.inside("err")),
            _ => Err(Wrong::new("{\"ok\": …} or {\"err\": …}", json)),
        }
    }

    fn feed(&self, hash: &mut impl Hasher) {
        hash.write_u8(u8::from(self.is_ok()));
        match self {
            Ok(value) => value.feed(hash),
            Err(error) => error.feed(hash),
        }
    }
}

impl<A: Value, B: Value> Value for (A, B) {
    fn write(&self, json: &mut String) {
        json.push('[');
        self.0.write(json);
        json.push(',');
        self.1.write(json);
        json.push(']');
    }

    fn read(json: &Json) -> Result<Self, Wrong> {
        match json.as_array().map(Vec::as_slice) {
            Some([first, second]) => {
                let first = A::read(first).map_err(|wrong| wrong.inside(0))?;
                Ok((first, B::read(second).map_err(|wrong| wrong.inside(1))?))
            }
            _ => Err(Wrong::new("an array of two", json)),
        }
    }

    fn feed(&self, hash: &mut impl Hasher) {
        self.0.feed(hash);
        self.1.feed(hash);
    }
}

/// The name of a variant's case, and its payload.
#[must_use]
pub fn case(json: &Json) -> Option<(&str, Option<&Json>)> {
    match json {
        Json::String(name) => Some((name, None)),
        Json::Object(object) if object.len() == 1 => {
            object.iter().next().map(|(name, payload)| (name.as_str(), Some(payload)))
        }
        _ => None,
    }
}

/// `flags!(Type { "name" = FLAG, … })`: an array of the names that are set, in WIT's order.
macro_rules! flags {
    ($type:path { $($name:literal = $flag:ident),* $(,)? }) => {
        impl $crate::record::value::Value for $type {
            fn write(&self, json: &mut String) {
                let all = [$(($name, Self::$flag)),*];
                let set = all.into_iter().filter(|(_, flag)| self.contains(*flag));
                set.map(|(name, _)| name.to_owned()).collect::<Vec<_>>().write(json);
            }

            fn read(json: &serde_json::Value) -> Result<Self, $crate::record::value::Wrong> {
                let names = Vec::<String>::read(json)?;
                let mut rest = [$(($name, Self::$flag)),*].into_iter();
                let mut flags = Self::empty();
                for name in &names {
                    let Some((_, flag)) = rest.find(|(known, _)| known == name) else {
                        let known = [$($name),*].join(", ");
                        let wanted = format!("some of {known}, in this order");
                        return Err($crate::record::value::Wrong::new(wanted, json));
                    };
                    flags |= flag;
                }
                Ok(flags)
            }

            fn feed(&self, hash: &mut impl std::hash::Hasher) {
                [$(Self::$flag),*].into_iter().for_each(|flag| hash.write_u8(u8::from(self.contains(flag))));
            }
        }
    };
}

/// `record!(Type { field, … })`: an object with every field.
macro_rules! record {
    ($type:path { $($field:ident),* $(,)? }) => {
        impl $crate::record::value::Value for $type {
            fn write(&self, json: &mut String) {
                let Self { $($field),* } = self;
                let mut separator = '{';
                $(
                    json.push(separator);
                    separator = ',';
                    $crate::record::value::write_name(stringify!($field), json);
                    json.push(':');
                    $crate::record::value::Value::write($field, json);
                )*
                let _ = separator;
                json.push('}');
            }

            fn read(json: &serde_json::Value) -> Result<Self, $crate::record::value::Wrong> {
                use $crate::record::value::{Wrong, kebab, member, only};
                let object = json.as_object().ok_or_else(|| Wrong::new("an object", json))?;
                let value = Self { $($field: member(object, &kebab(stringify!($field)))?),* };
                only(object, &[$(kebab(stringify!($field))),*])?;
                Ok(value)
            }

            fn feed(&self, hash: &mut impl std::hash::Hasher) {
                let Self { $($field),* } = self;
                $($crate::record::value::Value::feed($field, hash);)*
            }
        }
    };
}

/// `variant!(Type { Plain, … ; Payload, … })`: a name, or an object with one member. An enum has only the first.
macro_rules! variant {
    ($type:path { $($plain:ident),* $(,)? ; $($case:ident),* $(,)? }) => {
        impl $crate::record::value::Value for $type {
            fn write(&self, json: &mut String) {
                match self {
                    $(Self::$plain => $crate::record::value::write_name(stringify!($plain), json),)*
                    $(Self::$case(payload) => {
                        json.push('{');
                        $crate::record::value::write_name(stringify!($case), json);
                        json.push(':');
                        $crate::record::value::Value::write(payload, json);
                        json.push('}');
                    })*
                }
            }

            fn read(json: &serde_json::Value) -> Result<Self, $crate::record::value::Wrong> {
                use $crate::record::value::{Wrong, case, kebab};
                match case(json) {
                    $(Some((name, None)) if name == kebab(stringify!($plain)) => Ok(Self::$plain),)*
                    $(Some((name, Some(payload))) if name == kebab(stringify!($case)) => {
                        $crate::record::value::Value::read(payload).map(Self::$case).map_err(|wrong| wrong.inside(name))
                    })*
                    _ => {
                        let plain: &[&str] = &[$(stringify!($plain)),*];
                        let cases: &[&str] = &[$(stringify!($case)),*];
                        let plain = plain.iter().map(|name| format!("\"{}\"", kebab(name)));
                        let cases = cases.iter().map(|name| format!("{{\"{}\": …}}", kebab(name)));
                        let known: Vec<String> = plain.chain(cases).collect();
                        Err(Wrong::new(format!("one of {}", known.join(", ")), json))
                    }
                }
            }

            fn feed(&self, hash: &mut impl std::hash::Hasher) {
                // Two cases of one variant have two names.
                match self {
                    $(Self::$plain => hash.write(stringify!($plain).as_bytes()),)*
                    $(Self::$case(payload) => {
                        hash.write(stringify!($case).as_bytes());
                        $crate::record::value::Value::feed(payload, hash);
                    })*
                }
            }
        }
    };
}

pub(super) use {flags, record, variant};
