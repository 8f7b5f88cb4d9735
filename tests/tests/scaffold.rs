//! `hermetic plugin new`, as a stranger uses it: the folder is made outside of this repository, and the commands that are
//! printed are typed. Rust's is built here; the other languages need compilers from other registries, and their files are
//! checked beside the code.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::env;
use std::path::Path;
use std::process::{Command, Output};

use hermetic_tests::server::binary;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn hermetic(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary(&[])).current_dir(folder).args(arguments).output().expect("it runs")
}

/// A command of the README. What cargo said to this test is not meant for it; what it builds stays for the next time.
fn typed(folder: &Path, line: &str) -> Output {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a command"));
    command.current_dir(folder).args(words);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_") || name.starts_with("RUST")) {
            let kept = ["CARGO_HOME", "CARGO_NET_RETRY", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
            if !kept.iter().any(|kept| name == *kept) {
                command.env_remove(name);
            }
        }
    }
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("scaffold"));
    command.output().expect("it runs")
}

#[test]
fn a_plugin_in_rust_builds_and_does_what_its_scenario_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let hooks = ["--hook", "recipient", "--hook", "recipient-message", "--hook", "delivery", "--hook", "report"];
    let made = hermetic(folder.path(), &[&["plugin", "new", "--lang", "rust", "my-filter"][..], &hooks].concat());
    assert!(made.status.success(), "{}", text(&made));
    let said = text(&made);
    let build = said.lines().map(str::trim).find(|line| line.starts_with("cargo build")).expect("a command");
    let plugin = folder.path().join("my-filter");
    for line in ["cargo test", build] {
        let output = typed(&plugin, line);
        assert!(output.status.success(), "{line}:\n{}", text(&output));
        assert!(!text(&output).contains("warning:"), "{line}:\n{}", text(&output));
    }
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("scaffold");
    let built = built.join("wasm32-unknown-unknown/release/my_filter.wasm");
    let built = built.to_str().expect("a path");

    let tested = hermetic(&plugin, &["plugin", "test", built, "--scenarios", "scenarios"]);
    assert!(tested.status.success() && text(&tested).contains("1 scenarios, 0 failed"), "{}", text(&tested));
    let inspected = text(&hermetic(&plugin, &["plugin", "inspect", built]));
    assert!(!inspected.contains("needs a grant") && !inspected.contains("wasi"), "{inspected}");

    // The hooks of the queue, without a scenario.
    let run = |more: &[&str]| {
        let output = hermetic(&plugin, &[&["plugin", "run", built], more].concat());
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    let delivery = run(&["--hook", "delivery", "--attempt", "3"]);
    assert!(delivery.contains("retry: 451 4.3.0") && delivery.contains("attempt 3 of "), "{delivery}");
    let report = run(&["--hook", "report", "--state", "expired", "--text", "nobody answered"]);
    assert!(report.contains("recipient@example.org: expired nobody answered"), "{report}");

    let again = hermetic(folder.path(), &["plugin", "new", "--lang", "rust", "my-filter"]);
    assert!(!again.status.success() && text(&again).contains("it is there already"), "{}", text(&again));
}
