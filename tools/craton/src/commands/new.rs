//! `craton new`: an app from a template, which builds wherever it lies.
//!
//! Owns the template (`tools/craton/template`). The app carries the SDK's sources, which the tool
//! has in it: neither a checkout of Craton nor a registry that knows it is needed
//! (docs/decisions/0023-new-apps-carry-the-sdk.md).

use crate::error::{Context, Error, Result};
use crate::{say, sdk};
use clap::Args;
use std::path::{Path, PathBuf};

/// Files of the template by the name that they get.
const TEMPLATE: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../../template/Cargo.toml")),
    ("src/lib.rs", include_str!("../../template/lib.rs.template")),
    ("README.md", include_str!("../../template/README.md")),
    (".gitignore", include_str!("../../template/gitignore")),
];
/// Where an app has the SDK.
const SDK_FOLDER: &str = "craton";
/// What cargo or the app itself would take for something else.
const NAMES_TAKEN: [&str; 6] = ["craton", "test", "core", "std", "alloc", "serde"];
const NAME_BYTES_MAX: usize = 64;

/// The options of `craton new`.
#[derive(Debug, Args)]
pub struct New {
    /// The folder to make; its last part is the app's name
    path: PathBuf,
}

impl New {
    pub(super) fn run(self) -> Result<()> {
        let shown = self.path.display();
        let name = name_of(&self.path)?;
        if self.path.exists() {
            return Err(Error::new(format!("make {shown}"), "it is there already")
                .advise("another name, or remove it"));
        }
        for (file, text) in TEMPLATE {
            write(&self.path.join(file), &text.replace("{name}", name))?;
        }
        for (file, text) in sdk::FILES {
            write(&self.path.join(SDK_FOLDER).join(file), text)?;
        }
        say!("{shown}: src/lib.rs is the program");
        say!("next: cd {shown}; cargo test; craton up (elsewhere); craton run . 3 4 5");
        Ok(())
    }
}

/// The app's name, which is a package's name.
fn name_of(path: &Path) -> Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_good = name.bytes().all(is_plain)
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && name.len() <= NAME_BYTES_MAX
        && !NAMES_TAKEN.contains(&name);
    if is_good {
        return Ok(name);
    }
    Err(Error::new(format!("name an app '{name}'"), "it is no name for one").advise(format!(
        "1 to {NAME_BYTES_MAX} small letters, digits and '-', a letter first; not {}",
        NAMES_TAKEN.join(", ")
    )))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let tried = || format!("write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).tried(tried)?;
    }
    std::fs::write(path, text).tried(tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_cargo_takes() {
        for good in ["a", "my-app", "web2", "/somewhere/else/app", "app/"] {
            assert!(name_of(Path::new(good)).is_ok(), "{good}");
        }
        for bad in ["", "..", "/", "2web", "-a", "My", "a_b", "a b", "ä", "test", "craton"] {
            assert!(name_of(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sdk_comes_whole_and_stands_alone() {
        let text = |wanted: &str| {
            let file = sdk::FILES.iter().find(|(name, _)| *name == wanted);
            file.map(|(_, text)| *text).expect("it is there")
        };
        assert!(text("sdk/src/lib.rs").contains("mod mailbox;"));
        assert!(text("abi/src/id.rs").contains("pub struct Pid"));
        for (name, text) in sdk::FILES.iter().filter(|(name, _)| name.ends_with("Cargo.toml")) {
            assert!(!text.contains("workspace"), "{name}: {text}");
            assert!(text.contains("edition = \"2024\""), "{name}: {text}");
        }
    }
}
