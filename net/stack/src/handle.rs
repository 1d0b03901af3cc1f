//! The stack's verbs as handles that can be awaited.
//!
//! Owns [`Shared`], a stack that several tasks of one executor use, and the handles
//! [`TcpListener`], [`TcpStream`], [`UdpSocket`]. A thin layer over [`Stack`]: events become
//! wake-ups, and nothing is kept in a future, so one that is dropped has lost nothing
//! (*cancel-safe*). A handle that is dropped closes what it stands for. Whoever owns the device
//! calls [`Shared::poll`].

use crate::config::{Event, Progress};
use crate::device::FrameDevice;
use crate::resolver::{ResolveError, ResolveId};
use crate::stack::Stack;
use crate::stream::{Closed, DialError, DialOptions, ListenError, ListenOptions, StreamId};
use crate::udp::{BindError, DatagramError, UdpId};
use crate::{Address, Announced, Owner};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll, Waker};
use craton_abi::Instant;

/// What a task waits for.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
enum Wait {
    Accept(u16),
    Open(StreamId),
    Read(StreamId),
    Write(StreamId),
    Datagram(UdpId),
    Name(ResolveId),
}

/// What a handle has been told of its stream.
#[derive(Copy, Clone, Debug, Default)]
struct Told {
    open: bool,
    finished: bool,
    closed: Option<Closed>,
}

struct Inner {
    stack: Stack,
    now: Instant,
    streams: BTreeMap<StreamId, Told>,
    accepted: BTreeMap<u16, VecDeque<(StreamId, SocketAddr)>>,
    sockets: Vec<UdpId>,
    names: BTreeMap<ResolveId, Option<Result<Vec<IpAddr>, ResolveError>>>,
    waiting: BTreeMap<Wait, Vec<Waker>>,
    /// Addresses as they come, for whoever wants to know.
    address: Option<Address>,
    announced: Announced,
}

/// A stack that the tasks of one executor share.
#[derive(Clone)]
pub struct Shared(Rc<RefCell<Inner>>);

/// Accepts streams to a port; stops when it is dropped.
pub struct TcpListener {
    shared: Shared,
    port: u16,
}

/// A stream; closed, after what was written, when it is dropped.
pub struct TcpStream {
    shared: Shared,
    id: StreamId,
    peer: SocketAddr,
}

/// A socket for datagrams; freed when it is dropped.
pub struct UdpSocket {
    shared: Shared,
    id: UdpId,
}

/// Why a stream could not be opened.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum ConnectError {
    /// It could not even begin.
    Dial(DialError),
    /// It was not opened.
    Closed(Closed),
}

impl Shared {
    /// Shares a stack.
    pub fn new(stack: Stack, now: Instant) -> Shared {
        Shared(Rc::new(RefCell::new(Inner {
            stack,
            now,
            streams: BTreeMap::new(),
            accepted: BTreeMap::new(),
            sockets: Vec::new(),
            names: BTreeMap::new(),
            waiting: BTreeMap::new(),
            address: None,
            announced: Announced::default(),
        })))
    }

    /// Polls the stack and wakes the tasks for which something happened.
    pub fn poll<D: FrameDevice>(&self, device: &mut D, now: Instant) -> Progress {
        let mut inner = self.0.borrow_mut();
        inner.now = now;
        let progress = inner.stack.poll(device, now);
        let mut woken = Vec::new();
        while let Some(event) = inner.stack.poll_event() {
            inner.note(event, &mut woken);
        }
        if inner.stack.has_datagram() {
            for socket in inner.sockets.clone() {
                woken.extend(inner.woken_by(Wait::Datagram(socket)));
            }
        }
        // A waker may run anything: nothing is borrowed any more.
        drop(inner);
        woken.into_iter().for_each(Waker::wake);
        progress
    }

