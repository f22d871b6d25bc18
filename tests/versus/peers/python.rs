//! CPython's `multiprocessing.Manager`, driven by its own processes.

use crate::Result;
use crate::hosts::Host;
use std::path::Path;
use std::process::{Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/versus/python/manager.py");

/// Its version, if it is installed.
pub(crate) fn version() -> Option<String> {
    let output = Command::new("python3").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|version| !version.is_empty())
}

pub(crate) fn start(folder: &Path) -> Result<Host> {
    let path = folder.join("python");
    Host::at_socket(
        Command::new("python3")
            .arg(SCRIPT)
            .arg("serve")
            .arg(&path)
            .stderr(Stdio::null()),
        &path,
    )
}

/// The command of a client, but for its task.
pub(crate) fn client() -> Command {
    let mut command = Command::new("python3");
    command.arg(SCRIPT).arg("client");
    command
}
