//! The node: control and shards joined.
//!
//! Owns [`Node`].

use crate::api::{NodeEffect, NodeInput};
use crate::config::{ConfigError, NodeConfig};
use alloc::vec::Vec;
use craton_abi::{Incarnation, Instant, NodeId};
use craton_session::ConnId;

/// One booted machine, as a value.
pub struct Node {
    config: NodeConfig,
    incarnation: Incarnation,
}

/// Why no node can be made of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeError {
    /// A key is missing or wrong.
    Config(ConfigError),
}

impl Node {
    /// A node with `shards` shards in this life.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the configuration is incomplete or its keys do not fit together.
    pub fn new(
        config: NodeConfig,
        incarnation: Incarnation,
        _shards: u8,
        _seed: [u8; 32],
        _now: Instant,
    ) -> Result<Self, NodeError> {
        config.check().map_err(NodeError::Config)?;
        Ok(Node { config, incarnation })
    }

    /// Takes one input and appends what is to be done about it, in order.
    pub fn step(&mut self, _input: NodeInput, _now: Instant, _out: &mut Vec<NodeEffect>) {}

    /// Appends up to `bytes_max` bytes that are to be sent on a connection.
    pub fn transmit(
        &mut self,
        _conn: ConnId,
        _bytes_max: usize,
        _out: &mut Vec<u8>,
        _now: Instant,
    ) {
    }

    /// When it must be stepped with [`NodeInput::Tick`] at the latest, if it is not runnable.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether a tick would run a process.
    pub fn runnable(&self) -> bool {
        false
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        NodeId::default()
    }

    /// Its present life.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// What it was told at its start.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Nodes known to be alive, this one among them.
    pub fn nodes_alive(&self) -> usize {
        1
    }
}
