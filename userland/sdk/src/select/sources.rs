//! The things that [`select!`](crate::select!) can wait for.
//!
//! Owns their types and the methods that make them: connections, listeners, datagrams, channels,
//! times, and what has an id: timers, monitors, requests.

use super::{Source, Wishes};
use crate::channel::{Receiver, Sender};
use crate::error::Error;
use crate::event::{Down, Notice, Pending};
use crate::mailbox::Mailbox;
use crate::message::decode;
use crate::net::{TcpListener, TcpStream, UdpSocket};
use crate::process::Monitor;
use crate::system::now;
use crate::timer::Timer;
use core::marker::PhantomData;
use core::net::SocketAddr;
use craton_abi::{Duration, ErrorCode, Instant};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Waits for bytes of a connection: [`TcpStream::reading`].
#[derive(Debug)]
pub struct Reading<'a> {
    stream: &'a mut TcpStream,
    to: &'a mut [u8],
}

/// Waits for a connection: [`TcpListener::accepting`].
#[derive(Debug)]
pub struct Accepting<'a>(&'a TcpListener);

/// Waits for a datagram: [`UdpSocket::receiving`].
#[derive(Debug)]
pub struct Receiving<'a> {
    socket: &'a UdpSocket,
    to: &'a mut [u8],
}

/// Waits until a channel takes another item: [`Sender::ready`].
#[derive(Debug)]
pub struct Ready<'a, T>(&'a mut Sender<T>);

/// Waits for the answer to a request: [`Pending::answered`].
#[derive(Debug)]
pub struct Answered<A> {
    pending: Pending,
    answer: PhantomData<fn() -> A>,
}

/// Waits for a time: [`until`].
#[derive(Debug)]
pub struct Until(Instant);

/// A source that has something at this time.
pub fn until(at: Instant) -> Until {
    Until(at)
}

/// A source that has something after so long, if nothing else comes before.
pub fn after(duration: Duration) -> Until {
    Until(now() + duration)
}

impl TcpStream {
    /// A source for [`select!`](crate::select!): what [`TcpStream::read`] gives.
    pub fn reading<'a>(&'a mut self, to: &'a mut [u8]) -> Reading<'a> {
        Reading { stream: self, to }
    }
}

impl TcpListener {
    /// A source for [`select!`](crate::select!): what [`TcpListener::accept`] gives.
    pub fn accepting(&self) -> Accepting<'_> {
        Accepting(self)
    }
}

impl UdpSocket {
    /// A source for [`select!`](crate::select!): what [`UdpSocket::receive_from`] gives.
    pub fn receiving<'a>(&'a self, to: &'a mut [u8]) -> Receiving<'a> {
        Receiving { socket: self, to }
    }
}

impl<T: Serialize> Sender<T> {
    /// A source for [`select!`](crate::select!): that [`Sender::send`] need not wait for a small
    /// item, or why no item can be sent any more.
    pub fn ready(&mut self) -> Ready<'_, T> {
        Ready(self)
    }
}

impl Pending {
    /// A source for [`select!`](crate::select!): the answer, or [`Error::Down`].
    pub fn answered<A: DeserializeOwned>(self) -> Answered<A> {
        Answered { pending: self, answer: PhantomData }
    }
}

/// What a call that did not wait took.
fn taken<T>(result: Result<T, ErrorCode>) -> Option<Result<T, ErrorCode>> {
    Some(result).filter(|result| !matches!(result, Err(ErrorCode::TimedOut)))
}

impl Source for Reading<'_> {
    type Output = Result<usize, ErrorCode>;

    fn take(&mut self, _mailbox: &mut Mailbox) -> Option<Self::Output> {
        taken(self.stream.read_within(self.to, Some(Duration::ZERO)))
    }

    fn arm(&self, wishes: &mut Wishes) {
        wishes.socket(self.stream.number());
    }
}

impl Source for Accepting<'_> {
    type Output = Result<TcpStream, ErrorCode>;

    fn take(&mut self, _mailbox: &mut Mailbox) -> Option<Self::Output> {
        taken(self.0.accept(Some(Duration::ZERO)))
    }

    fn arm(&self, wishes: &mut Wishes) {
        wishes.socket(self.0.number());
    }
}

impl Source for Receiving<'_> {
    type Output = Result<(usize, SocketAddr), ErrorCode>;

    fn take(&mut self, _mailbox: &mut Mailbox) -> Option<Self::Output> {
        taken(self.socket.receive_from(self.to, Some(Duration::ZERO)))
    }

    fn arm(&self, wishes: &mut Wishes) {
        wishes.socket(self.socket.number());
    }
}

impl<T: DeserializeOwned> Source for &mut Receiver<T> {
    type Output = Result<Option<T>, Error>;

    fn take(&mut self, _mailbox: &mut Mailbox) -> Option<Self::Output> {
        self.take_item()
    }

    fn arm(&self, wishes: &mut Wishes) {
        wishes.channel(self.tag());
    }
}

impl<T: Serialize> Source for Ready<'_, T> {
    type Output = Result<(), Error>;

    fn take(&mut self, _mailbox: &mut Mailbox) -> Option<Self::Output> {
        self.0.take_room()
    }

    fn arm(&self, wishes: &mut Wishes) {
        self.0.requests().for_each(|monitor| wishes.id(monitor.id()));
    }
}

impl<A: DeserializeOwned> Source for Answered<A> {
    type Output = Result<A, Error>;

    fn take(&mut self, mailbox: &mut Mailbox) -> Option<Self::Output> {
        match mailbox.take_kept(self.pending.monitor.id())? {
            Notice::Answer(_, _, bytes) => Some(decode(&bytes)),
            Notice::Down(Down { pid, reason, .. }) => Some(Err(Error::Down { pid, reason })),
            Notice::Exit(_) | Notice::Timer(_) => Some(Err(Error::Malformed)),
        }
    }

    fn arm(&self, wishes: &mut Wishes) {
        wishes.id(self.pending.monitor.id());
    }
}

impl Source for Timer {
    type Output = ();

    fn take(&mut self, mailbox: &mut Mailbox) -> Option<()> {
        mailbox.take_kept(self.id()).map(drop)
    }

    fn arm(&self, wishes: &mut Wishes) {
        wishes.id(self.id());
    }
}

impl Source for Monitor {
    type Output = Down;

    fn take(&mut self, mailbox: &mut Mailbox) -> Option<Down> {
        // The monitor of a request has its id, and the answer is another's.
        let Notice::Down(_) = mailbox.kept(self.id())? else { return None };
        match mailbox.take_kept(self.id()) {
            Some(Notice::Down(down)) => Some(down),
            _ => None,
        }
    }

    fn arm(&self, wishes: &mut Wishes) {
        wishes.id(self.id());
    }
}

impl Source for Until {
    type Output = ();

    fn take(&mut self, _mailbox: &mut Mailbox) -> Option<()> {
        (now() >= self.0).then_some(())
    }

    fn arm(&self, wishes: &mut Wishes) {
        wishes.until(self.0);
    }
}
