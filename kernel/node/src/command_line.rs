//! The kernel's command line: words, `key=value`, and quotes.
//!
//! Owns [`parse`], which accepts any text, and [`apply`], which gives a [`NodeConfig`] its part of
//! it. Words stand between spaces; double quotes hold spaces together (`key="a b"`) and within them
//! a backslash keeps the next character from its meaning. Pure: the kernel fetches the text and
//! obeys the words that are its own.

use crate::config::{ConfigError, KEYS, NodeConfig, nearest};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// One word of the line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Word {
    /// What stands before the first `=`, or the whole word.
    pub key: String,
    /// What stands after it.
    pub value: Option<String>,
}

/// What is wrong with a command line; the rest of it holds all the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// A quote is never closed: it was taken to reach to the end.
    Unclosed,
    /// A key or a value means nothing.
    Config(ConfigError),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unclosed => f.write_str("a quote is not closed"),
            Problem::Config(error) => error.fmt(f),
        }
    }
}

/// The words of a line, whatever it is, and whether its last quote is not closed.
pub fn parse(line: &str) -> (Vec<Word>, Option<Problem>) {
    let (mut words, mut word) = (Vec::new(), None);
    let mut quoted = false;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => push(&mut word, characters.next().unwrap_or('\\')),
            '=' if !quoted => split(&mut word),
            space if space.is_ascii_whitespace() && !quoted => words.extend(word.take()),
            other => push(&mut word, other),
        }
    }
    words.extend(word);
    (words, quoted.then_some(Problem::Unclosed))
}

/// Appends to the word under construction.
fn push(word: &mut Option<Word>, character: char) {
    let word = word.get_or_insert_default();
    word.value.as_mut().unwrap_or(&mut word.key).push(character);
}

/// The first `=` ends the key; others belong to the value.
fn split(word: &mut Option<Word>) {
    match &mut word.get_or_insert_default().value {
        Some(value) => value.push('='),
        none => *none = Some(String::new()),
    }
}

/// Sets in `config` what the words say, but for those with a key of `own`, which their owner obeys.
/// Returns what could not be set; an unknown key names the nearest of all that are known.
pub fn apply(words: &[Word], own: &[&'static str], config: &mut NodeConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    for Word { key, value } in words {
        if own.contains(&key.as_str()) {
            continue;
        }
        let error = match config.set(key, value.as_deref().unwrap_or("")) {
            Ok(()) => continue,
            Err(ConfigError::UnknownKey { key: shown, .. }) => {
                let known: Vec<&'static str> = KEYS.iter().chain(own).copied().collect();
                ConfigError::UnknownKey { key: shown, nearest: nearest(key, &known) }
            }
            Err(error) => error,
        };
        problems.push(Problem::Config(error));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    fn word(key: &str, value: Option<&str>) -> Word {
        Word { key: key.into(), value: value.map(String::from) }
    }

    #[test]
    fn words_keys_and_quotes() {
        for (line, expected) in [
            ("", &[][..]),
            (" \t \n", &[]),
            ("selftest", &[word("selftest", None)]),
            (" a=1  b ", &[word("a", Some("1")), word("b", None)]),
            ("a=", &[word("a", Some(""))]),
            ("=a", &[word("", Some("a"))]),
            ("a=b=c", &[word("a", Some("b=c"))]),
            ("key=\"a b\" c", &[word("key", Some("a b")), word("c", None)]),
            ("\"key=a b\"", &[word("key=a b", None)]),
            ("k=a\" \"b", &[word("k", Some("a b"))]),
            ("k=\"a\\\"b\\\\c\" \\d", &[word("k", Some("a\"b\\c")), word("\\d", None)]),
            ("k=\"\" \"\"", &[word("k", Some("")), word("", None)]),
            ("k=é ü", &[word("k", Some("é")), word("ü", None)]),
        ] {
            assert_eq!(parse(line), (expected.to_vec(), None), "{line:?}");
        }
    }

    #[test]
    fn an_open_quote_reaches_to_the_end_and_is_told() {
        for (line, value) in [("k=\"a b", "a b"), ("k=\"", ""), ("k=\"a\\", "a\\")] {
            let expected = (Vec::from([word("k", Some(value))]), Some(Problem::Unclosed));
            assert_eq!(parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn garbage_is_words_of_no_more_than_it_had() {
        const PIECES: [&str; 9] = ["\"", "\\", "=", " ", "a", "é", "\0", "\u{2028}", "log"];
        for seed in 0..5000 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut line = String::new();
            for _ in 0..random.next_u32() % 40 {
                line.push_str(PIECES[random.next_u32() as usize % PIECES.len()]);
            }
            let (words, _) = parse(&line);
            let kept: usize =
                words.iter().map(|w| w.key.len() + w.value.as_ref().map_or(0, String::len)).sum();
            assert!(kept <= line.len(), "seed {seed}: {line:?}");
            let mut config = NodeConfig::default();
            assert!(apply(&words, &["own"], &mut config).len() <= words.len(), "seed {seed}");
        }
    }

    #[test]
    fn an_unknown_key_names_the_nearest_of_all() {
        let mut config = NodeConfig::default();
        let (words, _) = parse("name=n7 selftset own=1 sedes=1.1.1.1 log=loud qqqqqqqqq");
        let problems = apply(&words, &["selftest", "own"], &mut config);
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "unknown configuration key 'selftset': did you mean 'selftest'?",
            "unknown configuration key 'sedes': did you mean 'seeds'?",
            "configuration key 'log': wanted error, warn, info or debug",
            "unknown configuration key 'qqqqqqqqq'",
        ];
        assert_eq!(told, expected);
        assert_eq!(config.name, "n7");
    }
}
