//! The scenarios of shipped plugins, played by `hermetic plugin test`; and that it notices what it should.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hermetic_tests::guest::shipped;
use hermetic_tests::server::binary;

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-plugins")
}

/// Exit code and everything that was said.
fn plugin_test(component: &Path, scenarios: &Path, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(binary(&[]));
    command.args(["plugin", "test"]).arg(component).arg("--scenarios").arg(scenarios).args(more);
    let output = command.output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit code"), String::from_utf8(text).expect("text"))
}

#[test]
fn shipped_plugins_do_as_their_scenarios_say() {
    for package in ["allow-list", "dnsbl", "greylist", "header-rules", "webhook"] {
        let (code, text) = plugin_test(&shipped(package), &guests().join(package).join("scenarios"), &[]);
        assert_eq!(code, 0, "{package}:\n{text}");
        assert!(text.contains("ok ") && text.contains(" 0 failed"), "{package}:\n{text}");
    }
}

#[test]
fn what_is_otherwise_is_found_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("written");
        file
    };
    let greylist = shipped("greylist");
    let head = "plugin.grants = { keyvalue = 1048576 }\n[[step]]\nto = [\"anna@example.org\"]\n";
    let wrong = write("wrong.toml", &format!("{head}expect = [{{ verdict = \"accept\" }}]\n"));
    let (code, text) = plugin_test(&greylist, &wrong, &[]);
    assert_eq!(code, 1, "{text}");
    for line in ["FAILED  wrong.toml", "step 1", "anna@example.org: verdict", "expected  accept", "got       defer"] {
        assert!(text.contains(line), "{line:?} in:\n{text}");
    }
    let (code, text) = plugin_test(&greylist, &wrong, &["--json"]);
    let object: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!((code, &object["ok"], &object["problems"][0]["step"]), (1, &false.into(), &1.into()), "{text}");

    for (name, text, named) in [
        ("unknown.toml", "[[step]]\nform = \"x\"\n".to_owned(), "form"),
        ("address.toml", format!("{head}from = \"a\"\n[[step]]\nto = [\"nobody\"]\n"), "\"nobody\" is no address"),
        ("grant.toml", "[[step]]\n".to_owned(), "keyvalue"),
    ] {
        let file = write(name, &text);
        let (code, said) = plugin_test(&greylist, &file, &[]);
        assert!(code == 2 && said.contains(named), "{name}: {code}\n{said}");
    }
}
