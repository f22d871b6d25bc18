//! The `byproxy` command: a standalone server, and a look into one.
//!
//! It uses the library's public interface only. Results go to standard output, problems to standard error with exit code 1; wrong
//! usage is exit code 2.

mod inspect;
mod serve;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Lists, dicts, queues and locks shared by the processes of one machine.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs a server until SIGTERM or Ctrl-C.
    Serve(serve::Options),
    /// Says whether a server answers, and how fast.
    Ping(inspect::Target),
    /// Lists the named objects of a server, each with its kind. Prints nothing if there are none.
    Ls(inspect::Target),
    /// Prints the contents of a named object, shortened to 64 KiB.
    Show(inspect::Named),
}

fn main() -> ExitCode {
    byproxy::init();
    let outcome = match Command::parse().verb {
        Verb::Serve(options) => serve::run(&options),
        Verb::Ping(target) => inspect::ping(&target),
        Verb::Ls(target) => inspect::ls(&target),
        Verb::Show(named) => inspect::show(&named),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("byproxy: {error}");
            ExitCode::FAILURE
        }
    }
}
