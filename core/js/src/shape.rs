//! WIT's values as JSON has them: the table of `wit/session.md`, each row an implementation of [`Shape`].
//!
//! Owns names and forms; what each record and variant has is said in [`crate::server`] and [`crate::client`]. Strict both ways:
//! a member that is missing, of another type or not known is a [`Misfit`] that says where.

use alloc::{
    borrow::Cow,
    string::{String, ToString as _},
    vec,
    vec::Vec,
};

use crate::misfit::Misfit;
use crate::value::{EXACT, Value};

/// A type of `wit/engine`.
pub trait Shape: Sized {
    /// As JSON has it.
    fn write(self) -> Value;

    /// From JSON.
    ///
    /// # Errors
    /// What is no value of this type.
    fn read(value: Value) -> Result<Self, Misfit>;
}

/// `eight_bit` and `EightBit` are `eight-bit` in WIT.
pub(crate) fn name(rust: &'static str) -> Cow<'static, str> {
    if rust.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit()) {
        return Cow::Borrowed(rust);
    }
    let mut name = String::with_capacity(rust.len() + 4);
    for (at, letter) in rust.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            name.push('-');
        }
        name.push(if letter == '_' { '-' } else { letter.to_ascii_lowercase() });
    }
    Cow::Owned(name)
}

#[inline(never)]
pub(crate) fn unlike(value: &Value, expected: &str) -> Misfit {
    Misfit::new([expected, " is expected, not ", value.kind()].concat())
}

