//! Decisions are numbered, titled and found by their number; the changelog exists.
//!
//! Owns the rule `decision`: the form of `docs/decisions/NNNN-title.md`.

use crate::{Offence, Repo};

const RULE: &str = "decision";
const FOLDER: &str = "docs/decisions/";
const CHANGELOG: &str = "CHANGELOG.md";

/// Holds the documents against the rule.
pub fn check(repo: &Repo) -> Vec<Offence> {
    let mut offences = Vec::new();
    let mut numbers: Vec<(&str, &str)> = Vec::new();
    for (path, text) in repo.files.iter().filter(|(path, _)| path.starts_with(FOLDER)) {
        let mut offend = |advice: String| offences.push(Offence::new(path, 1, RULE, advice));
        let Some(number) = number_of(&path[FOLDER.len()..]) else {
            offend("call it NNNN-title.md".to_owned());
            continue;
        };
        let heading = text.lines().next().unwrap_or_default();
        let title = heading.strip_prefix(&format!("# {number}: ")).unwrap_or_default();
        if title.trim().is_empty() {
            offend(format!("begin with `# {number}: title`"));
        }
        if let Some((_, other)) = numbers.iter().find(|(taken, _)| *taken == number) {
            offend(format!("{number} is the number of {other} already: take the next free one"));
        }
        numbers.push((number, path));
    }
    if repo.text(CHANGELOG).is_none_or(str::is_empty) {
        offences.push(Offence::new(CHANGELOG, 1, RULE, "keep a changelog"));
    }
    offences
}

/// The number of a file called `NNNN-title.md`.
fn number_of(file: &str) -> Option<&str> {
    let (number, title) = file.strip_suffix(".md")?.split_once('-')?;
    let digits = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !title.is_empty()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let with_changelog = [files, &[("CHANGELOG.md", "# Changelog\n")]].concat();
        check(&Repo::of(&with_changelog)).iter().map(Offence::to_string).collect()
    }

    #[test]
    fn good_decisions_pass() {
        let good = [
            ("docs/decisions/0001-a-thing.md", "# 0001: A thing\n\nText.\n"),
            ("docs/decisions/0002-another.md", "# 0002: Another\n"),
        ];
        assert!(found(&good).is_empty());
    }

    #[test]
    fn name_and_heading_must_agree() {
        let heading = "docs/decisions/0001-a.md";
        for text in ["", "# A\n", "# 0002: A\n", "# 0001 A\n", "# 0001: \n", "\n# 0001: A\n"] {
            assert_eq!(found(&[(heading, text)]).len(), 1, "{text:?}");
        }
        for name in ["a.md", "01-a.md", "0001.md", "0001-a.txt", "000x-a.md", "0001-.md"] {
            assert_eq!(found(&[(&format!("docs/decisions/{name}"), "# 0001: A\n")]).len(), 1);
        }
    }

    #[test]
    fn a_number_is_taken_once() {
        let twice = [
            ("docs/decisions/0001-a.md", "# 0001: A\n"),
            ("docs/decisions/0001-b.md", "# 0001: B\n"),
        ];
        let found = found(&twice);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("docs/decisions/0001-b.md:1: decision: 0001 is the number of")
        );
    }

    #[test]
    fn the_changelog_must_exist() {
        assert_eq!(check(&Repo::of(&[])).len(), 1);
    }
}
