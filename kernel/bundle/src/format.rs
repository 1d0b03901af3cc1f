//! The bytes of a bundle, read and written.
//!
//! Owns the layout, all integers little-endian:
//!
//! ```text
//! magic "CRATON\0" (7)  version (1)  signer (32)  signature (64)  table length (4)
//! table:  name length (1)  name   wasm length (4)  wasm hash (32)   artifact count (1)
//!         each: engine length (1)  engine  CPU level (1)  length (4)  hash (32)
//! wasm bytes, then each artifact's bytes, with nothing between or behind
//! ```
//!
//! The signature covers a fixed context, the signer and the table, and through the table's BLAKE3
//! hashes every other byte: one signature over a few hundred bytes, however long the program is.

use crate::{BundleError, CompilerKey, CompilerSecret, Part, SignError};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use craton_abi::{ProgramId, limit};

const MAGIC: &[u8; 7] = b"CRATON\0";
const VERSION: u8 = 1;
/// Keeps a signature of a bundle from meaning anything in another protocol.
const CONTEXT: &[u8] = b"craton bundle signature v1\0";
const HASH_BYTES: usize = 32;
/// Most artifacts in one bundle: a few engine versions times a few CPU levels.
const ARTIFACTS_MAX: usize = 8;

/// What a CPU can do, as the x86-64 psABI counts its levels.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct CpuLevel(u8);

/// Native code for one engine and CPU level.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Artifact<'a> {
    /// Which engine loads it: version and configuration.
    pub engine: &'a str,
    /// What the CPU must be able to do.
    pub level: CpuLevel,
    /// The artifact itself, as the engine's compiler wrote it.
    pub bytes: &'a [u8],
}

/// What goes into a bundle.
#[derive(Copy, Clone, Debug)]
pub struct Contents<'a> {
    /// What people call the program.
    pub name: &'a str,
    /// The WebAssembly module that the artifacts were compiled from.
    pub wasm: &'a [u8],
    /// At least one.
    pub artifacts: &'a [Artifact<'a>],
}

/// Bytes that have the shape of a bundle. Nothing in them is to be believed before
/// [`Bundle::verify`].
#[derive(Clone, Debug)]
pub struct Bundle<'a> {
    signer: CompilerKey,
    signature: [u8; 64],
    table: &'a [u8],
    name: &'a str,
    wasm: Hashed<'a>,
    artifacts: Vec<(Artifact<'a>, [u8; HASH_BYTES])>,
}

/// A bundle whose every byte a trusted compiler signed.
#[derive(Clone, Debug)]
pub struct Verified<'a>(Bundle<'a>);

#[derive(Copy, Clone, Debug)]
struct Hashed<'a> {
    bytes: &'a [u8],
    hash: [u8; HASH_BYTES],
}

/// The id of a bundle: the BLAKE3 hash of all its bytes.
pub fn program_id(bundle: &[u8]) -> ProgramId {
    ProgramId(*blake3::hash(bundle).as_bytes())
}

impl CpuLevel {
    /// x86-64-v2: SSE up to 4.2 and POPCNT. The base that every node has.
    pub const V2: CpuLevel = CpuLevel(2);
}

impl<'a> Bundle<'a> {
    /// Reads the shape of a bundle. Total on hostile bytes: allocates for at most
    /// eight artifacts and copies nothing else.
    ///
    /// # Errors
    ///
    /// [`BundleError`] if the bytes do not have the shape.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BundleError> {
        if bytes.len() > limit::BUNDLE_BYTES_MAX {
            return Err(BundleError::TooLong);
        }
        let mut reader = Reader(bytes);
        if reader.array::<7>()? != MAGIC {
            return Err(BundleError::NotABundle);
        }
        match reader.byte()? {
            VERSION => {}
            version => return Err(BundleError::UnknownVersion(version)),
        }
        let signer = CompilerKey::from_bytes(*reader.array()?);
        let signature = *reader.array()?;
        let table_len = reader.length()?;
        let table = reader.take(table_len)?;
        let shape = Table::read(table)?;
        let mut bundle = Bundle {
            signer,
            signature,
            table,
            name: shape.name,
            wasm: Hashed { bytes: reader.take(shape.wasm_len)?, hash: shape.wasm_hash },
            artifacts: Vec::with_capacity(shape.artifacts.len()),
        };
        for row in shape.artifacts {
            let bytes = reader.take(row.len)?;
            let artifact = Artifact { engine: row.engine, level: row.level, bytes };
            bundle.artifacts.push((artifact, row.hash));
        }
        reader.end()?;
        Ok(bundle)
    }

    /// Proves that one of `keys` signed every byte.
    ///
    /// # Errors
    ///
    /// [`BundleError`] with the first thing that is wrong.
    pub fn verify(self, keys: &[CompilerKey]) -> Result<Verified<'a>, BundleError> {
        if self.signature == [0; 64] {
            return Err(BundleError::Unsigned);
        }
        if !keys.contains(&self.signer) {
            return Err(BundleError::UntrustedKey(self.signer));
        }
        if !self.signer.verifies(&signed_message(&self.signer, self.table), &self.signature) {
            return Err(BundleError::BadSignature);
        }
        if blake3::hash(self.wasm.bytes) != self.wasm.hash {
            return Err(BundleError::HashMismatch(Part::Wasm));
        }
        for (index, (artifact, hash)) in self.artifacts.iter().enumerate() {
            if blake3::hash(artifact.bytes) != *hash {
                return Err(BundleError::HashMismatch(Part::Artifact(index)));
            }
        }
        Ok(Verified(self))
    }
}

