//! TLS as a client: connections whose other end has proven its name.
//!
//! Owns [`TlsStream`], a connection by TLS 1.3 over a [`TcpStream`], [`Roots`], the authorities
//! that a program trusts, and [`TlsError`]. The protocol and the verification of certificates are
//! `rustls` and `webpki`; `crypto` and `verify` join the cryptography to them. There is no way to
//! connect without a proof: a chain to a root, the right name, the right time. The feature `tls`
//! of this crate brings it, `web-roots` the authorities that browsers trust. Why this way: see
//! docs/decisions/0026-tls-of-programs.md.
//!
//! ```no_run
//! # #[cfg(feature = "tls")]
//! # fn ask(authority: &str) -> Result<(), craton::tls::TlsError> {
//! use craton::Duration;
//! use craton::tls::{Roots, TlsStream};
//!
//! let roots = Roots::from_pem(authority)?;
//! let mut stream = TlsStream::connect("db.example", 5433, &roots, Duration::from_secs(10))?;
//! stream.write_all(b"hello")?;
//! let mut block = [0; 1024];
//! let len = stream.read(&mut block)?;
//! # Ok(())
//! # }
//! ```

mod crypto;
mod error;
mod verify;

pub use error::{CertificateFault, TlsError};

use crate::net::TcpStream;
use crate::system::{now, wall_time};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::{Duration, ErrorCode, Instant};
use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{Error, RootCertStore};

/// Bytes that are read at once.
const BLOCK_BYTES: usize = 4 << 10;
/// Longest part of a write that becomes one record.
const RECORD_BYTES_MAX: usize = 16 << 10;
/// Most bytes that may wait for the rest of a record or a message of the handshake.
const INCOMING_BYTES_MAX: usize = 96 << 10;
/// What a record has beyond its text, at most.
const OVERHEAD_BYTES: usize = 64;

/// The authorities whose word a program takes for a server's name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Roots(Arc<ClientConfig>);

/// A connection to a server that has proven its name. Dropping it closes it.
pub struct TlsStream {
    stream: TcpStream,
    connection: UnbufferedClientConnection,
    /// What came and was not understood yet.
    incoming: Vec<u8>,
    /// What is to be sent.
    outgoing: Vec<u8>,
    /// What came for the program, and how much of it was taken.
    text: Vec<u8>,
    taken: usize,
    /// The peer said that no more will come.
    ended: bool,
    timeout: Option<Duration>,
}

/// What became of a look at what came.
enum Turn {
    /// There is more to be done at once.
    Again,
    /// Nothing more without bytes of the peer.
    Wants,
    /// The handshake is over; nothing more without bytes of the peer.
    Open,
    Ended,
}

/// The node's time of day.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = core::time::Duration::from_nanos(wall_time()?.as_nanos());
        Some(UnixTime::since_unix_epoch(since))
    }
}

impl Roots {
    /// The authorities whose certificates the text has, in PEM; all else in it is passed over.
    ///
    /// # Errors
    ///
    /// [`TlsError::Roots`] if a certificate is none, or there is none.
    pub fn from_pem(text: &str) -> Result<Self, TlsError> {
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            certificates.push(certificate.map_err(|_| TlsError::Roots)?);
        }
        Self::new(certificates)
    }

    /// The authorities with these certificates, in DER.
    ///
    /// # Errors
    ///
    /// As [`Roots::from_pem`].
    pub fn from_der(certificates: &[&[u8]]) -> Result<Self, TlsError> {
        let own = |bytes: &&[u8]| CertificateDer::from(bytes.to_vec());
        Self::new(certificates.iter().map(own).collect())
    }

    fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            store.add(certificate).map_err(|_| TlsError::Roots)?;
        }
        if store.is_empty() { Err(TlsError::Roots) } else { Self::of(store) }
    }

    /// The authorities that browsers trust (Mozilla's list), as of when this crate was built.
    ///
    /// # Errors
    ///
    /// None that a program can cause.
    #[cfg(feature = "web-roots")]
    pub fn web() -> Result<Self, TlsError> {
        Self::of(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    fn of(store: RootCertStore) -> Result<Self, TlsError> {
        let provider = Arc::new(crypto::provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(Clock));
        let config = config.with_protocol_versions(&[&rustls::version::TLS13])?;
        let mut config = config.with_root_certificates(store).with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Roots(Arc::new(config)))
    }
}

