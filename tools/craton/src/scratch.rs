//! A folder for a moment.
//!
//! Owns [`Scratch`].

use crate::error::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A new folder among the temporary ones; it is gone when this is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one whose name has this word in it.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn new(word: &str) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("craton-{word}-{process}-{next}"));
        std::fs::create_dir_all(&folder).tried(|| format!("make {}", folder.display()))?;
        Ok(Scratch(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left there is in nobody's way.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
