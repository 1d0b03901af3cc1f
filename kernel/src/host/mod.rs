//! The host of the node: it gives the value that is the node its clock, network and engine.
//!
//! Owns [`run`], which puts a CPU's part of the node and its engine on each CPU. Each has the same
//! loop (`turn`), with the node and its network on the boot CPU (`control`, `network`) and one of
//! the node's workers on every other (`worker`, with `served`, its part of the network). Both have
//! the `sockets` of processes on their stacks. `mail` joins the CPUs, the lanes of `craton-net` the
//! parts of the network, and the `board` has what each tells of itself. The host does what the node
//! asks and tells it what came of that; it decides nothing.

mod board;
mod control;
mod mail;
mod network;
mod nic;
mod processes;
mod report;
mod served;
mod sockets;
mod turn;
mod worker;

use alloc::boxed::Box;
use alloc::vec::Vec;
use control::Control;
use craton_abi::ShardId;
use craton_engine::Engine;
use craton_hal::smp;
use craton_node::config::level_name;
use craton_node::{Node, NodeEffect};
use craton_shard::port::LogLevel;
use mail::{Post, Rings};
pub(crate) use network::Network;
use processes::Processes;
use served::Served;
use turn::{Cpu, Turns};
use worker::Work;

/// Puts the parts together, gives every other CPU its shard, with an engine that `new_engine`
/// makes, and runs the node for as long as the machine is on. `effects` are what the node asked for
/// already.
pub(crate) fn run(
    mut node: Node,
    mut new_engine: impl FnMut(ShardId) -> Engine,
    (mut network, served): (Network, Vec<Served>),
    effects: Vec<NodeEffect>,
) -> ! {
    let (workers, board) = (node.workers(), network.base().board.clone());
    let rings = Rings::new(workers.len() + 1);
    let mut cpu = |shard: ShardId| Cpu {
        processes: Processes::new(new_engine(shard)),
        post: Post::new(shard.index(), rings.clone()),
        own: shard.index(),
        board: board.clone(),
    };
    for (worker, network) in workers.into_iter().zip(served) {
        let shard = worker.shard();
        let work = Work { worker, network };
        let turns = Turns::new(work, cpu(shard), Vec::new());
        smp::run_on(shard.index(), Box::new(move || turns.run()));
    }
    let cpu = cpu(ShardId::new(0));
    Turns::new(Control::new(node, network), cpu, effects).run()
}

/// The crate `log`'s filter for a node's log level.
pub(crate) fn log_filter(level: LogLevel) -> log::LevelFilter {
    level_name(level).parse().unwrap_or(log::LevelFilter::Info)
}
