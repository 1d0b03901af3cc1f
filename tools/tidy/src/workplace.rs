//! The repository speaks of the project alone: no path of a machine, no mirror of a registry.
//!
//! Owns the rule `workplace`. The patterns are put together from halves, so that this file does not
//! break the rule it keeps.

use crate::{Offence, Repo};

const RULE: &str = "workplace";

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/tmp/", "team"),
];

/// Labels of a host name that tell a registry, its mirror or a way to it.
const REGISTRY_LABELS: &[&str] =
    &["artifactory", "index", "mirror", "mirrors", "nexus", "proxy", "pypi", "registry", "static"];

/// The one source that a lock file may name: cargo's own word for its default.
const LOCK_SOURCE: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// Holds every tracked file against the rule.
pub fn check(repo: &Repo) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (path, text) in &repo.files {
        for (index, line) in text.lines().enumerate() {
            if let Some(advice) = flaw(path, line) {
                offences.push(Offence::new(path, index + 1, RULE, advice));
            }
        }
    }
    offences
}

fn flaw(path: &str, line: &str) -> Option<String> {
    if let Some(found) = MACHINE_PATHS.iter().find(|pattern| has_absolute(line, pattern)) {
        return Some(format!(
            "names {found} of one machine: use a path from the repository's root"
        ));
    }
    let is_lock = path.ends_with("Cargo.lock");
    if is_lock && line.starts_with("source = ") && line != LOCK_SOURCE {
        return Some("comes from elsewhere than crates.io: lock it with the default source".into());
    }
    let section = line.trim_start();
    if path.ends_with(".cargo/config.toml")
        && ["[source", "[registr", "registry ="].iter().any(|start| section.starts_with(start))
    {
        return Some(
            "redirects the registry for everybody: keep it in your own configuration".into(),
        );
    }
    let host = hosts(line).find(|host| !is_lock && is_registry(host))?;
    Some(format!("names the registry host {host}: the project builds from any"))
}

/// Whether the pattern stands there as the beginning of a path, not in the middle of one.
fn has_absolute(line: &str, pattern: &str) -> bool {
    line.match_indices(pattern).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-~*)}>/$".contains(c))
    })
}

/// The host names of the addresses in a line.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    line.split("://").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "._-@:".contains(c)));
        let authority = &rest[..end.unwrap_or(rest.len())];
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        host.split_once(':').map_or(host, |(host, _)| host)
    })
}

fn is_registry(host: &str) -> bool {
    let mut labels = host.split(['.', '-']);
    host.contains('.') && labels.any(|label| REGISTRY_LABELS.contains(&label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_an_offence() {
        for pattern in MACHINE_PATHS {
            assert!(flaw("README.md", &format!("see `{pattern}x`")).is_some(), "{pattern}");
            assert!(flaw("README.md", &format!("{pattern}x")).is_some(), "{pattern}");
            for relative in ["kernel", "..", "$HOME", "*"] {
                let line = format!("see {relative}{pattern}x");
                assert_eq!(flaw("README.md", &line), None, "{line}");
            }
        }
        assert_eq!(flaw("README.md", "target/release, /dev/kvm, /proc/self"), None);
    }

    #[test]
    fn a_registry_host_is_an_offence() {
        let start = "https:/";
        for host in ["index.crates.io", "me:key@mirror.example.org", "cargo-proxy.example.org:80"] {
            assert!(flaw("setup.sh", &format!("{start}/{host}/x")).is_some(), "{host}");
        }
        for host in ["github.com/a/registry", "doc.rust-lang.org/core", "127.0.0.1:80/index"] {
            assert_eq!(flaw("README.md", &format!("{start}/{host}/x")), None, "{host}");
        }
    }

    #[test]
    fn a_lock_file_names_the_default_alone() {
        assert_eq!(flaw("tools/Cargo.lock", LOCK_SOURCE), None);
        assert!(flaw("Cargo.lock", "source = \"git+ssh://example.org/x\"").is_some());
    }

    #[test]
    fn cargo_is_not_redirected_for_everybody() {
        assert!(flaw(".cargo/config.toml", "[source.crates-io]").is_some());
        assert!(flaw(".cargo/config.toml", "[registries.x]").is_some());
        assert_eq!(flaw(".cargo/config.toml", "[env]"), None);
    }

    #[test]
    fn every_file_is_read() {
        let line = format!("good\nfrom {}x\n", MACHINE_PATHS[0]);
        let found = check(&Repo::of(&[("a.md", "good"), ("b.sh", &line)]));
        assert_eq!((found[0].path.as_str(), found[0].line, found.len()), ("b.sh", 2, 1));
    }
}
