//! From a file to a plugin that can be asked.
//!
//! Owns the wasmtime engine of all plugins, compiling, and the checks before a component may run: its digest, its version,
//! its hooks, its imports against the grants. Refuses to know calls. Fails with [`LoadError`], a sentence that says what to
//! do; a component that fails here has run no instruction.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, ComponentExportIndex, HasSelf, Linker, types::ComponentItem};

use super::{
    VERSION,
    aside::Aside,
    bindings::hermetic::plugin as wit,
    context::{Guest, drafts::Draft, wasi},
    database::{Bucket, BucketError, Buckets, Elsewhere},
    grants::{self, Grant, Missing, Need, PACKAGE},
    hook::{Hook, Plugin},
    network::Network,
    pool,
    run::{Runtime, Settings, Wasm},
};
use crate::{
    config::{
        Dns,
        plugins::{Grants, Plugin as Configured, PluginLimits},
    },
    files,
    sandbox::{
        cache::{self, Purpose},
        ticker::Ticker,
    },
};

/// How WebAssembly begins; then come version and layer, which tell components from modules.
const WASM: [u8; 4] = *b"\0asm";
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
const MODULE: [u8; 4] = [1, 0, 0, 0];
/// Octets of a page of WebAssembly's memory.
const PAGE: u64 = 65_536;

/// Why a plugin can not be used. It is the operator's or the author's to mend.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file system's word.
    #[error("{} can not be read: {error}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// `sha256` in the configuration names another one.
    #[error("its SHA-256 is {found}, but `sha256` in the configuration is {wanted}")]
    Pinned {
        /// That of the file.
        found: String,
        /// As configured.
        wanted: String,
    },
    /// Anything else than WebAssembly.
    #[error("it is not WebAssembly; a plugin is a component, a binary file that begins with \\0asm")]
    NotWasm,
    /// Not made a component yet.
    #[error(
        "it is a core module, not a component; build it for wasm32-wasip2, or make it a component with \
         `wasm-tools component new`"
    )]
    Module,
    /// The end is missing.
    #[error("it is cut off: {have} octets, and its parts want at least {want}; copy it again")]
    Truncated {
        /// Octets of the file.
        have: usize,
        /// Octets up to the end of the part that is cut.
        want: usize,
    },
    /// The compiler's word.
    #[error("it is not a valid component: {0}")]
    Invalid(String),
    /// Written against another version.
    #[error("it wants {0}, and this host offers {VERSION}; build it against that version's WIT")]
    OtherVersion(String),
    /// It exports nothing that could be called.
    #[error("it exports no hook ({PACKAGE}on-… in version {VERSION}); its exports: {0}")]
    NoHook(String),
    /// A hook of the right name and the wrong type.
    #[error("its export {0} is not as in version {VERSION} of the WIT")]
    WrongHook(String),
    /// It wants what the operator has not granted.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NotGranted(Vec<Missing>),
    /// It wants what nobody offers.
    #[error("it imports {0}, which Hermetic does not offer")]
    UnknownImport(String),
    /// An import of the right name and the wrong type.
    #[error("its imports do not fit version {VERSION} of the WIT: {0}")]
    WrongImport(String),
    /// It could not even begin.
    #[error("it begins with {begins} octets of memory, but `limits.memory` allows {allowed}")]
    Memory {
        /// Octets that it declares.
        begins: u64,
        /// As configured.
        allowed: usize,
    },
    /// `plugins.sqlite`.
    #[error("its database can not be opened: {0}")]
    Database(#[from] BucketError),
    /// Ours.
    #[error("the WebAssembly runtime for plugins can not be set up: {0}")]
    Runtime(String),
}

/// What a component is, before anything is granted to it.
#[derive(Clone, Debug)]
pub struct Description {
    /// SHA-256 in hexadecimal.
    pub hash: String,
    /// Octets of the file.
    pub size: usize,
    /// In the order in which a message meets them.
    pub hooks: Vec<Hook>,
    /// As the component names them, and what each needs.
    pub imports: Vec<(String, Need)>,
}

/// Loads plugins. One is enough for a process.
#[derive(Clone)]
pub struct Loader {
    runtime: Arc<Runtime>,
    /// For compiled components.
    compiled: PathBuf,
    /// For what plugins write.
    folder: PathBuf,
    network: Network,
    elsewhere: Option<Arc<dyn Elsewhere>>,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A component that has been read and compiled.
struct Compiled {
    component: Component,
    description: Description,
    exports: Vec<(Hook, ComponentExportIndex)>,
}

impl Loader {
    /// `folder` is the plugins' own: below it are compiled components (`compiled`, which must be closed to others) and
    /// `plugins.sqlite`. It is made when it is needed.
    ///
    /// # Errors
    /// [`LoadError::Runtime`].
    pub fn new(folder: &Path) -> Result<Self, LoadError> {
        Self::apart(&folder.join("compiled"), folder)
    }