impl TlsStream {
    /// Connects to a server and has it prove that it is `host`, a DNS name or an address; all of
    /// it within `timeout`. Later reads and writes wait for ever until
    /// [`TlsStream::set_timeout`] says otherwise.
    ///
    /// # Errors
    ///
    /// [`TlsError::Name`] for what is no name, [`TlsError::Clock`] where the node does not know the
    /// time, [`TlsError::Certificate`] where the proof fails, [`TlsError::Peer`] where the server
    /// speaks something else or an older TLS, and as [`resolve`] and [`TcpStream::connect`].
    pub fn connect(
        host: &str,
        port: u16,
        roots: &Roots,
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let deadline = now() + timeout;
        let stream = TcpStream::connect_to_host(host, port, timeout)?;
        Self::over(stream, host, roots, deadline.since(now()))
    }

    /// As [`TlsStream::connect`], over a connection that there is already.
    ///
    /// # Errors
    ///
    /// As [`TlsStream::connect`].
    pub fn over(
        stream: TcpStream,
        host: &str,
        roots: &Roots,
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let deadline = now() + timeout;
        let name = ServerName::try_from(host).map_err(|_| TlsError::Name)?.to_owned();
        // Without it a certificate of any age would have to do.
        wall_time().ok_or(TlsError::Clock)?;
        let connection = UnbufferedClientConnection::new(roots.0.clone(), name)?;
        let (incoming, outgoing, text) = (Vec::new(), Vec::new(), Vec::new());
        let (taken, ended, timeout) = (0, false, None);
        let mut tls =
            TlsStream { stream, connection, incoming, outgoing, text, taken, ended, timeout };
        loop {
            match tls.turn(Some(deadline))? {
                Turn::Again => {}
                // However fast the server sends what leads to nothing.
                Turn::Wants if now() >= deadline => return Err(ErrorCode::TimedOut.into()),
                Turn::Wants => tls.hear(Some(deadline))?,
                Turn::Open => return Ok(tls),
                Turn::Ended => return Err(ErrorCode::Reset.into()),
            }
        }
    }

    /// The address of the other end.
    pub fn peer(&self) -> SocketAddr {
        self.stream.peer()
    }

    /// How long reads and writes wait from now on; `None`, as in the beginning, is for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Waits for bytes; says how many came. 0: the peer has said that it sends no more.
    ///
    /// # Errors
    ///
    /// `timed-out` (nothing was taken), [`TlsError::Truncated`] if the connection ended and the
    /// peer did not say so, and what the connection itself gives.
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize, TlsError> {
        let deadline = self.deadline();
        if to.is_empty() {
            return Err(ErrorCode::Invalid.into());
        }
        while self.taken == self.text.len() && !self.ended {
            match self.turn(deadline)? {
                Turn::Again | Turn::Ended => {}
                Turn::Wants | Turn::Open => self.hear(deadline)?,
            }
        }
        let len = to.len().min(self.text.len() - self.taken);
        to[..len].copy_from_slice(&self.text[self.taken..self.taken + len]);
        self.taken += len;
        if self.taken == self.text.len() {
            self.text.clear();
            self.taken = 0;
        }
        Ok(len)
    }

