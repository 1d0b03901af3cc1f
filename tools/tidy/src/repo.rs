//! The repository as its version control sees it: the tracked files and their text.
//!
//! Owns [`Repo`] and the calls of `git` and `cargo`. Files that are not tracked do not exist here,
//! so that nothing built or half written is judged.

use crate::source::{self, Source};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every tracked text file.
#[derive(Debug, Default)]
pub struct Repo {
    /// Where it lies.
    pub root: PathBuf,
    /// Path from the root, and text; in the order of paths.
    pub files: Vec<(String, String)>,
}

impl Repo {
    /// The repository that this crate is in.
    ///
    /// # Errors
    ///
    /// What went wrong with `git` or a file, in words.
    pub fn open() -> Result<Repo, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        let listed = output(Command::new("git").args(["ls-files", "-z"]).current_dir(&root))?;
        let mut files = Vec::new();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            // Tracked but deleted, or not text: nothing that a rule could read.
            if let Ok(text) = std::fs::read_to_string(root.join(path)) {
                files.push((path.to_owned(), text));
            }
        }
        Ok(Repo { root, files })
    }

    /// A repository of these files, for the rules' own tests.
    pub fn of(files: &[(&str, &str)]) -> Repo {
        let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Repo { root: PathBuf::new(), files: files.iter().map(own).collect() }
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str())
    }

    /// All Rust sources, parsed.
    ///
    /// # Errors
    ///
    /// The first file that is not Rust, and where.
    pub fn sources(&self) -> Result<Vec<Source>, String> {
        source::parse_all(&self.files)
    }

    /// What `cargo` with these arguments prints in a folder of the repository.
    ///
    /// # Errors
    ///
    /// What cargo said when it failed.
    pub fn cargo(&self, folder: &str, arguments: &[&str]) -> Result<String, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        output(Command::new(cargo).args(arguments).current_dir(self.root.join(folder)))
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let result = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !result.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&result.stderr)));
    }
    String::from_utf8(result.stdout).map_err(|error| format!("{command:?}: {error}"))
}