    /// As [`Loader::new`], with compiled components somewhere else than what plugins write.
    ///
    /// # Errors
    /// [`LoadError::Runtime`].
    pub fn apart(compiled: &Path, folder: &Path) -> Result<Self, LoadError> {
        let engine = engine(PluginLimits::default().memory)?;
        let ticker = Ticker::start(vec![engine.clone()]).map_err(|error| LoadError::Runtime(error.to_string()))?;
        Ok(Self {
            runtime: Arc::new(Runtime { buckets: Buckets::default(), engine, aside: Aside::default(), ticker }),
            compiled: compiled.to_owned(),
            folder: folder.to_owned(),
            network: Network::new(&Dns::default()).map_err(|error| LoadError::Runtime(error.to_string()))?,
            elsewhere: None,
        })
    }

    /// What plugins keep is kept there and not in `plugins.sqlite`.
    #[must_use]
    pub fn keeping(self, elsewhere: Option<Arc<dyn Elsewhere>>) -> Self {
        Self { elsewhere, ..self }
    }

    /// With another way to the network than the system's name servers and root certificates.
    #[must_use]
    pub fn reaching(self, network: Network) -> Self {
        Self { network, ..self }
    }

    /// Reads, compiles and checks. The first time this takes seconds for components of Python or JavaScript, so call it
    /// where waiting harms nobody.
    ///
    /// # Errors
    /// Why it can not be used.
    pub fn load(&self, configured: &Configured) -> Result<Arc<dyn Plugin>, LoadError> {
        Ok(self.load_wasm(configured)?)
    }

    /// As [`Loader::load`], for those who want to watch its calls.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load_wasm(&self, configured: &Configured) -> Result<Arc<Wasm>, LoadError> {
        let bytes = read(&configured.file)?;
        let hash = sha256(&bytes);
        if let Some(wanted) = &configured.sha256
            && !wanted.eq_ignore_ascii_case(&hash)
        {
            return Err(LoadError::Pinned { found: hash, wanted: wanted.clone() });
        }
        let limits = &configured.limits;
        let Compiled { component, description, exports } = self.compile(&bytes, Some(limits))?;
        check(&description, &configured.grants)?;
        if let Some(begins) = component.resources_required().and_then(|required| required.max_initial_memory_size)
            && begins.saturating_mul(PAGE) > limits.memory as u64
        {
            return Err(LoadError::Memory { begins: begins.saturating_mul(PAGE), allowed: limits.memory });
        }
        if description.hooks.contains(&Hook::Delivery) && !configured.grants.delivery {
            let plugin = &*configured.name;
            tracing::info!(
                plugin,
                "it could deliver and may not: to allow that, write `delivery = true` below [plugin.grants]"
            );
        }
        let linker = linker(&component)?;
        let wrong = |error: wasmtime::Error| LoadError::WrongImport(format!("{error:#}"));
        let instances = linker.instantiate_pre(&component).map_err(wrong)?;
        let keeps = description.imports.iter().any(|(_, need)| *need == Need::Grant(Grant::KeyValue));
        let bucket = if keeps { Some(self.bucket(configured)?) } else { None };
        let settings = Settings::new(configured, bucket, self.network.clone());
        Ok(Arc::new(Wasm::new(Arc::clone(&self.runtime), instances, exports, description, settings)))
    }

    /// What a component is and wants; nothing is granted or run.
    ///
    /// # Errors
    /// As [`Loader::load`], without those about grants.
    pub fn describe(&self, file: &Path) -> Result<Description, LoadError> {
        Ok(self.compile(&read(file)?, None)?.description)
    }

