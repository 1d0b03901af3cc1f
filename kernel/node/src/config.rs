//! What a node must be told before it can be one: name, keys, seeds.
//!
//! Owns [`NodeConfig`], its text form (lines of `key=value`) and its errors. The tool renders what
//! the kernel parses, with this one type; the kernel's command line uses [`NodeConfig::set`].

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::net::{IpAddr, SocketAddr};
use craton_abi::limit;
use craton_shard::port::LogLevel;

/// Most seeds, authorities and compiler keys, each.
pub const LIST_MAX: usize = 64;
/// Longest node name.
pub const NAME_BYTES_MAX: usize = 63;
/// Longest certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 4 << 10;

/// Every key, in the order in which they are rendered.
pub const KEYS: [&str; 9] = [
    "name",
    "certificate",
    "noise-key",
    "authority",
    "discovery",
    "compiler-keys",
    "seeds",
    "panic",
    "log",
];

/// What the machine does after a panic.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum OnPanic {
    /// Start again.
    Reset,
    /// Turn off.
    #[default]
    PowerOff,
}

/// What a node is told at its start.
#[derive(Clone, Eq, PartialEq)]
pub struct NodeConfig {
    /// For people: log lines and listings show it.
    pub name: String,
    /// The node's certificate, as the authority issued it.
    pub certificate: Vec<u8>,
    /// The private half of the key that the certificate names.
    pub noise_key: Option<[u8; 32]>,
    /// The authorities whose certificates count.
    pub authorities: Vec<[u8; 32]>,
    /// Under this key nodes look for one another.
    pub discovery: Option<[u8; 32]>,
    /// Whose signed bundles may run.
    pub compiler_keys: Vec<[u8; 32]>,
    /// Where to look for other nodes, besides the local network.
    pub seeds: Vec<SocketAddr>,
    /// What to do after a panic.
    pub panic: OnPanic,
    /// Log lines less grave than this are dropped.
    pub log: LogLevel,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigError {
    /// A line is not `key=value`.
    NoEquals {
        /// The line, counted from 1.
        line: usize,
    },
    /// There is no such key.
    UnknownKey {
        /// What was given.
        key: String,
        /// The known key that looks most like it, if one does.
        nearest: Option<&'static str>,
    },
    /// A value does not mean anything to its key.
    BadValue {
        /// The key.
        key: &'static str,
        /// What would be right.
        wanted: &'static str,
    },
    /// A node cannot be without this key.
    Missing {
        /// The key.
        key: &'static str,
    },
}

impl Default for NodeConfig {
    fn default() -> Self {
        NodeConfig {
            name: String::new(),
            certificate: Vec::new(),
            noise_key: None,
            authorities: Vec::new(),
            discovery: None,
            compiler_keys: Vec::new(),
            seeds: Vec::new(),
            panic: OnPanic::default(),
            log: LogLevel::Info,
        }
    }
}

impl NodeConfig {
    /// Reads lines of `key=value`. Empty lines and lines that begin with `#` say nothing.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong. Keys that are absent are not: see [`NodeConfig::check`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config = NodeConfig::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) =
                line.split_once('=').ok_or(ConfigError::NoEquals { line: index + 1 })?;
            config.set(key.trim(), value.trim())?;
        }
        Ok(config)
    }

    /// Sets one key, over what it was.
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnknownKey`] or [`ConfigError::BadValue`]; nothing changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        match key {
            "name" => self.name = name(value)?,
            "certificate" => self.certificate = certificate(value)?,
            "noise-key" => self.noise_key = Some(key32("noise-key", value)?),
            "authority" => self.authorities = keys32("authority", value)?,
            "discovery" => self.discovery = Some(key32("discovery", value)?),
            "compiler-keys" => self.compiler_keys = keys32("compiler-keys", value)?,
            "seeds" => self.seeds = seeds(value)?,
            "panic" => {
                self.panic = match value {
                    "reset" => OnPanic::Reset,
                    "poweroff" => OnPanic::PowerOff,
                    _ => return Err(bad("panic", "reset or poweroff")),
                }
            }
            "log" => self.log = log_level(value)?,
            _ => {
                return Err(ConfigError::UnknownKey {
                    key: shortened(key),
                    nearest: nearest(key, &KEYS),
                });
            }
        }
        Ok(())
    }

    /// The text that [`NodeConfig::parse`] reads back.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            if !value.is_empty() {
                let _ = writeln!(text, "{key}={value}");
            }
        };
        line("name", self.name.clone());
        line("certificate", hex(&self.certificate));
        line("noise-key", self.noise_key.map(|key| hex(&key)).unwrap_or_default());
        line("authority", joined(self.authorities.iter().map(|key| hex(key))));
        line("discovery", self.discovery.map(|key| hex(&key)).unwrap_or_default());
        line("compiler-keys", joined(self.compiler_keys.iter().map(|key| hex(key))));
        line("seeds", joined(self.seeds.iter().map(|seed| alloc::format!("{seed}"))));
        line("panic", String::from(self.panic.name()));
        line("log", String::from(level_name(self.log)));
        text
    }

    /// Whether a node can be made of it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Missing`] names the first key that is absent and must not be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let needs = [
            ("name", self.name.is_empty()),
            ("certificate", self.certificate.is_empty()),
            ("noise-key", self.noise_key.is_none()),
            ("authority", self.authorities.is_empty()),
            ("discovery", self.discovery.is_none()),
        ];
        match needs.into_iter().find(|(_, absent)| *absent) {
            Some((key, _)) => Err(ConfigError::Missing { key }),
            None => Ok(()),
        }
    }
}

