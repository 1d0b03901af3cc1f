//! An operator's link to one node: questions, answers, and running programs.
//!
//! Owns [`Client`]: the session (a value without a socket of its own), the TCP connection that
//! carries it and the threads that read. One thread of control: [`Client::turn`] feeds the session
//! and hands out what the node said. Neighbours: `craton-session`, `craton-wire`.

use crate::error::{Context, Error, Result};
use crate::keys::Keys;
use craton_abi::{
    AppId, ExitReason, Incarnation, Instant, NodeId, Payload, Pid, Place, ProgramId, RequestId,
    TraceId,
};
use craton_session::{Config, ConnId, Event, SendError, Sessions};
use craton_wire::{Answer, Body, Lane, OutputStream, Question, RunEvent};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// How long a node may take to accept the connection and to show its certificate.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a node may take to answer a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read from the connection, and pulled from the session, at once.
const BLOCK_BYTES: usize = 64 << 10;
/// What to do where a node has closed the connection without a word.
const ADVICE: &str = "again in a moment; keys must be of the same cluster; a node's log says why";
/// Bytes of a bundle in one part.
const PART_BYTES: usize = 32 << 10;

/// What wakes the client.
enum Wake {
    Received(Vec<u8>),
    Closed(String),
    Input(io::Result<Vec<u8>>),
    Stop,
}

/// An operator's link to one node.
pub struct Client {
    sessions: Sessions,
    conn: ConnId,
    stream: TcpStream,
    wakes: Receiver<Wake>,
    wake: SyncSender<Wake>,
    /// What was heard while something else was waited for.
    heard: VecDeque<Turn>,
    node: Option<NodeId>,
    started: std::time::Instant,
    next: RequestId,
    address: SocketAddr,
}

/// What a run needs of the world.
pub struct RunIo<'a> {
    /// Standard input of the program.
    pub input: Box<dyn Read + Send>,
    /// Called with what the program writes.
    pub output: &'a mut dyn FnMut(OutputStream, &[u8]) -> io::Result<()>,
    /// Called with the bytes of input that were sent, each time more were.
    pub progress: &'a mut dyn FnMut(u64),
    /// Says `()` when the person wants the run to stop.
    pub stop: Option<Receiver<()>>,
}

/// How a run ended.
#[derive(Debug)]
pub struct RunEnd {
    /// Why the program's first process ended.
    pub reason: ExitReason,
    /// Whether the person stopped it.
    pub stopped: bool,
}

