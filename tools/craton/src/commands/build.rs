//! `craton build`: from source to a signed bundle.
//!
//! Owns the choice of the output's name; the work is in [`crate::guest`].

use crate::error::{Context, Result};
use crate::guest;
use crate::keys::Keys;
use crate::say;
use crate::table::bytes;
use clap::Args;
use std::path::{Path, PathBuf};

/// The options of `craton build`.
#[derive(Debug, Args)]
pub struct Build {
    /// A folder with a Cargo.toml (a program with a main.rs, or a cdylib), a .wasm or .wat module
    program: PathBuf,
    /// Where to put the bundle [default: NAME.craton here]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The folder with the cluster's keys [default: ~/.config/craton/keys]
    #[arg(long, value_name = "FOLDER", env = "CRATON_KEYS")]
    keys: Option<PathBuf>,
    /// Say nothing unless something is wrong
    #[arg(short, long)]
    quiet: bool,
}

impl Build {
    pub(super) fn run(self) -> Result<()> {
        let keys = Keys::load_or_default(&self.keys)?;
        let bundle = guest::bundle(&self.program, &keys)?;
        let output = self.output.unwrap_or_else(|| default_output(&self.program));
        std::fs::write(&output, &bundle).tried(|| format!("write {}", output.display()))?;
        if !self.quiet {
            let id = craton_bundle::program_id(&bundle);
            say!("{}  {}  program {id}", output.display(), bytes(bundle.len() as u64));
        }
        Ok(())
    }
}

fn default_output(program: &Path) -> PathBuf {
    let stem = program.canonicalize().ok().and_then(|path| path.file_stem().map(PathBuf::from));
    stem.unwrap_or_else(|| "program".into()).with_extension("craton")
}
