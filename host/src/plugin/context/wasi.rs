//! WASI for plugins: nothing of the machine, but enough for the runtimes of Go, Python and others to start.
//!
//! Owns what is answered instead: an empty environment, no files, no arguments, streams that swallow, a clock that goes and
//! true random numbers. Refuses to give anything that needs a grant: sockets, HTTP and everything that is not in [`STARTS`]
//! trap when they are called. What WASI's packages look like is read off the component, so that any version fits.

use std::{
    sync::LazyLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use wasmtime::{
    Error, Result, StoreContextMut,
    component::{
        Linker, Resource, ResourceType, Type, Val,
        types::{ComponentInstance, ComponentItem},
    },
};

use super::Guest;
use crate::plugin::grants::without_version;

/// Packages whose functions answer with nothing.
const STARTS: [&str; 5] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];
/// What a stream takes at once, octets; it goes nowhere.
const SWALLOWED: u64 = 4096;
/// The most random octets of one call.
const RANDOM: u64 = 64 << 10;

/// What is behind a handle: nothing.
struct Nothing;

/// Links an interface of WASI.
pub(in crate::plugin) fn link(
    linker: &mut Linker<Guest>,
    engine: &wasmtime::Engine,
    name: &str,
    interface: &ComponentInstance,
) -> Result<()> {
    let starts = STARTS.iter().any(|package| name.starts_with(package)) && !name.starts_with("wasi:cli/exit");
    let package = without_version(name);
    let mut linked = linker.instance(name)?;
    for (item, extern_) in interface.exports(engine) {
        match extern_.ty {
            ComponentItem::ComponentFunc(_) => {
                let called = format!("{package}#{item}");
                linked.func_new(item, move |mut store, ty, params, results| {
                    store.data_mut().seam("wasi", |_| ())?;
                    params.iter().try_for_each(|param| give_back(&mut store, param))?;
                    if !starts {
                        return Err(Error::msg(format!("it called {called}, which is linked and does nothing")));
                    }
                    let now = store.data().transaction.now;
                    for (result, ty) in results.iter_mut().zip(ty.results()) {
                        *result = match known(&called, params, now) {
                            Some(value) => value,
                            None => empty(&mut store, &ty, &called)?,
                        };
                    }
                    Ok(())
                })?;
            }
            ComponentItem::Resource(_) => linked.resource(item, ResourceType::host::<Nothing>(), |_, _| Ok(()))?,
            _ => {}
        }
    }
    Ok(())
}

/// What a function was lent it has to give back, and what it was given it has to drop.
fn give_back(store: &mut StoreContextMut<'_, Guest>, value: &Val) -> Result<()> {
    match value {
        // Taken out of the store and forgotten: dropping it there would want a stack of its own.
        Val::Resource(resource) => resource.try_into_resource::<Nothing>(store).map(drop),
        Val::List(values) | Val::Tuple(values) => values.iter().try_for_each(|value| give_back(store, value)),
        Val::Record(fields) => fields.iter().try_for_each(|(_, value)| give_back(store, value)),
        Val::Option(Some(value)) => give_back(store, value),
        _ => Ok(()),
    }
}

/// Functions for which the emptiest answer would be a lie or an endless loop. `now`: where it is not the machine's time.
fn known(called: &str, params: &[Val], now: Option<u32>) -> Option<Val> {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let random = || {
        let length = match params {
            [Val::U64(length)] => (*length).min(RANDOM),
            _ => 0,
        };
        Val::List((0..length).map(|_| Val::U8(rand::random())).collect())
    };
    Some(match called {
        "wasi:clocks/monotonic-clock#now" => Val::U64(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)),
        "wasi:clocks/monotonic-clock#resolution" => Val::U64(1_000),
        "wasi:clocks/wall-clock#now" if now.is_some() => datetime(now?.into(), 0),
        "wasi:clocks/wall-clock#now" => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            datetime(since.as_secs(), since.subsec_nanos())
        }
        "wasi:clocks/wall-clock#resolution" => datetime(0, 1_000),
        "wasi:random/random#get-random-bytes" | "wasi:random/insecure#get-insecure-random-bytes" => random(),
        "wasi:random/random#get-random-u64" | "wasi:random/insecure#get-insecure-random-u64" => {
            Val::U64(rand::random())
        }
        "wasi:random/insecure-seed#insecure-seed" | "wasi:random/insecure-seed#get-insecure-seed" => {
            Val::Tuple(vec![Val::U64(rand::random()), Val::U64(rand::random())])
        }
        "wasi:io/streams#[method]output-stream.check-write" => Val::Result(Ok(Some(Box::new(Val::U64(SWALLOWED))))),
        "wasi:io/streams#[method]input-stream.read" | "wasi:io/streams#[method]input-stream.blocking-read" => {
            Val::Result(Err(Some(Box::new(Val::Variant("closed".into(), None)))))
        }
        "wasi:io/poll#[method]pollable.ready" => Val::Bool(true),
        "wasi:io/poll#poll" => match params {
            [Val::List(waiting)] => {
                Val::List((0..waiting.len()).filter_map(|n| Some(Val::U32(n.try_into().ok()?))).collect())
            }
            _ => return None,
        },
        _ => return None,
    })
}

fn datetime(seconds: u64, nanoseconds: u32) -> Val {
    Val::Record(vec![("seconds".into(), Val::U64(seconds)), ("nanoseconds".into(), Val::U32(nanoseconds))])
}

/// The value of a type that says least.
fn empty(store: &mut StoreContextMut<'_, Guest>, ty: &Type, called: &str) -> Result<Val> {
    Ok(match ty {
        Type::Bool => Val::Bool(false),
        Type::S8 => Val::S8(0),
        Type::U8 => Val::U8(0),
        Type::S16 => Val::S16(0),
        Type::U16 => Val::U16(0),
        Type::S32 => Val::S32(0),
        Type::U32 => Val::U32(0),
        Type::S64 => Val::S64(0),
        Type::U64 => Val::U64(0),
        Type::String => Val::String(String::new()),
        Type::List(_) => Val::List(Vec::new()),
        Type::Option(_) => Val::Option(None),
        Type::Flags(_) => Val::Flags(Vec::new()),
        Type::Result(result) => {
            let value = result.ok().map(|ok| empty(store, &ok, called)).transpose()?;
            Val::Result(Ok(value.map(Box::new)))
        }
        Type::Record(record) => {
            let fields = record.fields().map(|field| Ok((field.name.to_owned(), empty(store, &field.ty, called)?)));
            Val::Record(fields.collect::<Result<_>>()?)
        }
        Type::Tuple(tuple) => Val::Tuple(tuple.types().map(|ty| empty(store, &ty, called)).collect::<Result<_>>()?),
        Type::Own(_) => Val::Resource(Resource::<Nothing>::new_own(0).try_into_resource_any(store)?),
        _ => return Err(Error::msg(format!("it called {called}, which is linked and does nothing"))),
    })
}
