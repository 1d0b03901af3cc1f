//! The keys of a cluster, in a folder.
//!
//! Owns [`Keys`] and the files: `authority.key` (whoever has it can issue certificates),
//! `discovery.key` (nodes look for one another under it), `compiler.key` (signs programs),
//! `operator.key` and `operator.cert` (who the tool is to a node). Each holds one line of
//! hexadecimal digits; only their owner may read them. Node keys are never stored: they are made
//! when a node's configuration is.

use crate::error::{Context, Error, Result};
use craton_bundle::CompilerSecret;
use craton_node::config::NodeConfig;
use craton_session::cert::Request;
use craton_session::key::{from_hex, to_hex};
use craton_session::{AuthorityKey, AuthoritySecret, Certificate, Identity, NoiseSecret, Role};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const AUTHORITY: &str = "authority.key";
const DISCOVERY: &str = "discovery.key";
const COMPILER: &str = "compiler.key";
const OPERATOR: &str = "operator.key";
const OPERATOR_CERTIFICATE: &str = "operator.cert";

/// How long certificates are valid.
const CERTIFICATE_SECS: u64 = 10 * 365 * 24 * 3600;
/// How far before now they begin, for clocks that are behind.
const CERTIFICATE_EARLY_SECS: u64 = 24 * 3600;

/// The keys of one cluster.
pub struct Keys {
    authority: AuthoritySecret,
    discovery: [u8; 32],
    compiler: CompilerSecret,
    operator: Identity,
}

impl Keys {
    /// The folder that is meant: the one given, or the user's own.
    ///
    /// # Errors
    ///
    /// If none is given and the user has no home.
    pub fn folder(given: &Option<PathBuf>) -> Result<PathBuf> {
        if let Some(folder) = given {
            return Ok(folder.clone());
        }
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        config
            .or(home.map(|home| home.join(".config")))
            .map(|config| config.join("craton").join("keys"))
            .ok_or_else(|| Error::new("find the keys", "HOME is not set").advise("--keys FOLDER"))
    }

    /// Loads the keys in the folder that is meant.
    ///
    /// # Errors
    ///
    /// If they are not there or not readable.
    pub fn load_or_default(given: &Option<PathBuf>) -> Result<Self> {
        Keys::load(&Keys::folder(given)?)
    }

    /// Loads the keys in `folder`.
    ///
    /// # Errors
    ///
    /// If a file is missing or is not what it should be.
    pub fn load(folder: &Path) -> Result<Self> {
        let authority = AuthoritySecret::from_bytes(&read_key(folder, AUTHORITY)?);
        let compiler = CompilerSecret::from_bytes(read_key(folder, COMPILER)?);
        let secret = NoiseSecret::from_bytes(&read_key(folder, OPERATOR)?);
        let path = folder.join(OPERATOR_CERTIFICATE);
        let tried = || format!("read the certificate {}", path.display());
        let certificate =
            Certificate::from_hex(&read_line(folder, OPERATOR_CERTIFICATE)?).tried(tried)?;
        let operator = Identity::new(certificate, secret).tried(tried)?;
        Ok(Keys { authority, discovery: read_key(folder, DISCOVERY)?, compiler, operator })
    }

    /// Loads the keys in `folder`, or makes them if there is no such folder.
    ///
    /// # Errors
    ///
    /// If they are not readable, or cannot be made.
    pub fn load_or_create(folder: &Path) -> Result<Self> {
        match Keys::load(folder) {
            Err(_) if !folder.exists() => Keys::create(folder),
            loaded => loaded,
        }
    }

