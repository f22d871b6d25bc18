//! Things that a server is made to hold, so that its growth can be measured.

use super::manager;
use crate::Result;
use crate::client::{Task, Work};
use byproxy_proto::frame::{FRAME_BYTES_MAX, FrameError, PREFIX_BYTES, write_call_header};
use byproxy_proto::handshake::{Hello, Purpose, Welcome};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Limits, to_writer};
use std::any::Any;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// How many connections one session has: a process has few sessions, each with many.
const SESSION_CONNECTIONS: usize = 500;

pub(crate) fn hold(task: &Task) -> Result<Box<dyn Any>> {
    match task.work {
        Work::HoldList => {
            let manager = manager(task)?;
            let list = manager.list_from::<u64>(0..task.size as u64)?;
            Ok(Box::new((manager, list)))
        }
        Work::HoldClient => {
            let manager = manager(task)?;
            let list = manager.list_named::<u64>("list")?;
            (0..task.size).try_for_each(|_| list.len().map(drop))?;
            Ok(Box::new((manager, list)))
        }
        _ => Ok(Box::new(connections(task)?)),
    }
}

/// Connections that have each made a call and have nothing to do now.
fn connections(task: &Task) -> Result<Vec<UnixStream>> {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?;
    let mut streams = Vec::with_capacity(task.size);
    while streams.len() < task.size {
        let (control, session, secret) = connect(&task.address, Purpose::Control)?;
        streams.push(control);
        for _ in 1..SESSION_CONNECTIONS.min(task.size - streams.len() + 1) {
            let (mut lane, ..) = connect(&task.address, Purpose::Lane { session, secret })?;
            ping(&mut lane)?;
            streams.push(lane);
        }
    }
    Ok(streams)
}

fn connect(address: &str, purpose: Purpose) -> Result<(UnixStream, u64, u128)> {
    let mut stream = UnixStream::connect(address)?;
    send(&mut stream, |out| Hello::new(purpose, "versus").write(out))?;
    let body = receive(&mut stream)?;
    let welcome = Welcome::read(&body)?.ok_or_else(|| format!("refused: {body:?}"))?;
    Ok((stream, welcome.session, welcome.secret))
}

fn ping(lane: &mut UnixStream) -> Result<()> {
    let mut call = Vec::new();
    write_call_header(1, Operation::Ping, 0, &mut call);
    to_writer(&[0_u8; 0], &mut call, &Limits::default())?;
    send(lane, |out| out.extend_from_slice(&call))?;
    receive(lane).map(drop)
}

fn send(stream: &mut UnixStream, body: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let mut frame = Vec::new();
    byproxy_proto::frame::write::<FrameError>(&mut frame, FRAME_BYTES_MAX, |out| {
        body(out);
        Ok(())
    })?;
    Ok(stream.write_all(&frame)?)
}

fn receive(stream: &mut UnixStream) -> Result<Vec<u8>> {
    let mut prefix = [0; PREFIX_BYTES];
    stream.read_exact(&mut prefix)?;
    let mut body = vec![0; usize::try_from(u32::from_le_bytes(prefix))?];
    stream.read_exact(&mut body)?;
    Ok(body)
}