impl<'a> Verified<'a> {
    /// What people call the program.
    pub fn name(&self) -> &'a str {
        self.0.name
    }

    /// The WebAssembly module, for compiling it again.
    pub fn wasm(&self) -> &'a [u8] {
        self.0.wasm.bytes
    }

    /// Who signed it.
    pub fn signer(&self) -> CompilerKey {
        self.0.signer
    }

    /// The best artifact that `engine` can run on a CPU of `level`.
    ///
    /// # Errors
    ///
    /// [`BundleError::WrongEngine`] or [`BundleError::CpuTooOld`].
    pub fn artifact(&self, engine: &str, level: CpuLevel) -> Result<&'a [u8], BundleError> {
        let ours = || self.0.artifacts.iter().map(|(a, _)| a).filter(|a| a.engine == engine);
        let fits = ours().filter(|a| a.level <= level).max_by_key(|a| a.level);
        match (fits, ours().map(|a| a.level).min()) {
            (Some(artifact), _) => Ok(artifact.bytes),
            (None, Some(needs)) => Err(BundleError::CpuTooOld { needs }),
            (None, None) => {
                let has = self.0.artifacts.first().map(|(a, _)| String::from(a.engine));
                Err(BundleError::WrongEngine { has })
            }
        }
    }
}

impl Contents<'_> {
    /// The bundle of these contents, signed.
    ///
    /// # Errors
    ///
    /// [`SignError`] if the contents do not fit the format.
    pub fn sign(&self, secret: &CompilerSecret) -> Result<Vec<u8>, SignError> {
        let table = self.table()?;
        let body: usize =
            self.wasm.len() + self.artifacts.iter().map(|a| a.bytes.len()).sum::<usize>();
        let signer = secret.key();
        let signature = secret.sign(&signed_message(&signer, &table));
        let mut bytes = Vec::with_capacity(108 + table.len() + body);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&signer.to_bytes());
        bytes.extend_from_slice(&signature);
        put_length(&mut bytes, table.len())?;
        bytes.extend_from_slice(&table);
        bytes.extend_from_slice(self.wasm);
        self.artifacts.iter().for_each(|artifact| bytes.extend_from_slice(artifact.bytes));
        if bytes.len() > limit::BUNDLE_BYTES_MAX { Err(SignError::TooLong) } else { Ok(bytes) }
    }

    fn table(&self) -> Result<Vec<u8>, SignError> {
        if !(1..=ARTIFACTS_MAX).contains(&self.artifacts.len()) {
            return Err(SignError::ArtifactCount);
        }
        let mut table = Vec::new();
        put_text(&mut table, self.name).ok_or(SignError::Name)?;
        put_length(&mut table, self.wasm.len())?;
        table.extend_from_slice(blake3::hash(self.wasm).as_bytes());
        table.push(self.artifacts.len() as u8);
        for artifact in self.artifacts {
            put_text(&mut table, artifact.engine).ok_or(SignError::Engine)?;
            table.push(artifact.level.0);
            put_length(&mut table, artifact.bytes.len())?;
            table.extend_from_slice(blake3::hash(artifact.bytes).as_bytes());
        }
        Ok(table)
    }
}

impl fmt::Display for CpuLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x86-64-v{}", self.0)
    }
}

fn signed_message(signer: &CompilerKey, table: &[u8]) -> Vec<u8> {
    [CONTEXT, &signer.to_bytes(), table].concat()
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    let len = u8::try_from(text.len()).ok().filter(|len| *len > 0)?;
    out.push(len);
    out.extend_from_slice(text.as_bytes());
    Some(())
}

fn put_length(out: &mut Vec<u8>, len: usize) -> Result<(), SignError> {
    let len = u32::try_from(len).map_err(|_| SignError::TooLong)?;
    out.extend_from_slice(&len.to_le_bytes());
    Ok(())
}

struct Table<'a> {
    name: &'a str,
    wasm_len: usize,
    wasm_hash: [u8; HASH_BYTES],
    artifacts: Vec<Row<'a>>,
}

struct Row<'a> {
    engine: &'a str,
    level: CpuLevel,
    len: usize,
    hash: [u8; HASH_BYTES],
}

impl<'a> Table<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let mut reader = Reader(bytes);
        let name = reader.text("name")?;
        let wasm_len = reader.length()?;
        let wasm_hash = *reader.array()?;
        let count = usize::from(reader.byte()?);
        if !(1..=ARTIFACTS_MAX).contains(&count) {
            return Err(BundleError::Malformed("number of artifacts"));
        }
        let mut artifacts = Vec::with_capacity(count);
        for _ in 0..count {
            artifacts.push(Row {
                engine: reader.text("engine")?,
                level: CpuLevel(reader.byte()?),
                len: reader.length()?,
                hash: *reader.array()?,
            });
        }
        reader.end()?;
        Ok(Table { name, wasm_len, wasm_hash, artifacts })
    }
}

/// A cursor that never reads past its bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BundleError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BundleError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], BundleError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BundleError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, BundleError> {
        self.array::<1>().map(|[byte]| *byte)
    }

    fn length(&mut self) -> Result<usize, BundleError> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes) as usize)
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str, BundleError> {
        let len = usize::from(self.byte()?);
        let text = core::str::from_utf8(self.take(len)?);
        text.ok().filter(|text| !text.is_empty()).ok_or(BundleError::Malformed(what))
    }

    fn end(&self) -> Result<(), BundleError> {
        if self.0.is_empty() { Ok(()) } else { Err(BundleError::TooLong) }
    }
}
