//! Much real text that is on every machine which built the project.
//!
//! Owns [`Text`]: the files of a folder, or enough of the sources that cargo keeps of the
//! dependencies, in a fixed order and read as one. The demo and the benchmarks count its words.

use crate::error::{Context, Error, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The files to count, in a fixed order.
#[derive(Clone, Debug)]
pub struct Text {
    /// Where they are.
    pub folder: PathBuf,
    /// Which they are.
    pub files: Vec<PathBuf>,
    /// Their bytes together.
    pub bytes: u64,
}

impl Text {
    /// All files under the folder that was given, or enough of cargo's source folder to have
    /// `bytes_wanted`.
    ///
    /// # Errors
    ///
    /// If there is no text, or a folder cannot be read.
    pub fn find(given: Option<&Path>, bytes_wanted: u64) -> Result<Self> {
        let folder = given.map_or_else(cargo_sources, |folder| Ok(folder.to_path_buf()))?;
        let mut files = Vec::new();
        list(&folder, given.is_none(), &mut files)?;
        files.sort();
        let mut text = Text { folder, files: Vec::new(), bytes: 0 };
        for (path, length) in files {
            if given.is_none() && text.bytes >= bytes_wanted {
                break;
            }
            text.bytes += length;
            text.files.push(path);
        }
        if text.bytes == 0 {
            let tried = format!("find text under {}", text.folder.display());
            return Err(Error::new(tried, "there is none").advise("make run TEXT=FOLDER"));
        }
        Ok(text)
    }

    /// The files read one after the other.
    pub fn reader(&self) -> impl Read + Send + use<> {
        let files = self.files.clone().into_iter();
        Concatenated { files, current: None }
    }
}

fn cargo_sources() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let folder = home.map(|home| home.join("registry").join("src"));
    folder.filter(|folder| folder.exists()).ok_or_else(|| {
        Error::new("find the sources of the dependencies", "cargo keeps none here")
            .advise("make run TEXT=FOLDER")
    })
}

fn list(folder: &Path, only_text: bool, files: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    let tried = || format!("list {}", folder.display());
    for entry in std::fs::read_dir(folder).tried(tried)? {
        let entry = entry.tried(tried)?;
        let kind = entry.file_type().tried(tried)?;
        let path = entry.path();
        if kind.is_dir() {
            list(&path, only_text, files)?;
        } else if kind.is_file() {
            let extension = path.extension().and_then(|extension| extension.to_str());
            if !only_text || matches!(extension, Some("rs" | "md" | "txt")) {
                files.push((path, entry.metadata().tried(tried)?.len()));
            }
        }
    }
    Ok(())
}

/// Files read one after the other, each read as long as it can be.
struct Concatenated {
    files: std::vec::IntoIter<PathBuf>,
    current: Option<File>,
}

impl Read for Concatenated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let count = match &mut self.current {
                Some(file) => file.read(&mut buffer[filled..])?,
                None => 0,
            };
            filled += count;
            if count == 0 {
                match self.files.next() {
                    Some(path) => self.current = Some(File::open(path)?),
                    None => break,
                }
            }
        }
        Ok(filled)
    }
}
