//! The guides' commands, as they are written.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::program::{programs, root};

/// Both guides listen at the same port.
static PORT: Mutex<()> = Mutex::new(());

/// The block ```` ```sh NAME ```` of a page.
fn block(page: &str, name: &str) -> String {
    let start = format!("```sh {name}\n");
    let (_, rest) = page.split_once(&start).unwrap_or_else(|| panic!("no block {name:?}"));
    rest.split("```").next().unwrap_or_default().to_owned()
}

fn bash(block: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", block]).current_dir(root()).stdin(Stdio::null());
    // What was set for the build of the tests is nothing to a newcomer.
    for (name, _) in std::env::vars_os() {
        let ours = |name: &str| name.starts_with("CARGO") && name != "CARGO_HOME" || name.starts_with("RUSTC");
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs to the end, must succeed, and gives what it said.
fn done(block: &str) -> String {
    let output = bash(block).output().expect("bash");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{block}\n{told}{}", String::from_utf8_lossy(&output.stderr));
    told
}

/// Whatever was started in its group ends with it.
struct Serving(Child, BufReader<ChildStdout>);

impl Serving {
    fn start(block: &str) -> Self {
        let mut child = bash(block).process_group(0).stdout(Stdio::piped()).spawn().expect("bash");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self(child, lines)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).expect("text");
        line
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

#[test]
fn the_commands_of_the_guide_work_as_they_are_written() {
    let Some((wasmtime, _)) = programs() else { return };
    if !root().join("target/wasmtime/bin/wasmtime").is_file() {
        return eprintln!("skipped: the guide's wasmtime is not installed ({} is another)", wasmtime.display());
    }
    let _port = PORT.lock();
    let page = std::fs::read_to_string(root().join("core/standalone/README.md")).expect("the guide");
    let folder = root().join("target/mail");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("an empty place");
    }
    let mut server = Serving::start(&block(&page, "serve"));
    let first = server.line();
    assert_eq!(first, "listening on 127.0.0.1:2525 for example.test; messages are kept in mail\n");
    assert!(page.contains(&format!("`{}`", first.trim_end())), "the guide says something else");
    let told = done(&block(&page, "send"));
    assert!(told.contains("Return-Path: <me@example.org>") && told.contains("from a sandbox"), "{told}");
    let line = server.line();
    assert!(line.starts_with("message from=<me@example.org> to=<you@example.test>"), "{line}");
    drop(server);
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

#[test]
fn the_commands_of_the_guide_in_rust_work_as_they_are_written() {
    if std::env::var_os("HERMETIC_GUIDES").is_none() {
        return eprintln!("skipped: it compiles wasmtime, which takes minutes; HERMETIC_GUIDES=1 runs it");
    }
    let project = root().join("../sink");
    assert!(!project.exists(), "the guide makes {}, which is there already", project.display());
    let _port = PORT.lock();
    let page = std::fs::read_to_string(root().join("core/rust/README.md")).expect("the guide");
    done(&block(&page, "project"));
    let mut server = Serving::start(&block(&page, "serve"));
    assert_eq!(server.line(), "listening on 127.0.0.1:2525\n");
    done(&block(&page, "send"));
    assert_eq!(server.line(), "a message: \"Subject: Hello\\r\\n\\r\\nfrom a sandbox\\r\\n\"\n");
    drop(server);
    std::fs::remove_dir_all(&project).expect("it is ours");
}