    /// When to poll next if no frame comes and no task did anything.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.0.borrow_mut().stack.deadline(now)
    }

    /// Looks at the stack, or does what the handles have no verb for.
    pub fn with<R>(&self, look: impl FnOnce(&mut Stack) -> R) -> R {
        look(&mut self.0.borrow_mut().stack)
    }

    /// Our IPv4 address and what routers announced.
    pub fn addresses(&self) -> (Option<Address>, Announced) {
        let inner = self.0.borrow();
        (inner.address.clone(), inner.announced.clone())
    }

    /// Listens on a port.
    ///
    /// # Errors
    ///
    /// As [`Stack::listen_with`].
    pub fn listen(&self, port: u16, options: ListenOptions) -> Result<TcpListener, ListenError> {
        let mut inner = self.0.borrow_mut();
        inner.stack.listen_with(port, options)?;
        inner.accepted.insert(port, VecDeque::new());
        Ok(TcpListener { shared: self.clone(), port })
    }

    /// Opens a stream. If the future is dropped, so is the stream.
    ///
    /// # Errors
    ///
    /// If it cannot begin, or is not opened within the stack's time.
    pub async fn dial(
        &self,
        to: SocketAddr,
        options: DialOptions,
    ) -> Result<TcpStream, ConnectError> {
        let id = self.begin(to, options).map_err(ConnectError::Dial)?;
        let stream = TcpStream { shared: self.clone(), id, peer: to };
        stream.opened().await.map_err(ConnectError::Closed)?;
        Ok(stream)
    }

    /// Binds a socket for datagrams.
    ///
    /// # Errors
    ///
    /// As [`Stack::bind_for`].
    pub fn bind(&self, port: u16, owner: Owner) -> Result<UdpSocket, BindError> {
        let mut inner = self.0.borrow_mut();
        let id = inner.stack.bind_for(port, owner)?;
        inner.sockets.push(id);
        Ok(UdpSocket { shared: self.clone(), id })
    }

    /// The addresses of a name.
    ///
    /// # Errors
    ///
    /// If it has none, or nobody can tell.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let question = self.question(name);
        let id = question.id;
        question.shared.ready(Wait::Name(id), |inner| inner.names.get(&id)?.clone()).await
    }

    fn begin(&self, to: SocketAddr, options: DialOptions) -> Result<StreamId, DialError> {
        let mut inner = self.0.borrow_mut();
        let now = inner.now;
        let id = inner.stack.dial_with(to, options, now)?;
        inner.streams.insert(id, Told::default());
        Ok(id)
    }

    fn question(&self, name: &str) -> Question {
        let mut inner = self.0.borrow_mut();
        let now = inner.now;
        let id = inner.stack.resolve(name, now);
        inner.names.insert(id, None);
        Question { shared: self.clone(), id }
    }

    /// Waits until `look` sees something.
    fn ready<R>(
        &self,
        wait: Wait,
        mut look: impl FnMut(&mut Inner) -> Option<R>,
    ) -> impl Future<Output = R> {
        poll_fn(move |context: &mut Context<'_>| {
            let mut inner = self.0.borrow_mut();
            match look(&mut inner) {
                Some(result) => Poll::Ready(result),
                None => {
                    inner.wait(wait, context.waker());
                    Poll::Pending
                }
            }
        })
    }
}

impl Inner {
    fn note(&mut self, event: Event, woken: &mut Vec<Waker>) {
        match event {
            Event::Address(address) => self.address = address,
            Event::Announced(announced) => self.announced = announced,
            Event::Accepted { port, stream, from } => match self.accepted.get_mut(&port) {
                Some(accepted) => {
                    accepted.push_back((stream, from));
                    self.streams.insert(stream, Told { open: true, ..Told::default() });
                    woken.extend(self.woken_by(Wait::Accept(port)));
                }
                // Its listener was dropped meanwhile.
                None => self.stack.abort(stream, self.now),
            },
            Event::Connected { stream } => {
                self.tell(stream, |told| told.open = true);
                woken.extend(self.woken_by(Wait::Open(stream)));
            }
            Event::Readable { stream } => woken.extend(self.woken_by(Wait::Read(stream))),
            Event::Writable { stream } => woken.extend(self.woken_by(Wait::Write(stream))),
            Event::Finished { stream } => {
                self.tell(stream, |told| told.finished = true);
                woken.extend(self.woken_by(Wait::Read(stream)));
            }
            Event::Closed { stream, why } => {
                self.tell(stream, |told| told.closed = Some(why));
                for wait in [Wait::Open(stream), Wait::Read(stream), Wait::Write(stream)] {
                    woken.extend(self.woken_by(wait));
                }
            }
            Event::Resolved { question, result } => {
                if let Some(answer) = self.names.get_mut(&question) {
                    *answer = Some(result);
                }
                woken.extend(self.woken_by(Wait::Name(question)));
            }
        }
    }

    fn tell(&mut self, stream: StreamId, change: impl FnOnce(&mut Told)) {
        if let Some(told) = self.streams.get_mut(&stream) {
            change(told);
        }
    }

