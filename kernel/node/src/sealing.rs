//! Certificates and keys for membership's datagrams.
//!
//! Owns [`NodeSeal`], which joins `craton-cluster`'s port to `craton-session`'s seals, so that the
//! two need not know one another.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{Incarnation, NodeId};
use craton_cluster::{Certified, Sealing};
use craton_session::seal::{DiscoveryKey, Envelope, Opener, Sealer};
use craton_session::{AuthorityKey, Certificate, Identity, NoiseKey, PeerKey, Role};

/// Most nodes whose keys are kept.
const NODES_MAX: usize = 1024;
/// Lives of one node whose replay windows are kept.
const LIVES_MAX: usize = 4;

/// The keys of this life of the node.
pub(crate) struct NodeSeal {
    me: PeerKey,
    identity: Identity,
    authorities: Vec<AuthorityKey>,
    wall_clock_secs: Option<u64>,
    discovery: DiscoveryKey,
    hello: Sealer,
    nodes: BTreeMap<NodeId, Keys>,
}

struct Keys {
    public: NoiseKey,
    sealer: Sealer,
    /// By life, the latest heard last.
    openers: Vec<(Incarnation, Opener)>,
}

impl NodeSeal {
    pub(crate) fn new(
        identity: Identity,
        authorities: Vec<AuthorityKey>,
        discovery: DiscoveryKey,
        incarnation: Incarnation,
        wall_clock_secs: Option<u64>,
    ) -> Self {
        let me = PeerKey { node: identity.node(), incarnation };
        let hello = Sealer::discovery(&discovery, me);
        let nodes = BTreeMap::new();
        NodeSeal { me, identity, authorities, wall_clock_secs, discovery, hello, nodes }
    }

    /// Remembers a node's key. `false` if it cannot be used or there is no room.
    fn remember(&mut self, certificate: &Certificate) -> bool {
        let node = certificate.node();
        if self.nodes.get(&node).is_some_and(|keys| keys.public == certificate.noise) {
            return true;
        }
        if self.nodes.len() >= NODES_MAX {
            return false;
        }
        let public = certificate.noise;
        let Some(sealer) = Sealer::pair(self.identity.secret(), &public, self.me) else {
            return false;
        };
        // Another key with the same id would need a second preimage of 64 bits; the first stands.
        self.nodes.entry(node).or_insert(Keys { public, sealer, openers: Vec::new() });
        true
    }
}

impl Sealing for NodeSeal {
    fn seal_hello(&mut self, plain: &[u8]) -> Vec<u8> {
        let certificate = self.identity.certificate().to_bytes();
        let mut inner = Vec::with_capacity(2 + certificate.len() + plain.len());
        // A certificate is a few hundred bytes long.
        inner.extend_from_slice(&(certificate.len() as u16).to_le_bytes());
        inner.extend_from_slice(&certificate);
        inner.extend_from_slice(plain);
        let mut sealed = Vec::new();
        self.hello.seal(&inner, &mut sealed);
        sealed
    }

    fn open_hello(&mut self, sealed: &[u8]) -> Option<(Certified, Vec<u8>)> {
        let mut inner = Vec::new();
        let sender = self.discovery.open(sealed, &mut inner).ok()?;
        let (len, rest) = inner.split_first_chunk()?;
        let (bytes, plain) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        let certificate = Certificate::from_bytes(bytes).ok()?;
        if certificate.node() != sender.node || certificate.role != Role::Node {
            return None;
        }
        certificate.verify(&self.authorities, self.wall_clock_secs).ok()?;
        let certified =
            Certified { node: certificate.node(), name: String::from(&*certificate.name) };
        (sender.node == self.me.node || self.remember(&certificate))
            .then(|| (certified, plain.to_vec()))
    }

    fn seal(&mut self, to: NodeId, incarnation: Incarnation, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.nodes.get_mut(&to)?;
        let mut inner = Vec::with_capacity(8 + plain.len());
        inner.extend_from_slice(&incarnation.get().to_le_bytes());
        inner.extend_from_slice(plain);
        let mut sealed = Vec::new();
        keys.sealer.seal(&inner, &mut sealed);
        Some(sealed)
    }

    fn open(&mut self, sealed: &[u8]) -> Option<(NodeId, Incarnation, Vec<u8>)> {
        let sender = Envelope::read(sealed)?.sender;
        let keys = self.nodes.get_mut(&sender.node)?;
        let mut inner = Vec::new();
        let known = keys.openers.iter_mut().find(|(life, _)| *life == sender.incarnation);
        if let Some((_, opener)) = known {
            opener.open(sealed, &mut inner).ok()?;
        } else {
            let mut opener = Opener::pair(self.identity.secret(), &keys.public, sender)?;
            // Only who holds the key gets a place in the list.
            opener.open(sealed, &mut inner).ok()?;
            if keys.openers.len() >= LIVES_MAX {
                keys.openers.remove(0);
            }
            keys.openers.push((sender.incarnation, opener));
        }
        let (life, plain) = inner.split_first_chunk()?;
        let for_this_life = u64::from_le_bytes(*life) == self.me.incarnation.get();
        for_this_life.then(|| (sender.node, sender.incarnation, plain.to_vec()))
    }
}