/// An object that is being read, member by member. What does the work is not generic: there are many types, and pages fetch this.
pub(crate) struct Members(Vec<(Cow<'static, str>, Value)>);

impl Members {
    pub(crate) fn of(value: Value) -> Result<Self, Misfit> {
        match value {
            Value::Record(members) => Ok(Self(members)),
            other => Err(unlike(&other, "an object")),
        }
    }

    #[inline(never)]
    fn pull(&mut self, rust: &'static str) -> Option<Value> {
        let name = name(rust);
        let place = self.0.iter().position(|(member, _)| *member == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Puts the member of this name into its place, if it is there: `undefined` is as good as none.
    pub(crate) fn fill<T: Shape>(&mut self, rust: &'static str, place: &mut T) -> Result<(), Misfit> {
        if let Some(value) = self.pull(rust) {
            *place = T::read(value).map_err(|misfit| inside(misfit, rust))?;
        }
        Ok(())
    }

    /// The member of this name, which has to be there.
    pub(crate) fn take<T: Shape>(&mut self, rust: &'static str) -> Result<T, Misfit> {
        match self.pull(rust) {
            Some(value) => T::read(value).map_err(|misfit| inside(misfit, rust)),
            None => Err(inside(Misfit::new("it is missing"), rust)),
        }
    }

    /// Nothing is left that nobody asked for.
    pub(crate) fn end(self) -> Result<(), Misfit> {
        match self.0.first() {
            Some((member, _)) => Err(Misfit::new("nothing has this name here").within(member)),
            None => Ok(()),
        }
    }
}

#[inline(never)]
pub(crate) fn inside(misfit: Misfit, rust: &'static str) -> Misfit {
    misfit.within(&name(rust))
}

/// An object that is being written.
#[derive(Default)]
pub(crate) struct Record(Vec<(Cow<'static, str>, Value)>);

impl Record {
    pub(crate) fn put<T: Shape>(&mut self, rust: &'static str, value: T) {
        self.push(rust, value.write());
    }

    #[inline(never)]
    fn push(&mut self, rust: &'static str, value: Value) {
        self.0.push((name(rust), value));
    }

    pub(crate) fn end(self) -> Value {
        Value::Record(self.0)
    }
}

/// `"name"`, or `{"name": payload}`: which of the cases without payload, or with one, it is.
pub(crate) fn case(
    value: Value,
    plain: &'static [&'static str],
    loaded: &'static [&'static str],
) -> Result<(&'static str, Value), Misfit> {
    let (given, payload, among) = match value {
        Value::Text(given) => (Cow::Owned(given), Value::Null, plain),
        Value::Record(mut members) if members.len() == 1 => {
            let (given, payload) = members.swap_remove(0);
            (given, payload, loaded)
        }
        other => return Err(unlike(&other, "a name, or an object with one member,")),
    };
    match among.iter().find(|known| name(known) == given) {
        Some(known) => Ok((known, payload)),
        None => Err(no_case(&given, plain, loaded)),
    }
}

/// No case has this name, or not with a payload, or not without.
#[inline(never)]
pub(crate) fn no_case(given: &str, plain: &[&'static str], loaded: &[&'static str]) -> Misfit {
    let mut why = String::from("one of ");
    for (at, known) in plain.iter().chain(loaded).enumerate() {
        if at > 0 {
            why.push_str(", ");
        }
        let payload = at >= plain.len();
        why.push_str(if payload { "{\"" } else { "\"" });
        why.push_str(&name(known));
        why.push_str(if payload { "\": …}" } else { "\"" });
    }
    why.push_str(" is expected, not ");
    why.push_str(&quoted(given));
    Misfit::new(why)
}

/// What came in, cut: it may be anything.
pub(crate) fn quoted(given: &str) -> String {
    let printable = |character: char| if character.is_control() { ' ' } else { character };
    let mut shown = String::from("\"");
    shown.extend(given.chars().take(40).map(printable));
    shown.push('"');
    shown
}

#[inline(never)]
pub(crate) fn alone(rust: &'static str) -> Value {
    Value::Text(name(rust).into_owned())
}

#[inline(never)]
pub(crate) fn with(rust: &'static str, payload: Value) -> Value {
    Value::Record(vec![(name(rust), payload)])
}

/// A record: every member is given and expected; `or_default` ones may be left out.
macro_rules! record {
    ($type:ty { $($field:ident),* $(,)? }) => {
        record!(@ $type, take, { $($field),* });
    };
    ($type:ty, or_default { $($field:ident),* $(,)? }) => {
        impl $crate::shape::Shape for $type {
            fn write(self) -> $crate::value::Value {
                let mut record = $crate::shape::Record::default();
                $(record.put(stringify!($field), self.$field);)*
                record.end()
            }
            fn read(value: $crate::value::Value) -> Result<Self, $crate::misfit::Misfit> {
                let mut members = $crate::shape::Members::of(value)?;
                let mut whole = Self::default();
                $(members.fill(stringify!($field), &mut whole.$field)?;)*
                members.end()?;
                Ok(whole)
            }
        }
    };
    (@ $type:ty, $how:ident, { $($field:ident),* }) => {
        impl $crate::shape::Shape for $type {
            fn write(self) -> $crate::value::Value {
                let mut record = $crate::shape::Record::default();
                $(record.put(stringify!($field), self.$field);)*
                record.end()
            }
            fn read(value: $crate::value::Value) -> Result<Self, $crate::misfit::Misfit> {
                let mut members = $crate::shape::Members::of(value)?;
                let whole = Self { $($field: members.$how(stringify!($field))?),* };
                members.end()?;
                Ok(whole)
            }
        }
    };
}

/// A variant, or an enum: cases without payload, then cases with one.
macro_rules! variant {
    ($type:ty { $($plain:ident),* $(,)? $(; $($loaded:ident),* $(,)?)? }) => {
        impl $crate::shape::Shape for $type {
            fn write(self) -> $crate::value::Value {
                match self {
                    $(Self::$plain => $crate::shape::alone(stringify!($plain)),)*
                    $($(Self::$loaded(payload) => $crate::shape::with(stringify!($loaded), payload.write()),)*)?
                }
            }
            fn read(value: $crate::value::Value) -> Result<Self, $crate::misfit::Misfit> {
                const PLAIN: &[&str] = &[$(stringify!($plain)),*];
                const LOADED: &[&str] = &[$($(stringify!($loaded)),*)?];
                let (known, payload) = $crate::shape::case(value, PLAIN, LOADED)?;
                $(if known == stringify!($plain) { return Ok(Self::$plain); })*
                $($(if known == stringify!($loaded) {
                    let read = $crate::shape::Shape::read(payload);
                    return read.map(Self::$loaded).map_err(|misfit| $crate::shape::inside(misfit, known));
                })*)?
                let _ = payload;
                Err($crate::shape::no_case(known, PLAIN, LOADED))
            }
        }
    };
}

pub(crate) use {record, variant};

impl Shape for bool {
    fn write(self) -> Value {
        Value::Bool(self)
    }
    fn read(value: Value) -> Result<Self, Misfit> {
        match value {
            Value::Bool(value) => Ok(value),
            other => Err(unlike(&other, "true or false")),
        }
    }
}

impl Shape for String {
    fn write(self) -> Value {
        Value::Text(self)
    }
    fn read(value: Value) -> Result<Self, Misfit> {
        match value {
            Value::Text(text) => Ok(text),
            other => Err(unlike(&other, "a text")),
        }
    }
}

/// A number, or digits where it is too large for one: whether it is below zero, and how far from it. `least` is that of the
/// negative ones.
#[inline(never)]
fn whole(value: &Value, least: u32, most: u64) -> Result<(bool, u64), Misfit> {
    let expected = || {
        let sign = if least == 0 { "" } else { "-" };
        Misfit::new(
            ["a whole number of ", sign, &least.to_string(), " to ", &most.to_string(), " is expected"].concat(),
        )
    };
    let (negative, amount) = match value {
        // A fraction, what is not finite, and what is too large to be exact do not come back as they were.
        Value::Number(number) if number.abs() <= EXACT as f64 && (*number as i64) as f64 == *number => {
            (*number < 0.0, number.abs() as u64)
        }
        Value::Text(digits) if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            (false, digits.parse().map_err(|_| expected())?)
        }
        _ => return Err(expected()),
    };
    let within = if negative { amount <= u64::from(least) } else { amount <= most };
    if within { Ok((negative, amount)) } else { Err(expected()) }
}

#[inline(never)]
fn number(number: u64) -> Value {
    if number > EXACT { Value::Text(number.to_string()) } else { Value::Number(number as f64) }
}

macro_rules! natural {
    ($($type:ty)*) => {$(
        impl Shape for $type {
            fn write(self) -> Value {
                number(u64::from(self))
            }
            fn read(value: Value) -> Result<Self, Misfit> {
                // Within its type by now.
                whole(&value, 0, u64::from(Self::MAX)).map(|(_, amount)| amount as Self)
            }
        }
    )*};
}
natural!(u16 u32 u64);

macro_rules! signed {
    ($($type:ty)*) => {$(
        impl Shape for $type {
            fn write(self) -> Value {
                Value::Number(f64::from(self))
            }
            fn read(value: Value) -> Result<Self, Misfit> {
                let (least, most) = (Self::MIN.unsigned_abs(), Self::MAX.unsigned_abs());
                let (negative, amount) = whole(&value, u32::from(least), u64::from(most))?;
                // Within its type by now.
                Ok((if negative { -(amount as i64) } else { amount as i64 }) as Self)
            }
        }
    )*};
}
signed!(i8 i32);

/// Octets: out as they are, in also as a text in which each character is one.
impl Shape for Vec<u8> {
    fn write(self) -> Value {
        Value::Octets(self)
    }
    fn read(value: Value) -> Result<Self, Misfit> {
        let octet = |character: char| u8::try_from(u32::from(character)).ok();
        match value {
            Value::Octets(octets) => Ok(octets),
            Value::Text(text) => text.chars().map(octet).collect::<Option<_>>().ok_or_else(|| {
                Misfit::new("a text of octets has a character above U+00FF: encode it as UTF-8 first (TextEncoder)")
            }),
            other => Err(unlike(&other, "a Uint8Array, or a text of which each character is one octet,")),
        }
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn write(self) -> Value {
        Value::List(self.into_iter().map(T::write).collect())
    }
    fn read(value: Value) -> Result<Self, Misfit> {
        let Value::List(list) = value else { return Err(unlike(&value, "a list")) };
        let mut read = Vec::with_capacity(list.len());
        for (at, value) in list.into_iter().enumerate() {
            read.push(T::read(value).map_err(|misfit| misfit.at(at))?);
        }
        Ok(read)
    }
}

impl<T: Shape> Shape for Option<T> {
    fn write(self) -> Value {
        self.map_or(Value::Null, T::write)
    }
    fn read(value: Value) -> Result<Self, Misfit> {
        if value == Value::Null { Ok(None) } else { T::read(value).map(Some) }
    }
}

impl<T: Shape, E: Shape> Shape for Result<T, E> {
    fn write(self) -> Value {
        match self {
            Ok(value) => with("ok", value.write()),
            Err(error) => with("err", error.write()),
        }
    }
    fn read(value: Value) -> Result<Self, Misfit> {
        match case(value, &[], &["ok", "err"])? {
            ("ok", value) => T::read(value).map(Ok).map_err(|misfit| inside(misfit, "ok")),
            (_, error) => E::read(error).map(Err).map_err(|misfit| inside(misfit, "err")),
        }
    }
}

impl<A: Shape, B: Shape> Shape for (A, B) {
    fn write(self) -> Value {
        Value::List(vec![self.0.write(), self.1.write()])
    }
    fn read(value: Value) -> Result<Self, Misfit> {
        let pair = match value {
            Value::List(list) => <[Value; 2]>::try_from(list).ok(),
            _ => None,
        };
        let Some([a, b]) = pair else { return Err(Misfit::new("a list of two is expected")) };
        Ok((A::read(a).map_err(|misfit| misfit.at(0))?, B::read(b).map_err(|misfit| misfit.at(1))?))
    }
}
