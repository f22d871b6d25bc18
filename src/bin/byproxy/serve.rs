//! `byproxy serve`: hosts objects until it is told to end.

use byproxy::server::Limits;
use byproxy::{Address, Result, Server};
use bytesize::ByteSize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write as _;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to listen, such as `unix:/run/app/app.sock`; without it a private folder is made and its address printed. The last folder of
    /// the path is made, for this user only, if it is not there; the others must be.
    #[arg(long, value_name = "ADDRESS", env = "BYPROXY_LISTEN")]
    listen: Option<Address>,
    /// Worker threads; half the cores unless said otherwise.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// How much memory all objects may take together, such as `512MiB` or `4G`; half of the machine's, or of what its control group allows,
    /// unless said otherwise.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    memory_max: Option<ByteSize>,
    /// How many connections may be open at once; 10,000 unless said otherwise. A client process has one, and one more for each call it makes
    /// at the same time.
    #[arg(long, value_name = "N")]
    connections_max: Option<usize>,
    /// Keeps all calls on the socket, instead of letting busy clients go on in memory shared with the server.
    #[arg(long)]
    no_ring: bool,
    /// From which call on a client's lane goes on in shared memory.
    #[arg(long, value_name = "N", hide = true, conflicts_with = "no_ring")]
    ring_after: Option<u64>,
}

/// Reads a number of bytes, with a unit or without.
fn size(text: &str) -> std::result::Result<ByteSize, String> {
    let hint = |_| "write a number of bytes, such as 512MiB, 4G or 1000000".to_owned();
    text.parse::<ByteSize>().map_err(hint)
}

pub(crate) fn run(options: &Options) -> Result<()> {
    // Before the socket exists, so that no signal finds a server that would leave it behind.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|source| byproxy::Error::Io {
        context: "can't watch for signals",
        source,
    })?;
    let mut builder = Server::builder();
    if let Some(address) = &options.listen {
        builder = builder.listen(address.clone());
    }
    if let Some(workers) = options.workers {
        builder = builder.workers(workers);
    }
    if let Some(connections_max) = options.connections_max {
        builder = builder.limits(Limits {
            connections_max,
            ..Limits::default()
        });
    }
    if let Some(ByteSize(bytes)) = options.memory_max {
        builder = builder.memory_bytes_max(bytes);
    }
    if let Some(calls) = options.ring_after.or(options.no_ring.then_some(0)) {
        builder = builder.ring_after(calls);
    }
    let server = builder.build()?;

    let server_handle = server.handle();
    let watch = signals.handle();
    let watcher = std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            server_handle.stop();
        }
    });
    // Whoever reads this line through a pipe is waiting for it; if nobody reads any more, the server serves all the same.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "listening on {}", server.address()).and_then(|()| out.flush());
    let outcome = server.serve();
    watch.close();
    let _ = watcher.join();
    outcome
}