    /// With places for instances if it is to run within these limits.
    fn compile(&self, bytes: &[u8], limits: Option<&PluginLimits>) -> Result<Compiled, LoadError> {
        shape(bytes)?;
        let shared = self.runtime.engine.clone();
        let engine = match limits {
            Some(limits) if limits.memory > PluginLimits::default().memory => engine(limits.memory)?,
            _ => shared,
        };
        let component = cache::component(&engine, bytes, Some(&self.compiled), Purpose::Plugin)
            .map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
        let component = match limits {
            Some(limits) => pooled(&component, limits).unwrap_or_else(|error| {
                tracing::warn!("a plugin runs without a pool of instances, which makes it slower: {error:#}");
                component
            }),
            None => component,
        };
        let engine = component.engine();
        self.runtime.ticker.add(engine);
        let mut imports = Vec::new();
        for (name, item) in component.component_type().imports(engine) {
            let functions = |instance: &wasmtime::component::types::ComponentInstance| {
                instance.exports(engine).any(|(_, item)| !matches!(item.ty, ComponentItem::Type(_)))
            };
            let need = match &item.ty {
                ComponentItem::ComponentInstance(instance) if !functions(instance) => Need::Nothing,
                ComponentItem::Type(_) => Need::Nothing,
                _ => grants::need(name),
            };
            imports.push((name.to_owned(), need));
        }
        let hooks = hooks(engine, &component)?;
        let description = Description {
            hash: sha256(bytes),
            size: bytes.len(),
            hooks: hooks.iter().map(|(hook, _)| *hook).collect(),
            imports,
        };
        Ok(Compiled { component, description, exports: hooks })
    }

    fn bucket(&self, configured: &Configured) -> Result<Arc<Bucket>, LoadError> {
        if let Some(place) = &self.elsewhere {
            return Ok(Arc::new(Bucket::elsewhere(place.clone(), &configured.name, configured.grants.keyvalue)));
        }
        let file = self.folder.join("plugins.sqlite");
        files::make_private_folder(&self.folder)
            .map_err(|error| LoadError::Unreadable { file: file.clone(), error })?;
        Ok(Arc::new(self.runtime.buckets.open(&file, &configured.name, configured.grants.keyvalue)?))
    }
}

/// An engine for components whose instances may have so much memory.
fn engine(memory: usize) -> Result<wasmtime::Engine, LoadError> {
    wasmtime::Engine::new(&pool::settings(memory)).map_err(|error| LoadError::Runtime(format!("{error:#}")))
}

/// The same component with places for its instances.
fn pooled(component: &Component, limits: &PluginLimits) -> wasmtime::Result<Component> {
    let engine = pool::engine(component, limits.memory, limits.instances)?;
    cache::load(&engine, &component.serialize()?)
}

/// Everything that this host offers, and what is inert.
fn linker(component: &Component) -> Result<Linker<Guest>, LoadError> {
    let engine = component.engine();
    let mut linker = Linker::new(engine);
    let offered = |linker: &mut Linker<Guest>| -> wasmtime::Result<()> {
        type Of = HasSelf<Guest>;
        wit::types::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::facts::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::log::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::config::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::scratch::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::header::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::body::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::rendered::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::attempt::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::fate::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::edit::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::forwarding::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::quarantine::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::reply::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::keyvalue::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::resolver::add_to_linker::<_, Of>(linker, |guest| guest)?;
        wit::http::add_to_linker::<_, Of>(linker, |guest| guest)
    };
    offered(&mut linker).map_err(|error| LoadError::Runtime(format!("{error:#}")))?;
    for (name, item) in component.component_type().imports(engine) {
        if let ComponentItem::ComponentInstance(instance) = &item.ty
            && !name.starts_with(PACKAGE)
        {
            let wrong = |error: wasmtime::Error| LoadError::WrongImport(format!("{error:#}"));
            match Draft::of(name) {
                Some(draft) => draft.link(&mut linker),
                None => wasi::link(&mut linker, engine, name, instance),
            }
            .map_err(wrong)?;
        }
    }
    Ok(linker)
}

fn read(file: &Path) -> Result<Vec<u8>, LoadError> {
    fs::read(file).map_err(|error| LoadError::Unreadable { file: file.to_owned(), error })
}

/// In hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for octet in Sha256::digest(bytes) {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// Is it a component with all its parts? Each part is a number, its length in LEB128, and so many octets.
fn shape(bytes: &[u8]) -> Result<(), LoadError> {
    let whole =
        |want: usize| if want > bytes.len() { Err(LoadError::Truncated { have: bytes.len(), want }) } else { Ok(()) };
    if !bytes.starts_with(&WASM) {
        return Err(LoadError::NotWasm);
    }
    whole(8)?;
    match &bytes[4..8] {
        layer if *layer == COMPONENT => {}
        layer if *layer == MODULE => return Err(LoadError::Module),
        _ => return Err(LoadError::NotWasm),
    }
    let mut at = 8;
    while at < bytes.len() {
        at += 1;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            whole(at + 1)?;
            length |= usize::from(bytes[at] & 0x7f) << shift;
            shift += 7;
            at += 1;
            if bytes[at - 1] & 0x80 == 0 || shift > 28 {
                break;
            }
        }
        at = at.saturating_add(length);
        whole(at)?;
    }
    Ok(())
}

