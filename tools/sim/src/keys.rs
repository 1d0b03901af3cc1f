//! The keys of a simulated cluster: authority, certificates, configurations.
//!
//! Owns [`Keys`], all drawn from the seed.

use crate::random::Random;
use craton_node::NodeConfig;
use craton_session::cert::Request;
use craton_session::{AuthorityKey, AuthoritySecret, Certificate, Identity, NoiseSecret, Role};
use craton_shard::port::LogLevel;

pub(crate) struct Keys {
    authority: AuthoritySecret,
    discovery: [u8; 32],
    serial: u64,
}

impl Keys {
    pub(crate) fn new(random: &mut Random) -> Self {
        let authority = AuthoritySecret::from_bytes(&random.bytes32());
        Keys { authority, discovery: random.bytes32(), serial: 0 }
    }

    pub(crate) fn authority(&self) -> AuthorityKey {
        self.authority.public()
    }

    fn issue(&mut self, role: Role, name: &str, random: &mut Random) -> (Certificate, NoiseSecret) {
        let secret = NoiseSecret::from_bytes(&random.bytes32());
        self.serial += 1;
        let request = Request {
            role,
            name: name.to_string(),
            noise: secret.public(),
            not_before_secs: 0,
            not_after_secs: u64::MAX,
            serial: self.serial,
        };
        let certificate =
            Certificate::issue(request, &self.authority).expect("the names here are allowed");
        (certificate, secret)
    }

    pub(crate) fn node(&mut self, name: &str, random: &mut Random) -> NodeConfig {
        let (certificate, secret) = self.issue(Role::Node, name, random);
        NodeConfig {
            name: name.to_string(),
            certificate: certificate.to_bytes(),
            noise_key: Some(secret.to_bytes()),
            authorities: vec![self.authority().to_bytes()],
            discovery: Some(self.discovery),
            log: LogLevel::Info,
            ..NodeConfig::default()
        }
    }

    pub(crate) fn operator(&mut self, random: &mut Random) -> Identity {
        let (certificate, secret) = self.issue(Role::Operator, "operator", random);
        Identity::new(certificate, secret).expect("the key was certified just now")
    }
}