impl OnPanic {
    fn name(self) -> &'static str {
        match self {
            OnPanic::Reset => "reset",
            OnPanic::PowerOff => "poweroff",
        }
    }
}

/// The word for a log level, in configurations and in log lines.
pub fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}

/// The one of `known` that `word` was probably meant to be: at most half of it wrong.
pub fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let word = shortened(word);
    known
        .iter()
        .map(|candidate| (distance(&word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance * 2 <= candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's edit distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A key as an error repeats it: short, whatever was given.
fn shortened(key: &str) -> String {
    key.chars().take(32).collect()
}

fn bad(key: &'static str, wanted: &'static str) -> ConfigError {
    ConfigError::BadValue { key, wanted }
}

fn name(value: &str) -> Result<String, ConfigError> {
    let fits = (1..=NAME_BYTES_MAX).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if fits {
        Ok(String::from(value))
    } else {
        Err(bad("name", "1 to 63 letters, digits, '-', '_' or '.'"))
    }
}

fn certificate(value: &str) -> Result<Vec<u8>, ConfigError> {
    match unhex(value) {
        Some(bytes) if (1..=CERTIFICATE_BYTES_MAX).contains(&bytes.len()) => Ok(bytes),
        _ => Err(bad("certificate", "a certificate in hexadecimal")),
    }
}

fn key32(key: &'static str, value: &str) -> Result<[u8; 32], ConfigError> {
    let bytes = unhex(value).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.ok_or(bad(key, "32 bytes in hexadecimal (64 digits)"))
}

fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn keys32(key: &'static str, value: &str) -> Result<Vec<[u8; 32]>, ConfigError> {
    if items(value).count() > LIST_MAX {
        return Err(bad(key, "at most 64 keys"));
    }
    items(value).map(|item| key32(key, item)).collect()
}

fn seeds(value: &str) -> Result<Vec<SocketAddr>, ConfigError> {
    if items(value).count() > LIST_MAX {
        return Err(bad("seeds", "at most 64 addresses"));
    }
    items(value).map(seed).collect()
}

fn seed(item: &str) -> Result<SocketAddr, ConfigError> {
    let with_port = item.parse::<SocketAddr>().ok();
    let without =
        || item.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, limit::MEMBERSHIP_PORT));
    with_port.or_else(without).ok_or(bad("seeds", "addresses such as 10.0.0.7 or 10.0.0.7:7700"))
}

fn log_level(value: &str) -> Result<LogLevel, ConfigError> {
    [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug]
        .into_iter()
        .find(|level| level_name(*level) == value)
        .ok_or(bad("log", "error, warn, info or debug"))
}

fn joined(items: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for item in items {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&item);
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 2 * CERTIFICATE_BYTES_MAX {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok())
        .collect()
}

impl fmt::Debug for NodeConfig {
    /// Without the secrets: configurations end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeConfig")
            .field("name", &self.name)
            .field("seeds", &self.seeds)
            .field("panic", &self.panic)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::NoEquals { line } => {
                write!(f, "configuration line {line} is not key=value")
            }
            ConfigError::UnknownKey { key, nearest: Some(nearest) } => {
                write!(f, "unknown configuration key '{key}': did you mean '{nearest}'?")
            }
            ConfigError::UnknownKey { key, nearest: None } => {
                write!(f, "unknown configuration key '{key}'")
            }
            ConfigError::BadValue { key, wanted } => {
                write!(f, "configuration key '{key}': wanted {wanted}")
            }
            ConfigError::Missing { key } => {
                write!(f, "configuration key '{key}' is missing")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    fn full() -> NodeConfig {
        NodeConfig {
            name: "n1".into(),
            certificate: vec![1, 2, 0xff],
            noise_key: Some([7; 32]),
            authorities: vec![[1; 32], [2; 32]],
            discovery: Some([9; 32]),
            compiler_keys: vec![[3; 32]],
            seeds: vec!["10.0.0.1:7700".parse().expect("an address"), "[::1]:9".parse().expect("")],
            panic: OnPanic::Reset,
            log: LogLevel::Debug,
        }
    }

    #[test]
    fn what_is_rendered_is_parsed_back() {
        assert_eq!(NodeConfig::parse(&full().render()), Ok(full()));
        assert_eq!(full().check(), Ok(()));
        let empty = NodeConfig::default();
        assert_eq!(NodeConfig::parse(&empty.render()), Ok(empty));
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = NodeConfig::parse("sedes=10.0.0.1").expect_err("no such key");
        assert_eq!(error.to_string(), "unknown configuration key 'sedes': did you mean 'seeds'?");
        let error = NodeConfig::parse("zzzzzz=1").expect_err("no such key");
        assert_eq!(error.to_string(), "unknown configuration key 'zzzzzz'");
    }

    #[test]
    fn every_key_refuses_nonsense() {
        for key in KEYS {
            let mut config = full();
            let error = config.set(key, "?!").expect_err(key);
            assert!(matches!(error, ConfigError::BadValue { key: named, .. } if named == key));
            assert_eq!(config, full(), "{key} changed something");
        }
        let odd = "a".repeat(63);
        assert!(NodeConfig::default().set("discovery", &odd).is_err());
        assert!(NodeConfig::default().set("discovery", &"é".repeat(32)).is_err());
        assert!(NodeConfig::default().set("seeds", &"1.1.1.1,".repeat(65)).is_err());
    }

    #[test]
    fn lines_may_be_empty_or_comments_and_seeds_without_port() {
        let config = NodeConfig::parse("\n# a comment\n seeds = 10.0.0.1 , 10.0.0.2:1 \n")
            .expect("it is right");
        let text: Vec<_> = config.seeds.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["10.0.0.1:7700", "10.0.0.2:1"]);
        assert_eq!(NodeConfig::parse("\nname"), Err(ConfigError::NoEquals { line: 2 }));
    }

    #[test]
    fn a_missing_key_is_named() {
        let mut config = full();
        config.noise_key = None;
        assert_eq!(config.check(), Err(ConfigError::Missing { key: "noise-key" }));
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        assert!(!alloc::format!("{:?}", full()).contains("7, 7"));
    }
}
