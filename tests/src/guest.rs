//! The components of `guest-plugins` and of the fixtures, built by the recipe that builds the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::server::profile_folder;

#[allow(clippy::all, reason = "the host's; it is checked there")]
#[path = "../../host/build/component.rs"]
mod component;

/// `fixtures/hostile-plugin`, which says what it can do.
pub fn hostile() -> &'static Path {
    static COMPONENT: OnceLock<PathBuf> = OnceLock::new();
    COMPONENT.get_or_init(|| fixture("hostile-plugin", "engine"))
}

/// `fixtures/drafts-plugin`, the same.
pub fn drafts() -> &'static Path {
    static COMPONENT: OnceLock<PathBuf> = OnceLock::new();
    COMPONENT.get_or_init(|| fixture("drafts-plugin", "engine"))
}

/// A plugin of `guest-plugins`, as it is shipped.
pub fn shipped(package: &str) -> PathBuf {
    build("../guest-plugins/Cargo.toml", package, "plugin")
}

/// `fixtures/PACKAGE`, in one of the profiles for guests.
pub fn fixture(package: &str, profile: &'static str) -> PathBuf {
    build(&format!("fixtures/{package}/Cargo.toml"), package, profile)
}

fn build(manifest: &str, package: &str, profile: &'static str) -> PathBuf {
    let recipe = component::Recipe {
        manifest: &Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest),
        package,
        profile,
        folder: &profile_folder().with_file_name("sealed"),
    };
    recipe.build().unwrap_or_else(|why| panic!("{why}"))
}

/// The mark in the hostile plugin's memory that tells one build from another.
const MARK: &[u8] = b"VERSION-00000000";

/// Another build of the hostile plugin: its deed `stamp` says this number.
pub fn hostile_version(number: u32) -> Vec<u8> {
    let mut octets = fs::read(hostile()).expect("the component");
    let places: Vec<_> = octets.windows(MARK.len()).enumerate().filter(|(_, w)| *w == MARK).map(|(at, _)| at).collect();
    assert_eq!(places.len(), 1, "the mark {} should stand once in the component", String::from_utf8_lossy(MARK));
    octets[places[0]..places[0] + MARK.len()].copy_from_slice(version(number).as_bytes());
    octets
}

/// What the deed `stamp` of that build says.
pub fn version(number: u32) -> String {
    format!("VERSION-{number:08}")
}
