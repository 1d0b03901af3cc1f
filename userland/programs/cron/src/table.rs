//! The table: a line for each job, when and what.
//!
//! Owns [`Table`], [`Job`], [`When`] and [`What`]. `#` begins a comment. When is five fields of a
//! calendar (UTC) or `@every 90s` (also `m`, `h`); what is `log TEXT` or `get URL`, for which
//! `http://` and `https://` will do. Certificates in PEM are the authorities that are trusted then;
//! where there is none, those that browsers trust are.

use crate::calendar::Calendar;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton::http::Url;
use serde::{Deserialize, Serialize};

/// Most jobs of a table.
pub const JOBS_MAX: usize = 256;
/// Longest line of a job.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Longest certificates, all of them together.
const ROOTS_BYTES_MAX: usize = 56 << 10;

const _: () = assert!(
    ROOTS_BYTES_MAX + LINE_BYTES_MAX + 1024 <= craton::limit::ARGUMENT_BYTES_MAX,
    "a job's process is given its line and the certificates",
);

/// A line of the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Job {
    /// The line, for people.
    pub line: String,
    /// When it is due.
    pub when: When,
    /// What it does.
    pub what: What,
}

/// When a job is due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum When {
    /// At these minutes.
    At(Calendar),
    /// Again and again after so many seconds.
    Every(u64),
}

/// What a job does.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// Writes a line to the log of the node that it runs on.
    Log(String),
    /// Fetches a page; what is no success is a failure.
    Get {
        /// Where it is.
        url: String,
        /// Certificates of the authorities to trust, in PEM; if empty, those of browsers.
        roots: String,
    },
}

/// Begins and ends a certificate.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Reads a table.
///
/// # Errors
///
/// Which line is wrong and why.
pub fn parse(text: &str) -> Result<Vec<Job>, String> {
    let (mut jobs, mut roots, mut inside) = (Vec::new(), String::new(), false);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if inside || line == BEGIN {
            roots.push_str(line);
            roots.push('\n');
            inside = line != END;
        } else if !line.is_empty() && !line.starts_with('#') {
            if line.len() > LINE_BYTES_MAX {
                return Err(format!("line {number}: longer than {LINE_BYTES_MAX} bytes"));
            }
            jobs.push(job(line).map_err(|why| format!("line {number}: {why}"))?);
        }
    }
    if roots.len() > ROOTS_BYTES_MAX {
        let len = roots.len();
        return Err(format!("the certificates have {len} bytes; {ROOTS_BYTES_MAX} at most"));
    }
    #[cfg(feature = "https")]
    if !roots.is_empty() {
        craton::tls::Roots::from_pem(&roots).map_err(|error| format!("{error}"))?;
    }
    for job in &mut jobs {
        if let What::Get { roots: of, .. } = &mut job.what {
            of.clone_from(&roots);
        }
    }
    match jobs.len() {
        0 => Err("the table on standard input has no jobs".into()),
        1..=JOBS_MAX => Ok(jobs),
        _ => Err(format!("a table has {JOBS_MAX} jobs at most")),
    }
}

fn job(line: &str) -> Result<Job, String> {
    let (when, rest) = match line.strip_prefix("@every") {
        Some(rest) => {
            let (period, rest) = word(rest);
            (When::Every(seconds(period)?), rest)
        }
        None => {
            let mut rest = line;
            let mut fields = [""; 5];
            for field in &mut fields {
                (*field, rest) = word(rest);
            }
            (When::At(Calendar::parse(fields)?), rest)
        }
    };
    let what = match word(rest) {
        ("log", text) if !text.is_empty() => What::Log(text.into()),
        ("get", url) => get(url)?,
        (other, _) => {
            return Err(format!("'{other}' is not: log TEXT, or get http[s]://HOST/PATH"));
        }
    };
    Ok(Job { line: line.into(), when, what })
}

/// The first word, and what comes behind it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn seconds(period: &str) -> Result<u64, String> {
    let wrong = || format!("'{period}' is no time between runs, as in 90s, 5m, 2h");
    let unit = match period.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        _ => return Err(wrong()),
    };
    let number: u32 = period[..period.len() - 1].parse().map_err(|_| wrong())?;
    if number == 0 { Err(wrong()) } else { Ok(u64::from(number) * unit) }
}

