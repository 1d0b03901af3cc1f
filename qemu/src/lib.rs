//! Virtual machines, an Ethernet for them, and a gateway to it, all owned by one process.
//!
//! This crate owns how the host runs Craton's kernel in QEMU: [`Machine`] launches and watches one
//! virtual machine, [`Lan`] is the Ethernet switch between machines (with faults that a test can
//! set), [`Gateway`] is the LAN's router: it hands out addresses and forwards ports of the host to
//! machines. Nothing here needs privilege, nothing is written to disk, and no QEMU outlives the
//! process that started it, even when that process is killed with SIGKILL.
//!
//! Its neighbours are the tool `craton up`, which makes a cluster of these, and the integration
//! tests in `qemu/tests`, which use [`testing`].
//!
//! ```no_run
//! use craton_qemu::{Gateway, Lan, Machine, MachineConfig, node_address, node_mac};
//! use std::net::{Ipv4Addr, SocketAddrV4};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let lan = Lan::new(7);
//! let gateway = Gateway::start(&lan)?;
//! let port = lan.attach()?;
//! let machine = Machine::launch(
//!     MachineConfig::new("build/kernel.elf")
//!         .memory_mib(64)
//!         .command_line("log=info")
//!         .node_config(b"name=node1\n".to_vec())
//!         .network(port, node_mac(1)),
//! )?;
//! machine.wait_for(|line| line.contains("ready"), Duration::from_secs(20))?;
//! let session = gateway.forward(
//!     SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
//!     SocketAddrV4::new(node_address(1), 7700),
//! )?;
//! println!("the node's session port is {session} on this host");
//! machine.kill();
//! # Ok(())
//! # }
//! ```

mod gateway;
mod lan;
mod machine;
mod tap;
pub mod testing;

pub use gateway::{
    GATEWAY_ADDRESS, Gateway, NETWORK_PREFIX_BITS, NODES_MAX, node_address, node_mac,
};
pub use lan::{Counters, Cut, Direction, Faults, Lan, Mac, PORTS_MAX, Port, PortId};
pub use machine::{
    Accelerator, Board, EXIT_EXCEPTION, EXIT_FAILURE, EXIT_PANIC, EXIT_SUCCESS, LaunchError,
    Machine, MachineConfig, WaitError,
};
pub use tap::{Tap, Traffic};
