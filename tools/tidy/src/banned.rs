//! Calls that are not to be made, each with what to do instead.
//!
//! Owns the rule `banned-call` and its table [`BANNED`].

use crate::tokens::lines_of;
use crate::{Kind, Offence, Source};

const RULE: &str = "banned-call";

/// A call that is not to be made.
struct Banned {
    tokens: &'static [&'static str],
    applies: fn(&Source, usize) -> bool,
    advice: &'static str,
}

const UNFINISHED: &str = "finish it, or leave it out";
const LOG: &str = "use the crate log (kernel) or return what is to be said (net)";
const SAY: &str = "say! or complain! (craton_tool::speak): a closed pipe is no reason to panic";

const BANNED: &[Banned] = &[
    Banned {
        tokens: &[".", "unwrap", "(", ")"],
        applies: |source, line| !source.is_test(line),
        advice: "return an error; at boot only, expect(\"why it holds\")",
    },
    Banned { tokens: &["todo", "!"], applies: |_, _| true, advice: UNFINISHED },
    Banned { tokens: &["unimplemented", "!"], applies: |_, _| true, advice: UNFINISHED },
    Banned { tokens: &["dbg", "!"], applies: |_, _| true, advice: "remove it, or use the log" },
    Banned { tokens: &["println", "!"], applies: is_node, advice: LOG },
    Banned { tokens: &["println", "!"], applies: is_tool, advice: SAY },
    Banned { tokens: &["eprintln", "!"], applies: is_node, advice: LOG },
    Banned { tokens: &["eprintln", "!"], applies: is_tool, advice: SAY },
    Banned { tokens: &["print", "!"], applies: is_node, advice: LOG },
    Banned { tokens: &["print", "!"], applies: is_tool, advice: SAY },
    Banned { tokens: &["eprint", "!"], applies: is_node, advice: LOG },
    Banned { tokens: &["eprint", "!"], applies: is_tool, advice: SAY },
    Banned {
        tokens: &["thread", ":", ":", "sleep"],
        applies: |source, line| {
            source.path.starts_with("qemu/") && source.is_test(line) && !has_reason(source, line)
        },
        advice: "wait for what the test is about: SerialLog::wait_for, or a socket's time-out; \
                 where time itself is meant, say so above: `// Sleeps: why`",
    },
];

/// Whether the line above says why this one sleeps.
fn has_reason(source: &Source, line: usize) -> bool {
    let above = line.checked_sub(2).and_then(|index| source.text.lines().nth(index));
    above.is_some_and(|above| above.trim_start().starts_with("// Sleeps: "))
}

/// Code of a node: it has no standard output.
fn is_node(source: &Source, line: usize) -> bool {
    let in_node = source.path.starts_with("kernel/") || source.path.starts_with("net/");
    in_node && source.kind == Kind::Product && !source.is_test(line)
}

/// What an operator starts, perhaps with a pipe behind it.
fn is_tool(source: &Source, line: usize) -> bool {
    let tools = ["tools/craton/", "tools/bench/"];
    tools.iter().any(|tool| source.path.starts_with(tool)) && !source.is_test(line)
}

/// Holds every source against the table.
pub fn check(sources: &[Source]) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in sources {
        for banned in BANNED {
            let lines = lines_of(&source.tokens, banned.tokens).into_iter();
            for line in lines.filter(|line| (banned.applies)(source, *line)) {
                let advice = format!("{}: {}", banned.tokens.concat(), banned.advice);
                offences.push(Offence::new(&source.path, line, RULE, advice));
            }
        }
    }
    offences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repo;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let sources = Repo::of(&[(path, text)]).sources().unwrap();
        check(&sources).into_iter().map(|offence| offence.line).collect()
    }

    #[test]
    fn unwrap_is_for_tests() {
        let text = "fn a() {\n b.unwrap();\n}\n#[cfg(test)]\nmod tests { fn a() { b.unwrap() } }";
        assert_eq!(lines("net/a/src/lib.rs", text), [2]);
        assert_eq!(lines("net/a/examples/b.rs", "fn a() { b.unwrap(); }"), [1]);
        assert!(lines("net/a/tests/b.rs", "fn a() { b.unwrap(); }").is_empty());
        assert!(lines("net/a/src/lib.rs", "fn a() { b.unwrap_or(1); }").is_empty());
    }

    #[test]
    fn nothing_is_left_unfinished() {
        for call in ["todo!()", "unimplemented!()", "dbg!(1)"] {
            assert_eq!(lines("tools/a/tests/b.rs", &format!("fn a() {{ {call} }}")), [1], "{call}");
        }
    }

    #[test]
    fn a_node_has_no_standard_output() {
        for call in ["println!()", "eprintln!()", "print!()", "eprint!()"] {
            let text = format!("fn a() {{ {call} }}");
            assert_eq!(lines("kernel/a/src/lib.rs", &text), [1], "{call}");
            assert_eq!(lines("net/a/src/lib.rs", &text), [1], "{call}");
            for host in ["tools/a/src/lib.rs", "net/a/tests/b.rs", "net/a/examples/b.rs"] {
                assert!(lines(host, &text).is_empty(), "{call} {host}");
            }
            assert!(lines("kernel/build.rs", &text).is_empty(), "{call}");
        }
    }

    #[test]
    fn a_tool_survives_a_closed_pipe() {
        for call in ["println!()", "eprintln!()", "print!()", "eprint!()"] {
            let text = format!("fn a() {{ {call} }}");
            assert_eq!(lines("tools/craton/src/lib.rs", &text), [1], "{call}");
            assert_eq!(lines("tools/bench/src/a.rs", &text), [1], "{call}");
        }
        assert!(lines("tools/craton/src/lib.rs", "fn a() { say!(\"a\") }").is_empty());
    }

    #[test]
    fn a_test_of_machines_does_not_sleep() {
        let text = "fn a() { std::thread::sleep(b); }";
        assert_eq!(lines("qemu/tests/a.rs", text), [1]);
        assert_eq!(lines("qemu/src/a.rs", &format!("#[cfg(test)] mod tests {{ {text} }}")), [1]);
        assert!(lines("qemu/src/a.rs", text).is_empty());
        assert_eq!(lines("qemu/tests/a.rs", "use std::thread::sleep;"), [1]);
        let reasoned = "fn a() {\n    // Sleeps: a cut lasts.\n    std::thread::sleep(b);\n}";
        assert!(lines("qemu/tests/a.rs", reasoned).is_empty());
    }
}
