//! The limits of a call over a socket: a server of one thread that sends back what it gets by epoll and recvmsg, as any server of many
//! connections must, and one that blocks in read, a thread for each client.

use crate::Result;
use crate::client::Step;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendFlags};
use std::collections::BTreeMap;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

/// As many bytes as the frame of a small call.
const MESSAGE: [u8; 28] = [7; 28];
const LISTENER: u64 = 0;
const BUFFER_BYTES: usize = 64 << 10;

pub(crate) fn step(address: &str) -> Result<Step> {
    let mut stream = UnixStream::connect(address)?;
    Ok(Box::new(move |_| {
        let mut reply = [0; MESSAGE.len()];
        stream.write_all(&MESSAGE)?;
        Ok(stream.read_exact(&mut reply)?)
    }))
}

pub(crate) fn serve(address: &str) -> Result<()> {
    let listener = UnixListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &poll,
        &listener,
        epoll::EventData::new_u64(LISTENER),
        epoll::EventFlags::IN,
    )?;
    println!("{address}");
    let (mut streams, mut next) = (BTreeMap::new(), LISTENER + 1);
    let (mut events, mut buffer) = (Vec::with_capacity(256), vec![0; BUFFER_BYTES]);
    loop {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        for event in &events {
            let token = event.data.u64();
            if token == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    epoll::add(&poll, &stream, epoll::EventData::new_u64(next), epoll::EventFlags::IN)?;
                    streams.insert(next, stream);
                    next += 1;
                }
            } else if !streams.get(&token).is_some_and(|stream| send_back(stream, &mut buffer)) {
                streams.remove(&token);
            }
        }
    }
}

pub(crate) fn serve_blocking(address: &str) -> Result<()> {
    let listener = UnixListener::bind(address)?;
    println!("{address}");
    loop {
        let (mut stream, _) = listener.accept()?;
        std::thread::spawn(move || {
            let mut buffer = vec![0; BUFFER_BYTES];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
                    break;
                }
            }
        });
    }
}

/// Sends back what one recvmsg brings; false at the end.
fn send_back(stream: impl AsFd, buffer: &mut [u8]) -> bool {
    let mut ancillary = RecvAncillaryBuffer::default();
    let received = rustix::net::recvmsg(
        &stream,
        &mut [IoSliceMut::new(buffer)],
        &mut ancillary,
        RecvFlags::empty(),
    );
    match received {
        Ok(message) if message.bytes > 0 => rustix::net::send(
            &stream,
            buffer.get(..message.bytes).unwrap_or_default(),
            SendFlags::NOSIGNAL,
        )
        .is_ok(),
        Err(Errno::AGAIN) => true,
        _ => false,
    }
}
