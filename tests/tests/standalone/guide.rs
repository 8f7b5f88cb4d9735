//! The guide's commands, as they are written.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::CommandExt as _;

use crate::program::{programs, root};

/// The block ```` ```sh NAME ```` of a page.
fn block(page: &str, name: &str) -> String {
    let start = format!("```sh {name}\n");
    let (_, rest) = page.split_once(&start).unwrap_or_else(|| panic!("no block {name:?}"));
    rest.split("```").next().unwrap_or_default().to_owned()
}

/// Whatever was started in its group ends with it.
struct Group(std::process::Child);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

#[test]
fn the_commands_of_the_guide_work_as_they_are_written() {
    let Some((wasmtime, _)) = programs() else { return };
    let root = root();
    if !root.join("target/wasmtime/bin/wasmtime").is_file() {
        return eprintln!("skipped: the guide's wasmtime is not installed ({} is another)", wasmtime.display());
    }
    let page = std::fs::read_to_string(root.join("core/standalone/README.md")).expect("the guide");
    let folder = root.join("target/mail");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("an empty place");
    }
    let bash = |block: &str| {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", block]).current_dir(&root).stdin(Stdio::null());
        command
    };
    let mut serve = bash(&block(&page, "serve"));
    let mut server = Group(serve.process_group(0).stdout(Stdio::piped()).spawn().expect("bash"));
    let mut lines = BufReader::new(server.0.stdout.take().expect("piped")).lines();
    let first = lines.next().expect("a line").expect("text");
    assert_eq!(first, "listening on 127.0.0.1:2525 for example.test; messages are kept in mail");
    assert!(page.contains(&format!("`{first}`")), "the guide says something else");
    let sent = bash(&block(&page, "send")).output().expect("bash");
    let told = String::from_utf8_lossy(&sent.stdout);
    assert!(sent.status.success(), "{told}{}", String::from_utf8_lossy(&sent.stderr));
    assert!(told.contains("Return-Path: <me@example.org>") && told.contains("from a sandbox"), "{told}");
    let line = lines.next().expect("a line").expect("text");
    assert!(line.starts_with("message from=<me@example.org> to=<you@example.test>"), "{line}");
    drop(server);
    std::fs::remove_dir_all(&folder).expect("it is ours");
}
