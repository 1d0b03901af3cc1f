//! Which crates may depend on which: the house, as a table.
//!
//! Owns [`HOUSE`]. The direction is `abi ← process ← shard ← node ← kernel`; wire, session and
//! cluster are siblings; the hardware crate knows no policy and nobody knows the kernel.

use crate::{Offence, Repo};
use serde_json::Value;

const RULE: &str = "crate-edges";

/// Each crate and the crates of the house that it may name as ordinary dependencies.
pub const HOUSE: &[(&str, &[&str])] = &[
    ("craton-abi", &[]),
    ("craton-process", &["craton-abi"]),
    ("craton-shard", &["craton-abi", "craton-process"]),
    ("craton-bundle", &["craton-abi"]),
    ("craton-wire", &["craton-abi"]),
    ("craton-session", &["craton-abi", "craton-wire"]),
    // Its datagrams are sealed as the sessions' are.
    ("craton-cluster", &["craton-abi", "craton-session"]),
    ("craton-net", &["craton-abi"]),
    ("craton-services", &["craton-abi", "craton-net"]),
    ("craton-sockets", &["craton-abi", "craton-net"]),
    (
        "craton-node",
        &[
            "craton-abi",
            "craton-bundle",
            "craton-cluster",
            "craton-session",
            "craton-shard",
            "craton-wire",
        ],
    ),
    ("craton-symbols", &[]),
    ("craton-hal", &["craton-abi", "craton-symbols"]),
    ("craton-engine", &["craton-abi", "craton-bundle", "craton-hal", "craton-shard"]),
    (
        "craton-kernel",
        &[
            "craton-abi",
            "craton-bundle",
            "craton-cluster",
            "craton-engine",
            "craton-hal",
            "craton-net",
            "craton-node",
            "craton-process",
            "craton-services",
            "craton-session",
            "craton-shard",
            "craton-sockets",
            "craton-wire",
        ],
    ),
    ("craton", &["craton-abi"]),
    ("craton-compile", &["craton-abi", "craton-bundle", "craton-engine"]),
    ("craton-qemu", &["craton-net"]),
    (
        "craton-tool",
        &[
            "craton-abi",
            "craton-bundle",
            "craton-compile",
            "craton-node",
            "craton-qemu",
            "craton-session",
            "craton-wire",
        ],
    ),
    (
        "craton-sim",
        &[
            "craton-abi",
            "craton-bundle",
            "craton-node",
            "craton-session",
            "craton-shard",
            "craton-wire",
        ],
    ),
    (
        "craton-fuzz",
        &[
            "craton",
            "craton-abi",
            "craton-bundle",
            "craton-hal",
            "craton-net",
            "craton-node",
            "craton-services",
            "craton-session",
            "craton-wire",
        ],
    ),
    ("craton-bench", &["craton-abi", "craton-qemu", "craton-shard", "craton-tool"]),
    ("craton-symbolize", &["craton-symbols"]),
    ("craton-tidy", &[]),
];

/// A crate with what it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its `Cargo.toml`, from the repository's root.
    pub manifest: String,
    /// The crates of the house among its ordinary dependencies.
    pub dependencies: Vec<String>,
}

/// Holds both workspaces against the table.
///
/// # Errors
///
/// If cargo fails or answers nonsense.
pub fn check(repo: &Repo) -> Result<Vec<Offence>, String> {
    let mut packages = Vec::new();
    for workspace in ["", "tools"] {
        let arguments = ["metadata", "--no-deps", "--format-version", "1"];
        let metadata = repo.cargo(workspace, &arguments)?;
        packages.extend(packages_of(&metadata, &repo.root.to_string_lossy())?);
    }
    Ok(check_packages(&packages, HOUSE))
}

/// The packages of `cargo metadata`'s answer.
///
/// # Errors
///
/// If the answer is not what cargo documents.
pub fn packages_of(metadata: &str, root: &str) -> Result<Vec<Package>, String> {
    let value: Value = serde_json::from_str(metadata).map_err(|error| error.to_string())?;
    let packages = value["packages"].as_array().ok_or("no packages")?;
    packages.iter().map(|package| package_of(package, root)).collect()
}