impl Client {
    /// Connects to the node at `address` as the operator whose keys these are.
    ///
    /// # Errors
    ///
    /// If nobody answers there, or the node and the operator have no authority in common.
    pub fn connect(address: SocketAddr, keys: &Keys) -> Result<Self> {
        let tried = || format!("connect to the node at {address}");
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).tried(tried)?;
        stream.set_nodelay(true).tried(tried)?;
        let (wake, wakes) = sync_channel(16);
        read_in_background(stream.try_clone().tried(tried)?, wake.clone());
        let config = Config {
            identity: keys.operator().clone(),
            authorities: vec![keys.authority_key()],
            incarnation: Incarnation::new(u64::from_le_bytes(crate::random())),
            seed: crate::random(),
            wall_clock_secs: crate::wall_clock_secs(),
        };
        let mut client = Client {
            sessions: Sessions::new(config),
            conn: ConnId(0),
            stream,
            wakes,
            wake,
            heard: VecDeque::new(),
            node: None,
            started: std::time::Instant::now(),
            next: RequestId::new(1),
            address,
        };
        let now = client.now();
        client.conn = client.sessions.dial_any(address, now);
        client.wait_until_up()?;
        // The node waits for the last word of the handshake, and not for long.
        client.transmit()?;
        Ok(client)
    }

    /// Bears with a node that is silent for so long from now on: a machine whose clock counts its
    /// instructions is, on a busy host, and would be given up although it lives.
    pub fn bear_silence(&mut self, silence_max: Duration) {
        let nanos = u64::try_from(silence_max.as_nanos()).unwrap_or(u64::MAX);
        self.sessions.bear_silence(craton_abi::Duration::from_nanos(nanos));
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let limit = std::time::Instant::now() + CONNECT_TIMEOUT;
        while self.node.is_none() {
            if std::time::Instant::now() > limit {
                return Err(Error::new(
                    format!("connect to the node at {}", self.address),
                    "it accepts connections but does not speak Craton's protocol in time",
                ));
            }
            self.turn(limit)?;
        }
        Ok(())
    }

    /// Moves bytes both ways until the node says something, the person stops the run, input was
    /// read, or `limit` passes.
    fn turn(&mut self, limit: std::time::Instant) -> Result<Option<Turn>> {
        match self.heard.pop_front() {
            Some(turn) => Ok(Some(turn)),
            None => self.wait(limit),
        }
    }

    /// As [`Client::turn`], past what was heard while something else was waited for.
    fn wait(&mut self, limit: std::time::Instant) -> Result<Option<Turn>> {
        loop {
            if let Some(turn) = self.poll_session()? {
                return Ok(Some(turn));
            }
            self.transmit()?;
            let now = self.now();
            let mut wait = limit.saturating_duration_since(std::time::Instant::now());
            if wait.is_zero() {
                return Ok(None);
            }
            if let Some(deadline) = self.sessions.deadline() {
                wait = wait.min(Duration::from_nanos(deadline.since(now).as_nanos()));
            }
            match self.wakes.recv_timeout(wait) {
                Ok(Wake::Received(bytes)) => {
                    let now = self.now();
                    self.sessions.received(self.conn, &bytes, now);
                }
                Ok(Wake::Closed(why)) => return Err(self.closed(&why)),
                Ok(Wake::Input(bytes)) => {
                    let bytes = bytes.tried(|| "read standard input".into())?;
                    return Ok(Some(Turn::Input(bytes)));
                }
                Ok(Wake::Stop) => return Ok(Some(Turn::Stop)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.lost("its reader ended")),
            }
            let now = self.now();
            self.sessions.tick(now);
        }
    }

    /// The other side ended the connection. A node tells strangers nothing, so of one that ends
    /// before there is a session the reason is in the node's log alone.
    fn closed(&self, why: &str) -> Error {
        if self.node.is_some() {
            return self.lost(why);
        }
        let tried = format!("connect to the node at {}", self.address);
        let happened = format!(
            "{why} without a word: it does not know these keys' authority, or serves as many tools \
             as it can"
        );
        Error::new(tried, happened).advise(ADVICE)
    }

    fn lost(&self, why: &str) -> Error {
        let tried = format!("talk to the node at {}", self.address);
        Error::new(tried, format!("the connection was lost ({why})"))
            .advise("craton nodes shows who is alive; the keys must be of the same cluster")
    }

    fn poll_session(&mut self) -> Result<Option<Turn>> {
        while let Some(event) = self.sessions.poll() {
            match event {
                // The session would go on over another connection; a tool has the one.
                Event::Dial { .. } if self.node.is_some() => {
                    return Err(self.lost("the node was silent for too long"));
                }
                Event::Dial { conn, .. } => {
                    self.conn = conn;
                    let now = self.now();
                    self.sessions.connected(conn, now);
                }
                Event::Up { peer } => {
                    self.node = Some(peer.node);
                    return Ok(Some(Turn::Up));
                }
                Event::Body { body, .. } => return Ok(Some(Turn::Said(body))),
                Event::Lost { why, .. } => return Err(self.lost(&why.to_string())),
                Event::Refused { why, .. } => return Err(self.lost(&why.to_string())),
                Event::Unreachable { .. } => return Err(self.lost("unreachable")),
                Event::Room { .. } => return Ok(Some(Turn::Room)),
                Event::Close { .. } | Event::Ready { .. } => {}
            }
        }
        Ok(None)
    }

    fn transmit(&mut self) -> Result<()> {
        let mut block = Vec::new();
        loop {
            block.clear();
            let now = self.now();
            self.sessions.transmit(self.conn, BLOCK_BYTES, &mut block, now);
            if block.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.stream.write_all(&block) {
                return Err(self.lost(&error.to_string()));
            }
        }
    }

    fn say(&mut self, body: Body) -> Result<()> {
        let Some(node) = self.node else { return Err(self.lost("no session yet")) };
        let (app, trace) = (AppId::default(), TraceId::default());
        let limit = std::time::Instant::now() + ANSWER_TIMEOUT;
        loop {
            let now = self.now();
            match self.sessions.send(node, Lane::CONTROL, app, trace, &body, now) {
                Ok(()) => return self.transmit(),
                // A large program is more than a queue holds at once.
                Err(SendError::Full) => match self.wait(limit)? {
                    Some(turn) => self.heard.push_back(turn),
                    None => return Err(self.lost("it takes nothing in")),
                },
                Err(error) => return Err(self.lost(&error.to_string())),
            }
        }
    }

    fn request(&mut self) -> RequestId {
        let request = self.next;
        self.next = request.next();
        request
    }

    /// Asks the node and waits for its answer.
    ///
    /// # Errors
    ///
    /// If the link breaks, the node does not answer in time, or it cannot do what was asked.
    pub fn ask(&mut self, question: Question) -> Result<Answer> {
        let request = self.request();
        self.say(Body::Ask { request, question })?;
        self.answer(request)
    }

    /// Waits for an answer. What a run says meanwhile is kept for later: its first process may ask
    /// for input before the operator is told that it has started.
    fn answer(&mut self, request: RequestId) -> Result<Answer> {
        let limit = std::time::Instant::now() + ANSWER_TIMEOUT;
        let mut later = VecDeque::new();
        let answer = loop {
            match self.turn(limit)? {
                Some(Turn::Said(Body::Answer { request: of, answer })) if of == request => {
                    break answer;
                }
                Some(Turn::Said(body @ Body::Run { .. })) => later.push_back(Turn::Said(body)),
                Some(_) => {}
                None => return Err(self.lost("no answer in time")),
            }
        };
        later.append(&mut self.heard);
        self.heard = later;
        match answer {
            Answer::Failed { error, text } => {
                Err(Error::new("do that on the node", format!("{error}: {text}")))
            }
            answer => Ok(answer),
        }
    }

    /// Runs the program in `bundle` and stays with it until its first process ends.
    ///
    /// # Errors
    ///
    /// If the node refuses the program, the link breaks, or input or output fails.
    pub fn run(
        &mut self,
        bundle: &[u8],
        arguments: Vec<String>,
        place: Place,
        mut io: RunIo<'_>,
    ) -> Result<RunEnd> {
        let program = craton_bundle::program_id(bundle);
        let request = self.request();
        self.say(Body::Ask { request, question: Question::Run { program, arguments, place } })?;
        let main = match self.answer(request)? {
            Answer::ProgramWanted => {
                self.upload(program, bundle)?;
                self.answer(request)?
            }
            answer => answer,
        };
        let Answer::Started(main) = main else {
            return Err(Error::new("run the program", "the node answered something else"));
        };
        if let Some(stop) = io.stop.take() {
            let wake = self.wake.clone();
            thread::spawn(move || while stop.recv().is_ok() && wake.send(Wake::Stop).is_ok() {});
        }
        let input = std::mem::replace(&mut io.input, Box::new(io::empty()));
        let wanted = self.feed(input);
        self.stay(request, main, io, &wanted)
    }

    fn upload(&mut self, program: ProgramId, bundle: &[u8]) -> Result<()> {
        let total = u32::try_from(bundle.len()).tried(|| "send the program".into())?;
        for (index, part) in bundle.chunks(PART_BYTES).enumerate() {
            // The product is below `total`, which fits.
            let offset = (index * PART_BYTES) as u32;
            let part = Payload(part.to_vec());
            self.say(Body::ProgramPart { program, offset, total, part })?;
        }
        Ok(())
    }

    /// Reads input in a thread of its own, as much as is wanted and when it is wanted.
    fn feed(&self, mut input: Box<dyn Read + Send>) -> Sender<usize> {
        let (wanted, wants) = channel::<usize>();
        let wake = self.wake.clone();
        thread::spawn(move || {
            while let Ok(bytes_max) = wants.recv() {
                let mut block = vec![0; bytes_max];
                let read = read_once(&mut input, &mut block).map(|count| {
                    block.truncate(count);
                    block
                });
                if wake.send(Wake::Input(read)).is_err() {
                    return;
                }
            }
        });
        wanted
    }

    fn stay(
        &mut self,
        request: RequestId,
        main: Pid,
        io: RunIo<'_>,
        wanted: &Sender<usize>,
    ) -> Result<RunEnd> {
        let mut sent = 0u64;
        let mut stopped = false;
        loop {
            let limit = std::time::Instant::now() + Duration::from_secs(3600);
            match self.turn(limit)? {
                Some(Turn::Said(Body::Run { request: of, event })) if of == request => {
                    match event {
                        RunEvent::Output { stream, bytes } => {
                            (io.output)(stream, &bytes.0).tried(|| "write the output".into())?;
                            self.say(Body::Run { request, event: RunEvent::OutputTaken })?;
                        }
                        RunEvent::InputWanted { bytes_max } => {
                            let bytes_max = (bytes_max as usize).min(BLOCK_BYTES);
                            // The reader ends only with the process.
                            let _ = wanted.send(bytes_max);
                        }
                        RunEvent::Ended { reason } => return Ok(RunEnd { reason, stopped }),
                        RunEvent::OutputTaken | RunEvent::Input { .. } => {}
                    }
                }
                Some(Turn::Input(bytes)) => {
                    sent += bytes.len() as u64;
                    let event = RunEvent::Input { bytes: Payload(bytes) };
                    self.say(Body::Run { request, event })?;
                    (io.progress)(sent);
                }
                Some(Turn::Stop) => {
                    stopped = true;
                    let request = self.request();
                    let question = Question::Kill { pid: main };
                    self.say(Body::Ask { request, question })?;
                }
                Some(Turn::Said(_) | Turn::Up | Turn::Room) | None => {}
            }
        }
    }
}

/// What a turn brought.
enum Turn {
    Up,
    Room,
    Said(Body),
    Input(Vec<u8>),
    Stop,
}

fn read_in_background(mut stream: TcpStream, wake: SyncSender<Wake>) {
    thread::spawn(move || {
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let news = match stream.read(&mut block) {
                Ok(0) => Wake::Closed("the node closed it".into()),
                Ok(count) => Wake::Received(block[..count].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Wake::Closed(error.to_string()),
            };
            let last = matches!(news, Wake::Closed(_));
            if wake.send(news).is_err() || last {
                return;
            }
        }
    });
}

/// Reads what is there, so that nothing which somebody typed or a pipe brought is held back.
fn read_once(input: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