fn get(url: &str) -> Result<What, String> {
    match Url::parse(url) {
        Ok(_) => Ok(What::Get { url: url.into(), roots: String::new() }),
        Err(_) => Err(format!("'{url}' is not of the form http[s]://HOST[:PORT]/PATH")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let table = "# jobs\n\n*/5 8-17 * * 1-5  log  good day\n@every 90s get http://a.b:81/c?d\n\
                     @every 2h get https://10.0.0.1";
        let jobs = parse(table).expect("it is good");
        assert_eq!(jobs.len(), 3);
        assert!(matches!(jobs[0].when, When::At(_)));
        assert_eq!(jobs[0].what, What::Log("good day".into()));
        let get = |url: &str| What::Get { url: url.into(), roots: String::new() };
        assert_eq!((&jobs[1].when, &jobs[1].what), (&When::Every(90), &get("http://a.b:81/c?d")));
        assert_eq!((&jobs[2].when, &jobs[2].what), (&When::Every(7200), &get("https://10.0.0.1")));
    }

    #[cfg(feature = "https")]
    #[test]
    fn certificates_are_certificates() {
        for inside in [format!("AAAA\n{END}"), "log y".into()] {
            let error = parse(&format!("@every 1s log x\n{BEGIN}\n{inside}")).expect_err("none");
            assert!(error.contains("are no certificates"), "{error}");
        }
    }

    /// They are every page's, wherever they are in the table.
    #[cfg(not(feature = "https"))]
    #[test]
    fn certificates_go_to_those_who_ask() {
        let table = format!("@every 1s get https://a\n {BEGIN}\n AAAA\n {END}\n@every 2s log x");
        let jobs = parse(&table).expect("good");
        let roots = format!("{BEGIN}\nAAAA\n{END}\n");
        assert_eq!(jobs[0].what, What::Get { url: "https://a".into(), roots });
        assert_eq!(jobs.len(), 2);
    }

    /// The process that runs a job is given all of it.
    #[test]
    fn what_no_job_could_carry_is_refused() {
        let with = |lines: usize| {
            let text = "A".repeat(63) + "\n";
            parse(&format!("@every 1s log x\n{BEGIN}\n{}{END}", text.repeat(lines)))
        };
        let error = with(ROOTS_BYTES_MAX / 64).expect_err("too long");
        assert!(error.contains("the certificates have 57"), "{error}");
        #[cfg(not(feature = "https"))]
        assert!(with(ROOTS_BYTES_MAX / 64 - 1).is_ok());
        let log = "@every 1s log ";
        let long = |len: usize| parse(&format!("\n{log}{}", "x".repeat(len - log.len())));
        assert!(long(LINE_BYTES_MAX).is_ok());
        let error = long(LINE_BYTES_MAX + 1).expect_err("too long");
        assert_eq!(error, "line 2: longer than 4096 bytes");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (table, words) in [
            ("", "no jobs"),
            ("# nothing", "no jobs"),
            ("\n* * * * * dance", "line 2: 'dance' is not: log TEXT, or get http[s]://"),
            ("* * * * *", "line 1: '' is not"),
            ("* * * log x", "weekday 'x'"),
            ("@every 0s log x", "'0s' is no time"),
            ("@every s log x", "'s' is no time"),
            ("@every 5é log x", "'5é' is no time"),
            ("@every", "'' is no time"),
            ("@every 1s log", "'log' is not"),
            ("@every 1s get ftp://x/", "'ftp://x/' is not of the form"),
            ("@every 1s get http://:80/", "is not of the form"),
            ("@every 1s get http://x:y/", "is not of the form"),
            ("@every 1s get http://x/a b", "is not of the form"),
        ] {
            let error = parse(table).expect_err("it is wrong");
            assert!(error.contains(words), "{table:?}: {error}");
        }
        assert!(parse(&"@every 1s log x\n".repeat(JOBS_MAX + 1)).is_err());
    }
}
