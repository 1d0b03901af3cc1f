//! `craton key`: the keys of a cluster.
//!
//! Owns what is said about them; the files are [`crate::keys`]'s.

use crate::error::Result;
use crate::keys::Keys;
use crate::say;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The options of `craton key`.
#[derive(Debug, Args)]
pub struct Key {
    #[command(subcommand)]
    verb: KeyVerb,
    /// The folder with the keys [default: ~/.config/craton/keys]
    #[arg(long, value_name = "FOLDER", env = "CRATON_KEYS", global = true)]
    keys: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum KeyVerb {
    /// Make a cluster's authority, its compiler key and an operator's certificate
    New,
    /// Show the public half of each key
    Show,
}

impl Key {
    pub(super) fn run(self) -> Result<()> {
        let folder = Keys::folder(&self.keys)?;
        match self.verb {
            KeyVerb::New => {
                Keys::create(&folder)?;
                say!("made the keys of a new cluster in {}", folder.display());
                say!("  keep authority.key and compiler.key secret: who has them has the cluster");
                Ok(())
            }
            KeyVerb::Show => {
                let keys = Keys::load(&folder)?;
                for (name, value) in keys.public() {
                    say!("{name:<10} {value}");
                }
                Ok(())
            }
        }
    }
}