fn package_of(package: &Value, root: &str) -> Result<Package, String> {
    let text = |field: &str| package[field].as_str().ok_or(format!("a package has no {field}"));
    let manifest = text("manifest_path")?;
    let dependencies = package["dependencies"].as_array().ok_or("no dependencies")?;
    // Kind `null` is an ordinary dependency; the others are for tests and build scripts.
    let ordinary = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
    let names = ordinary.filter_map(|dependency| dependency["name"].as_str());
    Ok(Package {
        name: text("name")?.to_owned(),
        manifest: manifest.trim_start_matches(root).trim_start_matches('/').to_owned(),
        dependencies: names.filter(|name| is_ours(name)).map(str::to_owned).collect(),
    })
}

fn is_ours(name: &str) -> bool {
    name == "craton" || name.starts_with("craton-")
}

/// Holds packages against a table.
pub fn check_packages(packages: &[Package], house: &[(&str, &[&str])]) -> Vec<Offence> {
    let mut offences = Vec::new();
    for package in packages.iter().filter(|package| is_ours(&package.name)) {
        let offend = |advice: String| Offence::new(&package.manifest, 1, RULE, advice);
        let row = house.iter().find(|(name, _)| *name == package.name);
        let Some((_, allowed)) = row else {
            offences.push(offend(format!("{} has no row in HOUSE: add it", package.name)));
            continue;
        };
        for dependency in &package.dependencies {
            if !allowed.contains(&dependency.as_str()) {
                let advice = "go through a crate it may use, or decide the edge in HOUSE";
                let edge = format!("{} may not use {dependency}", package.name);
                offences.push(offend(format!("{edge}: {advice}")));
            }
        }
    }
    offences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
        Package { name: name.to_owned(), manifest: "m/Cargo.toml".to_owned(), dependencies }
    }

    #[test]
    fn an_edge_against_the_direction_is_an_offence() {
        let bad = [
            ("craton-hal", "craton-shard"),
            ("craton-process", "craton-shard"),
            ("craton-wire", "craton-session"),
            ("craton-tool", "craton-kernel"),
        ];
        for (from, to) in bad {
            let found = check_packages(&[package(from, &["craton-abi", to])], HOUSE);
            assert_eq!(found.len(), 1, "{from} {to}");
            assert!(found[0].advice.starts_with(&format!("{from} may not use {to}")));
        }
        assert_eq!(check_packages(&[package("craton-shard", &["craton-abi"])], HOUSE), []);
    }

    #[test]
    fn an_unknown_crate_needs_a_row() {
        assert_eq!(check_packages(&[package("craton-new", &[])], HOUSE).len(), 1);
        assert_eq!(check_packages(&[package("wordcount", &["craton-hal"])], HOUSE), []);
    }

    #[test]
    fn nobody_may_use_the_kernel_and_the_table_has_no_circle() {
        for (index, (name, allowed)) in HOUSE.iter().enumerate() {
            assert!(!allowed.contains(&"craton-kernel"), "{name}");
            // Only what stands above may be used, but for the tools' crates among themselves.
            for used in *allowed {
                let place = HOUSE.iter().position(|(name, _)| name == used);
                assert!(place.is_some_and(|place| place < index), "{name} uses {used}");
            }
        }
    }

    #[test]
    fn dependencies_of_tests_and_scripts_do_not_count() {
        let metadata = r#"{"packages": [{"name": "craton-a", "manifest_path": "/r/a/Cargo.toml",
            "dependencies": [{"name": "craton-b", "kind": null}, {"name": "log", "kind": null},
            {"name": "craton-c", "kind": "dev"}, {"name": "craton-d", "kind": "build"}]}]}"#;
        let found = packages_of(metadata, "/r").unwrap();
        assert_eq!(found[0].dependencies, ["craton-b"]);
        assert_eq!(found[0].manifest, "a/Cargo.toml");
        assert!(packages_of("{}", "/r").is_err());
    }
}
