//! Errors that say what was tried, what happened and what to do.
//!
//! Owns [`Error`] and the adaptor [`Context`]. Every failure that reaches a person passes here.

use crate::complain;
use std::fmt;
use std::process::ExitCode;

/// A failure, as a person reads it.
#[derive(Debug)]
pub struct Error {
    tried: String,
    happened: String,
    advice: Option<String>,
}

/// The tool's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What was tried ("connect to node n1") and what happened ("connection refused").
    pub fn new(tried: impl Into<String>, happened: impl fmt::Display) -> Self {
        Error { tried: tried.into(), happened: happened.to_string(), advice: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.tried, self.happened)?;
        match &self.advice {
            Some(advice) => write!(f, "\n  try: {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// The exit code of a program, whose name is put before what went wrong.
pub fn exit_code(program: &str, result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        complain!("{program}: {error}");
        ExitCode::FAILURE
    })
}

/// Turns any error into an [`Error`] by saying what was tried.
pub trait Context<T> {
    /// Says what was tried.
    ///
    /// # Errors
    ///
    /// The error of `self`, told as an [`Error`].
    fn tried(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(what(), error))
    }
}
