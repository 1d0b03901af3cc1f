//! What the tests and benchmarks put a cluster through: `craton run stress COMMAND [ARG...]`.
//!
//! - `kill-storm N [everywhere]`: kills N processes in random states and hears of each end.
//! - `isolate`: processes that trap, overreach and never yield, each ending with its own reason.
//! - `beside FOE...`: how late timers are beside processes that do their worst.
//! - `shares SHARE...`: processes that compute on one CPU, with these shares, until it is stopped.
//! - `together`: processes of two nodes spawned together, channels between them, or not at all.
//! - `remote`: messages to and from every other node, their order and their bytes; monitor, kill.
//! - `sockets PORT N`: holds N connections to PORT and a thousand other sockets, is killed; twice.
//! - `connect HOST PORT`: bytes to an echo server and back, and calls that lead nowhere.
//! - `pingpong N [remote]`, `spawnexit N [remote]`: nanoseconds for one, as `NAME PLACE N NANOS`.
//!
//! Ends with an error, and says what was wrong, where anything was not as it must be.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "wasm32", feature(asm_experimental_arch))]

extern crate alloc;

mod bench;
mod beside;
mod connect;
mod hostile;
mod isolate;
mod remote;
mod shares;
mod sockets;
mod storm;
mod together;

use alloc::format;
use alloc::string::String;
use craton::{Member, NodeId, Pid, Run, nodes};
use hostile::Deed;
use storm::VictimArgument;

craton::entries! {
    /// Where a run begins.
    pub MAIN: "main" = main as fn(Run);
    /// Gets into a state and waits to be killed.
    pub VICTIM: "victim" = storm::victim as fn(VictimArgument);
    /// Takes no message.
    pub SINK: "sink" = storm::sink as fn(());
    /// Does what must not be done.
    pub VILLAIN: "villain" = isolate::villain as fn(Deed);
    /// Does its worst until it is ended.
    pub FOE: "foe" = beside::foe as fn((beside::Foe, Pid));
    /// Starts one foe after another.
    pub KEEPER: "keeper" = beside::keeper as fn((beside::Foe, Pid, Pid));
    /// Grows its memory as far as it may and says how far.
    pub GLUTTON: "glutton" = isolate::glutton as fn(());
    /// Sends typed messages back.
    pub ECHO: "echo" = remote::echo as fn(Pid);
    /// Sends bytes back.
    pub BOUNCE: "bounce" = bench::bounce as fn(());
    /// Takes all sockets there are.
    pub HOLDER: "holder" = sockets::holder as fn(sockets::Order);
    /// Sends numbers, which must come back raised.
    pub ASKER: "asker" = together::asker as fn(Member<together::Ends>);
    /// Sends numbers back raised.
    pub RAISER: "raiser" = together::raiser as fn(Member<together::Ends>);
    /// Ends.
    pub NOTHING: "nothing" = bench::nothing as fn(());
}

const USAGE: &str = "usage: craton run stress kill-storm N [everywhere] | isolate | remote | \
                     together | sockets PORT N | connect HOST PORT | beside FOE... | \
                     shares SHARE... | pingpong N [remote] | spawnexit N [remote]";

type Result<T = ()> = core::result::Result<T, String>;

fn main(run: Run) -> Result {
    let done = command(&run);
    if let Err(text) = &done {
        // If the operator is gone, the exit reason is all that can be said.
        let _ = run.stderr().line(&format!("stress: {text}"));
    }
    run.stdout().line(&done?).map_err(|error| failed(&error))
}

fn command(run: &Run) -> Result<String> {
    let arguments = run.arguments();
    let words = arguments.iter().map(String::as_str).collect::<alloc::vec::Vec<_>>();
    match words.as_slice() {
        ["isolate"] => isolate::run(),
        ["beside", foes @ ..] => beside::run(&mut run.stdout(), foes),
        ["shares", shares @ ..] => shares::run(run.stdout(), shares),
        ["remote"] => remote::run(),
        ["together"] => together::run(),
        ["sockets", port_text, count] => {
            sockets::run(run.stdout(), port(port_text)?, number(count)?)
        }
        ["connect", host, port_text] => connect::run(host, port(port_text)?),
        ["kill-storm", count] => storm::run(number(count)?, false),
        ["kill-storm", count, "everywhere"] => storm::run(number(count)?, true),
        ["pingpong", count] => bench::pingpong(number(count)?, "here"),
        ["pingpong", count, "remote"] => bench::pingpong(number(count)?, "remote"),
        ["spawnexit", count] => bench::spawnexit(number(count)?, "here"),
        ["spawnexit", count, "remote"] => bench::spawnexit(number(count)?, "remote"),
        _ => Err(String::from(USAGE)),
    }
}

fn port(text: &str) -> Result<u16> {
    text.parse().map_err(|_| format!("'{text}' is no port\n{USAGE}"))
}

fn number(text: &str) -> Result<u64> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("'{text}' is no count\n{USAGE}"))
}

/// A node other than the caller's.
fn other_node() -> Result<NodeId> {
    let nodes = nodes().map_err(|error| failed(&error))?;
    nodes.get(1).copied().ok_or_else(|| String::from("there is no other node"))
}

fn failed(error: &craton::Error) -> String {
    format!("{error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton::ExitReason;
    use craton::host::{self, Scenario};

    fn stress(arguments: &[&str]) -> host::Outcome {
        let arguments = arguments.iter().map(|&text| text.into()).collect();
        let outcome = host::run(ENTRIES, Scenario { arguments, ..Scenario::default() });
        assert!(outcome.left_over.is_empty(), "left over: {:?}", outcome.left_over);
        outcome
    }

    fn succeeds(arguments: &[&str]) -> String {
        let outcome = stress(arguments);
        let stderr = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!(outcome.reason, ExitReason::Normal, "{arguments:?}: {stderr}");
        String::from_utf8(outcome.stdout).expect("text")
    }

    #[test]
    fn every_command_but_isolate_holds_on_threads() {
        assert_eq!(succeeds(&["kill-storm", "200"]), "killed 200 of 200\n");
        assert_eq!(succeeds(&["kill-storm", "200", "everywhere"]), "killed 200 of 200\n");
        assert!(succeeds(&["remote"]).starts_with("2 nodes, "));
        assert_eq!(succeeds(&["together"]), "1000 numbers came back\n");
        for command in ["pingpong", "spawnexit"] {
            assert!(succeeds(&[command, "100"]).starts_with(&format!("{command} here 100 ")));
            assert!(
                succeeds(&[command, "9", "remote"]).starts_with(&format!("{command} remote 9 "))
            );
        }
    }

    #[test]
    fn isolate_fails_where_nothing_is_trapped() {
        let outcome = stress(&["isolate"]);
        assert!(matches!(outcome.reason, ExitReason::Error(_)), "{:?}", outcome.reason);
    }

    #[test]
    fn wrong_arguments_are_explained() {
        for arguments in [&[][..], &["storm"], &["kill-storm", "0"], &["pingpong", "1", "far"]] {
            let outcome = stress(arguments);
            assert!(matches!(outcome.reason, ExitReason::Error(_)), "{arguments:?}");
            assert!(String::from_utf8_lossy(&outcome.stderr).contains("usage: "), "{arguments:?}");
        }
    }
}
