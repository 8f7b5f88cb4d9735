//! Power failures: the C library of `tests/shim`, and the folder that is left when the power is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::server::profile_folder;

/// The compiled `powerloss.c`.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/powerloss.c");
        let folder = profile_folder().join("e2e");
        fs::create_dir_all(&folder).expect("the target folder is writable");
        let (built, fresh) = (folder.join("powerloss.so"), folder.join(format!("powerloss.{}", std::process::id())));
        let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let out = Command::new(cc)
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o"])
            .args([&fresh, &source])
            .args(["-ldl", "-lpthread"])
            .output()
            .expect("a C compiler, as the server's own build needs it");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        fs::rename(fresh, &built).expect("ours");
        built
    })
}

/// The environment of a process whose folder `root` may lose its power; `shadow` becomes what would be left.
pub fn environment(root: &Path, shadow: &Path) -> [(&'static str, String); 3] {
    [
        ("LD_PRELOAD", library().display().to_string()),
        ("POWERLOSS_ROOT", root.display().to_string()),
        ("POWERLOSS_SHADOW", shadow.display().to_string()),
    ]
}

/// The power is back: `root` holds what was durable and nothing else. The process must have ended.
pub fn restore(root: &Path, shadow: &Path) {
    fs::remove_dir_all(root).expect("the watched folder is ours");
    fs::create_dir(root).expect("ours");
    copy(&shadow.join("dir"), "1", root);
    fs::remove_dir_all(shadow).expect("the shadow is ours");
}

fn copy(folders: &Path, number: &str, to: &Path) {
    for entry in fs::read_dir(folders.join(number)).expect("a folder of the shadow").flatten() {
        let to = to.join(entry.file_name());
        if entry.file_type().expect("it is there").is_symlink() {
            let number = fs::read_link(entry.path()).expect("a link of the shadow");
            fs::create_dir(&to).expect("ours");
            copy(folders, number.to_str().expect("a number"), &to);
        } else {
            fs::copy(entry.path(), &to).expect("a file of the shadow");
        }
    }
}
