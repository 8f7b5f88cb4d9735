//! JavaScript's values, and the one class that is generated for it.
//!
//! Fails by returning: every outcome is an object with one member, `ok`, `step`, `misuse` or `misfit`; `hermetic.js` makes
//! errors of them. What is given is read to its end before the session is touched: a getter that throws or calls back leaves
//! nothing half done.
#![allow(unsafe_code, unreachable_pub, reason = "wasm-bindgen generates the one and wants the other")]

use alloc::{
    borrow::ToOwned as _,
    string::{String, ToString as _},
    vec::Vec,
};
use core::cell::RefCell;

use wasm_bindgen::prelude::*;

use crate::misfit::Misfit;
use crate::value::{Room, Value};
use crate::{Half, Outcome};

/// The few functions of JavaScript that are used. Those that may run a page's code (a getter, a proxy) catch what it throws.
#[wasm_bindgen]
extern "C" {
    type Object;
    #[wasm_bindgen(constructor)]
    fn new() -> Object;

    type Array;
    #[wasm_bindgen(constructor)]
    fn new() -> Array;
    #[wasm_bindgen(method)]
    fn push(this: &Array, value: &JsValue);
    #[wasm_bindgen(static_method_of = Array, js_name = isArray, catch)]
    fn is_array(value: &JsValue) -> Result<bool, JsValue>;

    type Uint8Array;
    #[wasm_bindgen(constructor)]
    fn of(octets: &[u8]) -> Uint8Array;
    #[wasm_bindgen(static_method_of = Uint8Array, catch)]
    fn from(octets: &JsValue) -> Result<Vec<u8>, JsValue>;

    #[wasm_bindgen(js_namespace = Reflect, js_name = set)]
    fn put(object: &Object, name: &str, value: &JsValue) -> bool;
    #[wasm_bindgen(js_namespace = Reflect, js_name = get, catch)]
    fn member(object: &JsValue, name: &JsValue) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(js_namespace = Reflect, js_name = get, catch)]
    fn element(object: &JsValue, place: u32) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(js_namespace = Reflect, js_name = ownKeys, catch)]
    fn own_names(object: &JsValue) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(js_name = Object)]
    fn boxed(value: &JsValue) -> JsValue;
    #[wasm_bindgen(js_name = String, catch)]
    fn digits(number: &JsValue) -> Result<String, JsValue>;
}

/// One session. Not for use by pages: see `hermetic.js`.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Session(RefCell<Half>);

#[wasm_bindgen]
impl Session {
    /// A session before its start: `{ok}` or `{misfit}`.
    pub fn open(half: &str, options: &JsValue) -> JsValue {
        match read(options).and_then(|options| Half::new(half, options)) {
            Ok(half) => single("ok", &Session(RefCell::new(half)).into()),
            Err(misfit) => refused(&misfit),
        }
    }

    /// One call: `{step}`, `{misuse}` or `{misfit}`.
    pub fn call(&self, function: &str, parameters: &JsValue) -> JsValue {
        let done = read(parameters).and_then(|parameters| self.0.borrow_mut().call(function, parameters));
        match done {
            Ok(Outcome::Step(step)) => single("step", &write(step)),
            Ok(Outcome::Misuse(misuse)) => single("misuse", &write(misuse)),
            Err(misfit) => refused(&misfit),
        }
    }
}

/// The options that are meant where none are given: `{ok}` or `{misfit}`.
#[wasm_bindgen]
pub fn defaults(half: &str) -> JsValue {
    match Half::defaults(half) {
        Ok(options) => single("ok", &write(options)),
        Err(misfit) => refused(&misfit),
    }
}

/// The version of `hermetic:engine`.
#[wasm_bindgen]
pub fn wit() -> String {
    crate::WIT.to_owned()
}

fn refused(misfit: &Misfit) -> JsValue {
    single("misfit", &misfit.to_string().into())
}

fn single(name: &str, value: &JsValue) -> JsValue {
    let object = Object::new();
    put(&object, name, value);
    object.into()
}

fn write(value: Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        Value::Bool(value) => value.into(),
        Value::Number(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::Octets(octets) => Uint8Array::of(&octets).into(),
        Value::List(list) => {
            let array = Array::new();
            list.into_iter().for_each(|value| array.push(&write(value)));
            array.into()
        }
        Value::Record(members) => {
            let object = Object::new();
            for (name, value) in members {
                put(&object, &name, &write(value));
            }
            object.into()
        }
    }
}

fn read(value: &JsValue) -> Result<Value, Misfit> {
    value_at(value, 0, &mut Room::default())
}

fn value_at(value: &JsValue, depth: usize, room: &mut Room) -> Result<Value, Misfit> {
    room.value(depth)?;
    if value.is_null() || value.is_undefined() {
        Ok(Value::Null)
    } else if let Some(value) = value.as_bool() {
        Ok(Value::Bool(value))
    } else if let Some(number) = value.as_f64() {
        Ok(Value::Number(number))
    } else if value.is_string() {
        room.octets(length(value)?)?;
        Ok(Value::Text(value.as_string().unwrap_or_default()))
    } else if value.is_bigint() {
        let digits = digits(value).map_err(|_| Misfit::new("a number is too large"))?;
        room.octets(digits.len())?;
        Ok(Value::Text(digits))
    } else if value.is_instance_of::<Uint8Array>() {
        room.octets(length(value)?)?;
        Ok(Value::Octets(Uint8Array::from(value).map_err(|_| thrown())?))
    } else if value.is_function() || value.is_symbol() {
        Err(Misfit::new("a value is expected, not a function or a symbol"))
    } else if Array::is_array(value).map_err(|_| thrown())? {
        let mut list = Vec::new();
        for place in 0..length(value)? {
            let element = element(value, place as u32).map_err(|_| thrown())?;
            list.push(value_at(&element, depth + 1, room).map_err(|misfit| misfit.at(place))?);
        }
        Ok(Value::List(list))
    } else {
        members(value, depth, room)
    }
}

/// Of a text, an array or octets.
fn length(value: &JsValue) -> Result<usize, Misfit> {
    // A text is no object, so it is asked for by its wrapper.
    let length = member(&boxed(value), &"length".into()).map_err(|_| thrown())?;
    Ok(length.as_f64().unwrap_or(0.0) as usize)
}

fn members(value: &JsValue, depth: usize, room: &mut Room) -> Result<Value, Misfit> {
    let names = own_names(value).map_err(|_| thrown())?;
    let mut members = Vec::new();
    for place in 0..length(&names)? {
        let name = element(&names, place as u32).map_err(|_| thrown())?;
        // A symbol is no name in WIT.
        let Some(text) = name.as_string() else { continue };
        room.octets(text.len())?;
        let member = member(value, &name).map_err(|_| thrown().within(&text))?;
        // As if it were not there: that is how options are left out.
        if !member.is_undefined() {
            let member = value_at(&member, depth + 1, room).map_err(|misfit| misfit.within(&text))?;
            members.push((text.into(), member));
        }
    }
    Ok(Value::Record(members))
}

fn thrown() -> Misfit {
    Misfit::new("reading it threw an error")
}
