//! Every file says what it is, in one line, and then what it owns.
//!
//! Owns the rule `tagline`. Tests may have the line alone: what they own is their names.

use crate::{Kind, Offence, Source};

const RULE: &str = "tagline";

/// Holds every source against the rule.
pub fn check(sources: &[Source]) -> Vec<Offence> {
    sources.iter().filter_map(check_source).collect()
}

fn check_source(source: &Source) -> Option<Offence> {
    // The kernel's tests of itself are in the product but are tests all the same.
    let is_test = source.kind == Kind::Test || source.path.contains("/selftest");
    let (line, advice) = flaw(&source.text, is_test)?;
    Some(Offence::new(&source.path, line, RULE, advice))
}

/// The first line that is not as it should be, and what should be there.
fn flaw(text: &str, is_test: bool) -> Option<(usize, &'static str)> {
    let mut lines = text.lines();
    let tagline = lines.next().unwrap_or_default();
    if !tagline.starts_with("//! ") {
        return Some((1, "begin the file with `//! What it is.`"));
    }
    if !tagline.ends_with(['.', '!', '?']) {
        return Some((1, "say it in one sentence on one line, with a full stop"));
    }
    match lines.next() {
        Some("//!") => {}
        Some(line) if line.starts_with("//!") => {
            return Some((2, "leave `//!` blank after the tagline"));
        }
        _ if is_test => return None,
        _ => return Some((2, "after `//!` blank, say what the file owns and its neighbours")),
    }
    let owns = lines.next().is_some_and(|line| line.starts_with("//! "));
    (!owns).then_some((3, "say what the file owns and its neighbours"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repo;

    #[test]
    fn good_openings_pass() {
        assert_eq!(flaw("//! What it is.\n//!\n//! Owns [`A`].\n\nuse b;\n", false), None);
        assert_eq!(flaw("//! What it tests.\n\nuse b;\n", true), None);
    }

    #[test]
    fn each_bad_opening_is_told_where() {
        let bad = [
            ("use b;\n", 1),
            ("", 1),
            ("// What it is.\n", 1),
            ("//! What it is\n//!\n//! Owns.\n", 1),
            ("//! What it is.\n//! Owns.\n", 2),
            ("//! What it is.\n\nuse b;\n", 2),
            ("//! What it is.\n//!\nuse b;\n", 3),
            ("//! What it is.\n//!\n//!\n", 3),
        ];
        for (text, line) in bad {
            assert_eq!(flaw(text, false).map(|flaw| flaw.0), Some(line), "{text:?}");
        }
        assert_eq!(flaw("//! What it tests.\n//! More.\n", true).map(|flaw| flaw.0), Some(2));
    }

    #[test]
    fn only_tests_may_have_the_line_alone() {
        let text = "//! What it is.\n\nfn a() {}\n";
        let files = [("a/src/lib.rs", text), ("a/tests/b.rs", text), ("k/src/selftest.rs", text)];
        let found = check(&Repo::of(&files).sources().unwrap());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "a/src/lib.rs");
    }
}