    /// Makes the keys of a new cluster in `folder`.
    ///
    /// # Errors
    ///
    /// If there are keys already (they are never overwritten), or the folder cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        let tried = || format!("make keys in {}", folder.display());
        if folder.join(AUTHORITY).exists() {
            return Err(Error::new(tried(), "there are keys already, which are not overwritten")
                .advise("--keys with another folder"));
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).tried(tried)?;
        let keys = Keys::generate("operator")?;
        let hex = |bytes: &[u8]| to_hex(bytes);
        write_secret(folder, DISCOVERY, &hex(&keys.discovery))?;
        write_secret(folder, COMPILER, &hex(&keys.compiler.to_bytes()))?;
        write_secret(folder, OPERATOR, &hex(&keys.operator.secret().to_bytes()))?;
        write_secret(folder, OPERATOR_CERTIFICATE, &keys.operator.certificate().to_hex())?;
        // Last, since its presence says that the others are there.
        write_secret(folder, AUTHORITY, &hex(&keys.authority.to_bytes()))?;
        Ok(keys)
    }

    /// Makes the keys of a new cluster without storing them.
    ///
    /// # Errors
    ///
    /// If `operator` is not a name that a certificate may bear.
    pub fn generate(operator: &str) -> Result<Self> {
        let authority = AuthoritySecret::from_bytes(&crate::random());
        let operator = identity(&authority, Role::Operator, operator)?;
        let compiler = CompilerSecret::from_bytes(crate::random());
        Ok(Keys { authority, discovery: crate::random(), compiler, operator })
    }

    /// Who the tool is to a node.
    pub fn operator(&self) -> &Identity {
        &self.operator
    }

    /// Whose certificates count.
    pub fn authority_key(&self) -> AuthorityKey {
        self.authority.public()
    }

    /// What signs programs.
    pub fn compiler(&self) -> &CompilerSecret {
        &self.compiler
    }

    /// What a new node named `name` must be told, with a key and a certificate of its own.
    ///
    /// # Errors
    ///
    /// If `name` is not a name that a certificate may bear.
    pub fn node_config(&self, name: &str) -> Result<NodeConfig> {
        let identity = identity(&self.authority, Role::Node, name)?;
        Ok(NodeConfig {
            name: name.into(),
            certificate: identity.certificate().to_bytes(),
            noise_key: Some(identity.secret().to_bytes()),
            authorities: vec![self.authority_key().to_bytes()],
            discovery: Some(self.discovery),
            compiler_keys: vec![self.compiler.key().to_bytes()],
            ..NodeConfig::default()
        })
    }

    /// The public half of each key, with its name.
    pub fn public(&self) -> [(&'static str, String); 3] {
        [
            ("authority", self.authority_key().to_hex()),
            ("compiler", self.compiler.key().to_string()),
            ("operator", self.operator.node().to_string()),
        ]
    }
}

fn identity(authority: &AuthoritySecret, role: Role, name: &str) -> Result<Identity> {
    let tried = || format!("certify '{name}'");
    let secret = NoiseSecret::from_bytes(&crate::random());
    let now = crate::wall_clock_secs().unwrap_or(0);
    let request = Request {
        role,
        name: name.into(),
        noise: secret.public(),
        not_before_secs: now.saturating_sub(CERTIFICATE_EARLY_SECS),
        not_after_secs: now.saturating_add(CERTIFICATE_SECS),
        serial: u64::from_le_bytes(crate::random()),
    };
    let certificate = Certificate::issue(request, authority).tried(tried)?;
    Identity::new(certificate, secret).tried(tried)
}

fn read_line(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Error::new(format!("read the key {}", path.display()), error)
            .advise("craton key new, or --keys with the folder that has them")
    })?;
    Ok(text.trim().into())
}

fn read_key(folder: &Path, name: &str) -> Result<[u8; 32]> {
    let bytes = from_hex(&read_line(folder, name)?);
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        let path = folder.join(name);
        Error::new(format!("read the key {}", path.display()), "it is not 64 hexadecimal digits")
    })
}

fn write_secret(folder: &Path, name: &str, line: &str) -> Result<()> {
    let path = folder.join(name);
    let tried = || format!("write {}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .tried(tried)?;
    file.write_all(format!("{line}\n").as_bytes()).tried(tried)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_survive_their_files_and_are_not_overwritten() {
        let folder = Scratch::new("keys").expect("a folder");
        let folder = folder.path().join("new");
        let made = Keys::create(&folder).expect("the folder is ours");
        let loaded = Keys::load(&folder).expect("they were just written");
        assert_eq!(made.public(), loaded.public());
        assert!(Keys::create(&folder).is_err());
        let mode = std::fs::metadata(folder.join(AUTHORITY)).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o077, 0, "others may not read it");
    }

    #[test]
    fn a_damaged_key_is_named() {
        let folder = Scratch::new("damaged").expect("a folder");
        let folder = folder.path().join("new");
        Keys::create(&folder).expect("the folder is ours");
        std::fs::write(folder.join(COMPILER), "12").expect("the folder is ours");
        let error = Keys::load(&folder).err().expect("it is damaged").to_string();
        assert!(error.contains(COMPILER), "{error}");
    }

    #[test]
    fn a_node_of_these_keys_is_believed_and_one_of_others_is_not() {
        let keys = Keys::generate("me").expect("a good name");
        let config = keys.node_config("n1").expect("a good name");
        let certificate = Certificate::from_bytes(&config.certificate).expect("just made");
        let now = crate::wall_clock_secs();
        assert!(certificate.verify(&[keys.authority_key()], now).is_ok());
        let others = Keys::generate("you").expect("a good name");
        assert!(certificate.verify(&[others.authority_key()], now).is_err());
        assert!(keys.node_config("no spaces").is_err());
    }
}
