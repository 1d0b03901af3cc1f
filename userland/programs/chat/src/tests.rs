//! Two people who talk, on threads.

use super::*;
use craton::host::{self, Scenario};
use craton::net::TcpStream;
use craton::{ErrorCode, ExitReason, kill};
use std::net::{Ipv4Addr, SocketAddr};

craton::entries! {
    /// Starts the room and a listener, and plays the people.
    pub RIG: "main" = rig as fn(Run);
    /// The room.
    pub ROOM: "room" = room_entry as fn(());
    /// As the program's own.
    pub RIG_LISTENER: "listener" = super::listener as fn((Pid, u16));
    /// As the program's own.
    pub RIG_CONNECTION: "connection" = crate::connection::run as fn(Pid);
}

type Result<T = ()> = std::result::Result<T, Error>;

fn room_entry(_: ()) -> std::result::Result<(), String> {
    keep_room(1)
}

struct Client(TcpStream, String);

impl Client {
    fn connect() -> Result<Client> {
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9);
        loop {
            match TcpStream::connect(to, None) {
                Ok(stream) => return Ok(Client(stream, String::new())),
                // It takes a moment to listen.
                Err(ErrorCode::Refused) => craton::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn say(&mut self, line: &str) -> Result {
        Ok(self.0.write_all(format!("{line}\r\n").as_bytes())?)
    }

    #[track_caller]
    fn expect(&mut self, line: &str) {
        assert_eq!(self.hear(), line);
    }

    /// The next line.
    fn hear(&mut self) -> String {
        let mut block = [0; 64];
        while !self.1.contains('\n') {
            let len = self.0.read(&mut block).expect("the connection stands");
            assert!(len > 0, "it ends where a line was expected");
            self.1.push_str(std::str::from_utf8(&block[..len]).expect("text"));
        }
        let (line, rest) = self.1.split_once('\n').expect("a line");
        let line = line.trim_end().to_string();
        self.1 = rest.to_string();
        line
    }
}

fn rig(_: Run) -> Result {
    let room = ROOM.spawn(&(), SpawnOptions::here())?.pid;
    let listener = RIG_LISTENER.spawn(&(room, 9), SpawnOptions::here())?.pid;
    let (mut ada, mut bob) = (Client::connect()?, Client::connect()?);
    ada.expect("your name, please:");
    ada.say("ada")?;
    ada.expect("* here are: ada");
    bob.expect("your name, please:");
    bob.say("ada")?;
    bob.expect("that name is taken; another, please:");
    bob.say("no name")?;
    bob.expect("a name is 20 bytes of letters, digits, - and _; another, please:");
    bob.say("bob")?;
    // The room tells those who were there first.
    ada.expect("* bob is here");
    bob.0.write_all(b"hel")?;
    bob.0.write_all(b"lo\x1b[2J\n\nhow are you?\n")?;
    ada.expect("bob: hello[2J");
    ada.expect("bob: how are you?");
    ada.say(&"x".repeat(1500))?;
    ada.say("/quit")?;
    ada.expect("bye");
    assert_eq!(ada.0.read(&mut [0; 8])?, 0);
    for line in ["* here are: ", "ada: x", "ada: x", "* ada is gone"] {
        let heard = bob.hear();
        assert!(heard.starts_with(line), "{heard:?} is not {line:?}");
    }
    kill(&room)?;
    bob.expect("* the room is closed");
    kill(&listener)
}

#[test]
fn people_hear_one_another() {
    let outcome = host::run(ENTRIES, Scenario { nodes: 1, ..Scenario::default() });
    assert_eq!(outcome.reason, ExitReason::Normal, "{:?}", outcome.log);
    assert_eq!(outcome.left_over, Vec::<String>::new());
}

#[test]
fn a_port_that_is_none_is_refused() {
    let arguments = vec!["http".into()];
    let outcome = host::run(super::ENTRIES, Scenario { arguments, ..Scenario::default() });
    assert!(matches!(outcome.reason, ExitReason::Error(_)));
}
