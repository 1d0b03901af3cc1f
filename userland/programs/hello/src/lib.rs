//! Greets from whichever node it runs on, and says what it was given.
//!
//! The smallest whole program: one entry, arguments in, a line out.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

use alloc::format;
use craton::{Error, Run, me, nodes};

craton::entries! {
    /// Where a run begins.
    pub MAIN: "main" = hello as fn(Run);
}

fn hello(run: Run) -> Result<(), Error> {
    let whom = match run.arguments() {
        [] => "world".into(),
        arguments => arguments.join(" "),
    };
    let nodes = nodes()?.len();
    run.stdout().line(&format!("hello, {whom}, from {} on one of {nodes} nodes", me()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton::ExitReason;
    use craton::host::{self, Scenario};

    fn greeting(arguments: &[&str]) -> String {
        let arguments = arguments.iter().map(|&text| text.into()).collect();
        let outcome = host::run(ENTRIES, Scenario { arguments, ..Scenario::default() });
        assert_eq!(outcome.reason, ExitReason::Normal);
        String::from_utf8(outcome.stdout).expect("text")
    }

    #[test]
    fn greets_the_world_or_whom_it_is_told() {
        assert!(greeting(&[]).starts_with("hello, world, from <"));
        assert!(greeting(&["dear", "reader"]).starts_with("hello, dear reader, from <"));
        assert!(greeting(&[]).ends_with(" on one of 3 nodes\n"));
    }
}
