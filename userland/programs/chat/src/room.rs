//! Who is in the room, and how words get to them.
//!
//! Owns [`Room`] and the messages between it and connections. A connection that does not take what
//! is said to it in time is ended: it may hold up nobody.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use craton::{Duration, Monitor, Pid, kill, send_within};
use serde::{Deserialize, Serialize};

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 20;
/// Most people.
const PEOPLE_MAX: usize = 1000;

/// To the room: I want to be called so. Answered with who is there, or why not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Join(pub String);

/// To the room: I say this.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Say(pub String);

/// To a connection: show this line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Show(pub String);

/// Who is there, or why one may not join them.
pub type Joined = Result<Vec<String>, String>;

craton::message!(Join = "chat.join", Say = "chat.say", Show = "chat.show");

/// The people by their connections.
#[derive(Default)]
pub struct Room {
    people: BTreeMap<Pid, String>,
}

impl Room {
    /// Lets somebody in, unless the name is bad or taken.
    pub fn join(&mut self, pid: Pid, name: &str) -> Joined {
        let is_good = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.chars().all(|letter| letter.is_alphanumeric() || "-_".contains(letter));
        if !is_good {
            return Err(format!("a name is {NAME_BYTES_MAX} bytes of letters, digits, - and _"));
        }
        if self.people.values().any(|taken| taken == name) {
            return Err("that name is taken".into());
        }
        if self.people.len() >= PEOPLE_MAX || self.people.contains_key(&pid) {
            return Err("there is no room".into());
        }
        Monitor::new(&pid).map_err(|error| error.to_string())?;
        self.show(&format!("* {name} is here"), None);
        self.people.insert(pid, name.into());
        Ok(self.people.values().cloned().collect())
    }

    /// Passes on what somebody says to all others.
    pub fn say(&self, from: Pid, words: &str) {
        if let Some(name) = self.people.get(&from) {
            self.show(&format!("{name}: {words}"), Some(from));
        }
    }

    /// A connection has ended.
    pub fn left(&mut self, pid: Pid) {
        if let Some(name) = self.people.remove(&pid) {
            self.show(&format!("* {name} is gone"), None);
        }
    }

    fn show(&self, line: &str, but: Option<Pid>) {
        for pid in self.people.keys().filter(|pid| Some(**pid) != but) {
            // Who is gone will be missed soon; who is full is slower than the talk.
            if send_within(pid, &Show(line.into()), Duration::ZERO).is_err() {
                let _ = kill(pid);
            }
        }
    }
}
