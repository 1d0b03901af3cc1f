//! The network as a program uses it, its processes on threads.

use craton::host::{self, Scenario};
use craton::net::{TcpListener, TcpStream, UdpSocket, resolve};
use craton::{Duration, Error, ErrorCode, Event, ExitReason, Mailbox, Run, SpawnOptions, Timer};
use std::net::{Ipv4Addr, SocketAddr};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

mod program {
    use super::*;

    craton::entries! {
        /// Where a run begins.
        pub MAIN: "main" = main_entry as fn(Run);
        /// Sends back what comes on the connection that it is given.
        pub CONNECTION: "connection" = connection as fn(());
        /// Is given a connection and ends with it.
        pub DROPS: "drops" = drops as fn(());
    }

    fn connection(_: ()) -> Result<(), Error> {
        let mut stream = TcpStream::given(PATIENCE)?;
        let mut block = [0; 100];
        loop {
            match stream.read(&mut block)? {
                0 => return Ok(()),
                len => stream.write_all(&block[..len])?,
            }
        }
    }

    fn drops(_: ()) -> Result<(), Error> {
        let _stream = TcpStream::given(PATIENCE)?;
        craton::exit(&ExitReason::Error(b"on purpose".to_vec()))
    }

    fn main_entry(run: Run) -> Result<(), Error> {
        let listener = TcpListener::bind(7)?;
        assert_eq!(TcpListener::bind(7).err(), Some(ErrorCode::InUse));
        assert_eq!(listener.accept(Some(Duration::ZERO)).err(), Some(ErrorCode::TimedOut));
        assert_eq!(TcpStream::connect(at(8), PATIENCE).err(), Some(ErrorCode::Refused));
        // The server's side goes to a process of its own.
        let mut client = TcpStream::connect(at(7), PATIENCE)?;
        let child = CONNECTION.spawn(&(), SpawnOptions::here())?;
        let server = listener.accept(PATIENCE)?;
        server.give(&child.pid)?;
        let text = [b"a line of text, ".as_slice(); 1_000].concat();
        let mut back: Vec<u8> = Vec::new();
        let mut block = [0; 1_000];
        for part in text.chunks(2_000) {
            client.write_all(part)?;
            let until = back.len() + part.len();
            while back.len() < until {
                let len = client.read(&mut block)?;
                back.extend(&block[..len]);
            }
        }
        assert!(back == text);
        client.finish()?;
        assert_eq!(client.read(&mut block)?, 0);
        assert_eq!(client.write(b"x"), Err(ErrorCode::Invalid));
        ends(&listener)?;
        datagrams()?;
        watches(&listener)?;
        assert_eq!(resolve("localhost", None)?, [Ipv4Addr::LOCALHOST]);
        assert_eq!(resolve("nowhere.example", None), Err(ErrorCode::NoName));
        run.stdout().line("done")
    }

    /// What the other side sees of ends, in order and not.
    fn ends(listener: &TcpListener) -> Result<(), Error> {
        let mut client = TcpStream::connect(at(7), PATIENCE)?;
        listener.accept(PATIENCE)?.write_all(b"bye")?;
        let mut block = [0; 10];
        assert_eq!(client.read(&mut block)?, 3);
        assert_eq!(client.read(&mut block)?, 0);
        let mut client = TcpStream::connect(at(7), PATIENCE)?;
        let child = DROPS.spawn(&(), SpawnOptions::here())?;
        listener.accept(PATIENCE)?.give(&child.pid)?;
        client.set_timeout(PATIENCE);
        assert_eq!(client.read(&mut block), Err(ErrorCode::Reset));
        Ok(())
    }

    /// One process that hears messages and sockets.
    fn watches(listener: &TcpListener) -> Result<(), Error> {
        let mut mailbox = Mailbox::new();
        let mut expect = |timer: Timer| match mailbox.next_event() {
            Ok(Event::Timer(due)) => assert_eq!(due, timer),
            other => panic!("{other:?}"),
        };
        let accept = listener.watch(None, 1)?;
        let mut client = TcpStream::connect(at(7), PATIENCE)?;
        expect(accept);
        let mut server = listener.accept(Some(Duration::ZERO))?;
        // Time alone makes it due as well.
        let mut block = [0; 10];
        expect(server.watch(Some(Duration::from_millis(5)), 2)?);
        server.set_timeout(Some(Duration::ZERO));
        assert_eq!(server.read(&mut block), Err(ErrorCode::TimedOut));
        let read = server.watch(PATIENCE, 3)?;
        client.write_all(b"word")?;
        expect(read);
        assert_eq!(server.read(&mut block)?, 4);
        let end = server.watch(None, 4)?;
        drop(client);
        expect(end);
        assert_eq!(server.read(&mut block)?, 0);
        // One that is taken back does not come.
        assert!(listener.watch(None, 5)?.cancel());
        Ok(())
    }

    fn datagrams() -> Result<(), Error> {
        let (one, other) = (UdpSocket::bind(0)?, UdpSocket::bind(53)?);
        one.send_to(b"question", at(53))?;
        let mut block = [0; 4];
        let (len, from) = other.receive_from(&mut block, PATIENCE)?;
        assert_eq!((len, &block), (4, b"ques"));
        other.send_to(b"yes", from)?;
        assert_eq!(one.receive_from(&mut block, PATIENCE)?, (3, at(53)));
        assert_eq!(one.receive_from(&mut block, Some(Duration::ZERO)), Err(ErrorCode::TimedOut));
        Ok(())
    }
}

#[test]
fn a_program_serves_calls_and_resolves() {
    let outcome = host::run(program::ENTRIES, Scenario::default());
    assert_eq!(outcome.reason, ExitReason::Normal, "{:?}", outcome.log);
    assert_eq!(outcome.stdout, b"done\n");
    assert_eq!(outcome.left_over, Vec::<String>::new());
}