    fn wait(&mut self, wait: Wait, waker: &Waker) {
        let wakers = self.waiting.entry(wait).or_default();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    fn woken_by(&mut self, wait: Wait) -> Vec<Waker> {
        self.waiting.remove(&wait).unwrap_or_default()
    }
}

impl TcpListener {
    /// The next stream.
    pub async fn accept(&self) -> TcpStream {
        let port = self.port;
        let next = |inner: &mut Inner| inner.accepted.get_mut(&port)?.pop_front();
        let (id, peer) = self.shared.ready(Wait::Accept(port), next).await;
        TcpStream { shared: self.shared.clone(), id, peer }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let mut inner = self.shared.0.borrow_mut();
        inner.stack.unlisten(self.port);
        inner.waiting.remove(&Wait::Accept(self.port));
        let now = inner.now;
        for (stream, _) in inner.accepted.remove(&self.port).unwrap_or_default() {
            inner.streams.remove(&stream);
            inner.stack.abort(stream, now);
        }
    }
}

impl TcpStream {
    /// The peer.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    async fn opened(&self) -> Result<(), Closed> {
        let id = self.id;
        let open = |inner: &mut Inner| {
            let told = inner.streams.get(&id)?;
            told.closed.map(Err).or_else(|| told.open.then_some(Ok(())))
        };
        self.shared.ready(Wait::Open(id), open).await
    }

    /// Moves received bytes to the end of `out`, at least one and at most `bytes_max`; says how
    /// many. 0: the peer sends no more.
    ///
    /// # Errors
    ///
    /// If the stream ended otherwise than by the peer's finishing.
    pub async fn read(&self, out: &mut Vec<u8>, bytes_max: usize) -> Result<usize, Closed> {
        let id = self.id;
        let read = |inner: &mut Inner| {
            let read = inner.stack.read(id, out, bytes_max).unwrap_or(0);
            let told = inner.streams.get(&id).copied().unwrap_or_default();
            match told.closed {
                _ if read > 0 || bytes_max == 0 || told.finished => Some(Ok(read)),
                Some(Closed::Orderly) => Some(Ok(0)),
                Some(why) => Some(Err(why)),
                None => None,
            }
        };
        self.shared.ready(Wait::Read(id), read).await
    }

    /// Takes some of the bytes, at least one if there are any; says how many.
    ///
    /// # Errors
    ///
    /// If the stream ended.
    pub async fn write(&self, bytes: &[u8]) -> Result<usize, Closed> {
        let id = self.id;
        let write = |inner: &mut Inner| {
            let written = inner.stack.write(id, bytes).unwrap_or(0);
            if written > 0 || bytes.is_empty() {
                return Some(Ok(written));
            }
            inner.streams.get(&id).and_then(|told| told.closed).map(Err)
        };
        self.shared.ready(Wait::Write(id), write).await
    }

    /// Takes all of the bytes. If it is cancelled, some of them were taken.
    ///
    /// # Errors
    ///
    /// If the stream ended.
    pub async fn write_all(&self, mut bytes: &[u8]) -> Result<(), Closed> {
        while !bytes.is_empty() {
            let written = self.write(bytes).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Tells the peer that no more will be sent, after what was written. Reading goes on.
    pub fn finish(&self) {
        // A stream that ended is as finished as it can be.
        let _ = self.shared.0.borrow_mut().stack.finish(self.id);
    }

    /// Resets the stream: nothing more is delivered.
    pub fn abort(self) {
        let mut inner = self.shared.0.borrow_mut();
        let now = inner.now;
        inner.stack.abort(self.id, now);
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        let mut inner = self.shared.0.borrow_mut();
        let now = inner.now;
        inner.stack.close(self.id, now);
        inner.streams.remove(&self.id);
        for wait in [Wait::Open(self.id), Wait::Read(self.id), Wait::Write(self.id)] {
            inner.waiting.remove(&wait);
        }
    }
}

impl UdpSocket {
    /// The next datagram and its sender.
    pub async fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let id = self.id;
        let receive = |inner: &mut Inner| {
            let mut bytes = Vec::new();
            inner.stack.receive_from(id, &mut bytes).map(|from| (bytes, from))
        };
        self.shared.ready(Wait::Datagram(id), receive).await
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// As [`Stack::send_to`].
    pub fn send_to(&self, to: SocketAddr, bytes: &[u8]) -> Result<(), DatagramError> {
        let mut inner = self.shared.0.borrow_mut();
        let now = inner.now;
        inner.stack.send_to(self.id, to, bytes, now)
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let mut inner = self.shared.0.borrow_mut();
        inner.stack.unbind(self.id);
        inner.sockets.retain(|socket| *socket != self.id);
        inner.waiting.remove(&Wait::Datagram(self.id));
    }
}

/// A name that somebody waits for; forgotten when the wait is.
struct Question {
    shared: Shared,
    id: ResolveId,
}

impl Drop for Question {
    fn drop(&mut self) {
        let mut inner = self.shared.0.borrow_mut();
        inner.names.remove(&self.id);
        inner.waiting.remove(&Wait::Name(self.id));
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Dial(error) => error.fmt(f),
            ConnectError::Closed(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for ConnectError {}