    /// Sends some of the bytes, one at least, all of them within the time-out; says how many.
    ///
    /// # Errors
    ///
    /// `timed-out`, `reset` and what the connection itself gives. Some of the bytes may have been
    /// sent, and part of a record: the connection is of no use then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        let part = &bytes[..bytes.len().min(RECORD_BYTES_MAX)];
        if !part.is_empty() {
            self.seal(Some(part))?;
        }
        Ok(part.len())
    }

    /// Sends all of the bytes. The time-out counts anew for every 16 KiB.
    ///
    /// # Errors
    ///
    /// As [`TlsStream::write`].
    pub fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), TlsError> {
        while !bytes.is_empty() {
            let written = self.write(bytes)?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Tells the peer that no more will be sent. Reading goes on.
    ///
    /// # Errors
    ///
    /// As [`TlsStream::write_all`].
    pub fn finish(&mut self) -> Result<(), TlsError> {
        self.seal(None)?;
        Ok(self.stream.finish()?)
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| now() + timeout)
    }

    /// Encrypts and sends bytes, or else that there will be no more.
    fn seal(&mut self, bytes: Option<&[u8]>) -> Result<(), TlsError> {
        let deadline = self.deadline();
        // What the protocol itself has to say goes first. That the peer has ended does not keep
        // us from writing; `turn` remembers it for the reader.
        while let Turn::Again = self.turn(deadline)? {}
        let start = self.outgoing.len();
        self.outgoing.resize(start + bytes.map_or(0, <[u8]>::len) + OVERHEAD_BYTES, 0);
        let to = &mut self.outgoing[start..];
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
        let sealed = match (state?, bytes) {
            (ConnectionState::WriteTraffic(mut writer), Some(bytes)) => writer.encrypt(bytes, to),
            (ConnectionState::WriteTraffic(mut writer), None) => writer.queue_close_notify(to),
            _ => Ok(0),
        };
        match sealed {
            Ok(0) | Err(EncryptError::EncryptExhausted) => Err(ErrorCode::Invalid.into()),
            Ok(len) => {
                self.outgoing.truncate(start + len);
                self.transmit(deadline)
            }
            Err(EncryptError::InsufficientSize(_)) => Err(TlsError::Peer("a long record".into())),
        }
    }

    /// Looks at what came, once.
    fn turn(&mut self, deadline: Option<Instant>) -> Result<Turn, TlsError> {
        let UnbufferedStatus { mut discard, state } =
            self.connection.process_tls_records(&mut self.incoming);
        let turn = match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut self.outgoing, |to| data.encode(to)).map(|()| Turn::Again)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                self.incoming.drain(..discard);
                self.transmit(deadline)?;
                return Ok(Turn::Again);
            }
            Ok(ConnectionState::ReadTraffic(mut records)) => loop {
                match records.next_record() {
                    None => break Ok(Turn::Again),
                    Some(Err(error)) => break Err(error),
                    Some(Ok(record)) => {
                        discard += record.discard;
                        self.text.extend_from_slice(record.payload);
                    }
                }
            },
            Ok(ConnectionState::BlockedHandshake) => Ok(Turn::Wants),
            Ok(ConnectionState::WriteTraffic(_)) => Ok(Turn::Open),
            // It is said once: whoever asks next is told that writing is possible.
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                self.ended = true;
                Ok(Turn::Ended)
            }
            Ok(_) => Err(Error::General("a state that a client does not know".into())),
            Err(error) => Err(error),
        };
        self.incoming.drain(..discard);
        turn.map_err(|error| {
            self.say_why(deadline);
            error.into()
        })
    }

    /// Tells the peer what was wrong, if it still listens.
    fn say_why(&mut self, deadline: Option<Instant>) {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
        if let Ok(ConnectionState::EncodeTlsData(mut alert)) = state
            && encode(&mut self.outgoing, |to| alert.encode(to)).is_ok()
        {
            let _ = self.transmit(deadline);
        }
    }

    /// Sends what there is to send, all of it by the deadline, however slowly the peer takes it.
    fn transmit(&mut self, deadline: Option<Instant>) -> Result<(), TlsError> {
        let outgoing = core::mem::take(&mut self.outgoing);
        let mut rest = outgoing.as_slice();
        while !rest.is_empty() {
            self.stream.set_timeout(deadline.map(|deadline| deadline - now()));
            let sent = self.stream.write(rest)?;
            rest = rest.get(sent..).unwrap_or_default();
            if !rest.is_empty() && deadline.is_some_and(|deadline| now() >= deadline) {
                return Err(ErrorCode::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Waits for more bytes of the peer.
    fn hear(&mut self, deadline: Option<Instant>) -> Result<(), TlsError> {
        if self.incoming.len() > INCOMING_BYTES_MAX {
            return Err(TlsError::Peer("a message without end".into()));
        }
        self.stream.set_timeout(deadline.map(|deadline| deadline - now()));
        let mut block = [0; BLOCK_BYTES];
        match self.stream.read(&mut block)? {
            0 => Err(TlsError::Truncated),
            len => {
                self.incoming.extend_from_slice(&block[..len]);
                Ok(())
            }
        }
    }
}

/// Appends what is encoded, for which there is room as soon as it is known how much it needs.
fn encode(
    to: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), Error> {
    let start = to.len();
    let needed = match encode(&mut []) {
        Ok(_) | Err(EncodeError::AlreadyEncoded) => return Ok(()),
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
    };
    to.resize(start + needed, 0);
    let encoded = encode(&mut to[start..]).map_err(|_| Error::EncryptError)?;
    to.truncate(start + encoded);
    Ok(())
}

impl core::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TlsStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}
