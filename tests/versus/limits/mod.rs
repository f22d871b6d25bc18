//! What the machine itself allows: the same exchanges with nothing behind them.

pub(crate) mod bare;
pub(crate) mod echo;
pub(crate) mod growth;
pub(crate) mod ring;
pub(crate) mod spawn;

use crate::Result;
use std::io::Read as _;

/// Serves a limit until the harness closes this process's input or ends it.
pub(crate) fn serve(side: &str, address: &str) -> Result<()> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match side {
        "echo" => echo::serve(address),
        "pingpong" => echo::serve_blocking(address),
        "ring" => ring::serve(),
        other => Err(format!("no limit is called {other}").into()),
    }
}
