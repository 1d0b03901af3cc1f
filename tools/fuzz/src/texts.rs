//! What an operator or a compiler gives a node: bundles, command lines, configurations.
//!
//! Owns their targets. What is accepted must come back the same when it is written again.

use crate::Target;
use craton_bundle::{Artifact, Bundle, CompilerSecret, Contents, CpuLevel};
use craton_node::NodeConfig;
use craton_node::command_line::{apply, parse};

pub(crate) const BUNDLE: Target = Target {
    name: "bundle",
    about: "programs, signed",
    fuzz: |bytes| {
        let parsed = match Bundle::parse(bytes) {
            Ok(bundle) => bundle,
            Err(error) => return outcome(&error),
        };
        match parsed.verify(&[secret().key()]) {
            Ok(bundle) => {
                let found = bundle.artifact("engine", CpuLevel::V2);
                1 + u64::from(found.is_ok()) + u64::from(bundle.name().is_empty()) * 2
            }
            Err(error) => outcome(&error),
        }
    },
    seeds: || {
        let artifact = |engine, bytes| Artifact { engine, level: CpuLevel::V2, bytes };
        let artifacts = [artifact("engine", &b"code"[..]), artifact("other", b"more")];
        let contents = Contents { name: "hello", wasm: b"\0asm", artifacts: &artifacts };
        contents.sign(&secret()).into_iter().collect()
    },
    words: &[b"engine", b"hello", &[1, 0, 0, 0], &[0xff, 0xff, 0xff, 0xff]],
    cost: 1,
};

pub(crate) const COMMAND_LINE: Target = Target {
    name: "command-line",
    about: "the kernel's command line",
    fuzz: |bytes| {
        let Ok(line) = str::from_utf8(bytes) else { return 0 };
        let (words, problem) = parse(line);
        let mut config = NodeConfig::default();
        let problems = apply(&words, &["selftest", "services"], &mut config);
        // Whatever is wrong can be said.
        let said: usize = problems.iter().map(|problem| problem.to_string().len()).sum();
        assert!(problems.is_empty() || said > 0, "a problem without a word");
        again(&config);
        let unclosed = u64::from(problem.is_some());
        1 + unclosed + 2 * problems.len().min(15) as u64 + 32 * words.len().min(15) as u64
    },
    seeds: || {
        let lines = [
            "selftest log=debug name=\"a b\" seeds=10.0.0.1:7700,[fd00::1]:7700",
            "services=http,echo panic=reset name=a\\\"b \"log\"=warn",
        ];
        lines.map(|line| line.as_bytes().to_vec()).to_vec()
    },
    words: WORDS,
    cost: 1,
};

pub(crate) const CONFIGURATION: Target = Target {
    name: "configuration",
    about: "the node's configuration, from firmware or hypervisor",
    fuzz: |bytes| {
        let Ok(text) = str::from_utf8(bytes) else { return 0 };
        match NodeConfig::parse(text) {
            Ok(config) => {
                again(&config);
                2 + u64::from(config.check().is_ok())
            }
            Err(error) => outcome(&error),
        }
    },
    seeds: || {
        let text = format!(
            "# a node\nname=n1\ncertificate=0102\nnoise-key={0}\nauthority={0},{0}\n\
             discovery={0}\ncompiler-keys={0}\nseeds=10.0.0.1:7700\npanic=reset\nlog=debug\n",
            "07".repeat(32)
        );
        vec![text.into_bytes()]
    },
    words: WORDS,
    cost: 1,
};

const WORDS: &[&[u8]] = &[
    b"name=",
    b"certificate=",
    b"noise-key=",
    b"authority=",
    b"discovery=",
    b"compiler-keys=",
    b"seeds=",
    b"panic=reset",
    b"panic=poweroff",
    b"log=debug",
    b"\"",
    b"\\",
    b"\n",
    b",",
    b"[::1]:1",
    b"1.2.3.4:5",
    "é".as_bytes(),
];

fn secret() -> CompilerSecret {
    CompilerSecret::from_bytes([7; 32])
}

/// A configuration that was accepted reads the same when it is written.
fn again(config: &NodeConfig) {
    let text = config.render();
    let read = NodeConfig::parse(&text).expect("what a node writes it reads");
    assert_eq!(read.render(), text);
}

/// A number for what an error says, without what it quotes.
pub(crate) fn outcome(error: &impl std::fmt::Debug) -> u64 {
    let text = format!("{error:?}");
    let name = text.split(['(', '{', ' ']).next().unwrap_or("");
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    hash | 1 << 63
}