/// The hooks among the exports.
fn hooks(engine: &wasmtime::Engine, component: &Component) -> Result<Vec<(Hook, ComponentExportIndex)>, LoadError> {
    let mut found = Vec::new();
    let mut others = Vec::new();
    for (export, _) in component.component_type().exports(engine) {
        let named = grants::interface(export).and_then(|(name, version)| Some((name.strip_prefix("on-")?, version)));
        let hook = named.and_then(|(name, _)| Hook::ALL.into_iter().find(|hook| hook.as_str() == name));
        let (Some(hook), Some((_, version))) = (hook, named) else {
            others.push(export.to_owned());
            continue;
        };
        if !grants::compatible(version) {
            return Err(LoadError::OtherVersion(export.to_owned()));
        }
        let function = super::run::function(hook);
        let wrong = || LoadError::WrongHook(export.to_owned());
        let interface = component.get_export_index(None, export).ok_or_else(wrong)?;
        let (item, index) = component.get_export(Some(&interface), function).ok_or_else(wrong)?;
        let ComponentItem::ComponentFunc(ty) = item else { return Err(wrong()) };
        let world = component.component_type();
        super::run::typecheck(hook, &ty, &world.instance_type()).map_err(|_| wrong())?;
        found.push((hook, index));
    }
    if found.is_empty() {
        let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
        return Err(LoadError::NoHook(others));
    }
    found.sort_by_key(|(hook, _)| Hook::ALL.iter().position(|one| one == hook));
    Ok(found)
}

/// Everything that is missing at once, the worst first.
fn check(description: &Description, grants: &Grants) -> Result<(), LoadError> {
    let of = |wanted: Need| {
        let names: Vec<_> =
            description.imports.iter().filter(|(_, need)| *need == wanted).map(|(name, _)| &**name).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    if let Some(names) = of(Need::Unknown) {
        return Err(LoadError::UnknownImport(names));
    }
    if let Some(names) = of(Need::OtherVersion) {
        return Err(LoadError::OtherVersion(names));
    }
    let missing: Vec<_> = description
        .imports
        .iter()
        .filter_map(|(import, need)| match need {
            Need::Grant(grant) if !grant.is_in(grants) => Some(Missing { import: import.clone(), grant: *grant }),
            _ => None,
        })
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(LoadError::NotGranted(missing)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn imports_that_are_not_granted_are_named_with_the_key_to_write() {
        let text = |imports: &[&str], grants: Grants| {
            let imports = imports.iter().map(|name| ((*name).to_owned(), grants::need(name))).collect();
            let description = Description { hash: String::new(), size: 0, hooks: Vec::new(), imports };
            check(&description, &grants).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let edit = "hermetic:plugin/edit@0.1.0";
        let granted = Grants { edit: true, ..Grants::default() };
        assert_eq!(text(&["hermetic:plugin/facts@0.1.0", "wasi:cli/stdin@0.2.6"], Grants::default()), "");
        assert_eq!(text(&[edit], granted.clone()), "");
        let wanted = format!("it imports {edit}: to allow that, write `edit = true` below [plugin.grants]");
        assert_eq!(text(&[edit], Grants::default()), wanted);
        let unknown = "it imports evil:host/shell@1.0.0, which Hermetic does not offer";
        assert_eq!(text(&[edit, "evil:host/shell@1.0.0"], Grants::default()), unknown);
        assert!(text(&["hermetic:plugin/http@0.1.0"], granted.clone()).contains("write `http = ["));
        assert!(text(&["hermetic:plugin/edit@0.2.0"], granted).contains("this host offers 0.1.0"));
    }

    #[test]
    fn the_shape_of_a_component() {
        let check = |octets: &[u8], expected: &str| {
            let got = shape(octets).err().map(|error| format!("{error:?}")).unwrap_or_default();
            assert!(got.starts_with(expected) && got.is_empty() == expected.is_empty(), "{octets:?}: {got}");
        };
        check(b"\0asm\x0d\0\x01\0", "");
        check(b"\0asm\x0d\0\x01\0\x00\x02ab", "");
        check(b"", "NotWasm");
        check(b"\0as", "NotWasm");
        check(b"\0asm\x02\0\0\0", "NotWasm");
        check(b"\0asm\x0d", "Truncated");
        check(b"\0asm\x01\0\0\0", "Module");
        check(b"\0asm\x0d\0\x01\0\x00", "Truncated");
        check(b"\0asm\x0d\0\x01\0\x00\x03ab", "Truncated");
        check(b"\0asm\x0d\0\x01\0\x00\xff\xff\xff\xff\xff", "Truncated");
    }
}
