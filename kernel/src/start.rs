//! From a started machine to a running node.
//!
//! Owns the order: configuration, randomness, engine, network card, node. Where one of them is
//! missing it says so in one sentence and ends the machine: a node that cannot talk is none.

use crate::command_line;
use crate::host::{self, Network, log_filter};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use craton_abi::Incarnation;
use craton_engine::{Clocks, Engine, Programs};
use craton_hal::boottrace::mark;
use craton_hal::pci::{
    Bus, DEVICE_VECTOR_FIRST, DEVICE_VECTOR_LAST, Ports, Window, note_interrupt,
};
use craton_hal::power::ExitCode;
use craton_hal::virtio::Devices;
use craton_hal::virtio::net::{Interrupt, Net};
use craton_hal::{
    boot, boottrace, clock, cpu, entropy, fw_cfg, interrupt, logger, memory, power, smp,
};
use craton_node::command_line::apply;
use craton_node::{Node, NodeConfig, NodeInput, OnPanic, SHARDS_MAX};
use log::{error, info, warn};

/// The file of the firmware's configuration device that holds the node's.
const CONFIG_FILE: &str = "opt/craton/config";

/// A pair of queues takes 1 MiB; a small machine has better uses for that.
const MEMORY_PER_PAIR: u64 = 32 << 20;

/// Starts the node and runs it for as long as the machine is on.
pub(crate) fn node(config: NodeConfig) -> ! {
    // The longest part, and the one that needs nothing of the others.
    let programs = smp::Task::start(Programs::new);
    logger::set_node_name(&config.name);
    log::set_max_level(log_filter(config.log));
    power::reset_after_failure(config.panic == OnPanic::Reset);
    let services = command_line::services();
    let mut devices = devices();
    gather_entropy(&mut devices);
    mark("devices, randomness");
    let net = network_card(&mut devices, pairs());
    mark("network card");
    let incarnation = Incarnation::new(word(seed()));
    let now = clock::now();
    let node = Node::new(config, incarnation, shards(), seed(), now);
    let mut node = node.unwrap_or_else(|error| refuse(format_args!("no node: {error}")));
    mark("node");
    let programs = programs.finish();
    let programs = programs.unwrap_or_else(|error| refuse(format_args!("no engine: {error:#}")));
    let clocks = Clocks { monotonic: clock::now, wall_nanos };
    let new_engine = |shard| Engine::new(programs.clone(), shard, seed(), clocks);
    mark("engine");
    info!("ready: node {} in life {}", node.id(), node.incarnation());
    mark("ready");
    if command_line::asks_for("boottrace") {
        boottrace::print();
    }
    let mut effects = Vec::new();
    if let Some(wall) = clock::wall() {
        let since_start = now.since(craton_abi::Instant::ZERO);
        let at_zero = wall.as_nanos().saturating_sub(since_start.as_nanos());
        let secs_at_zero = at_zero / 1_000_000_000;
        node.step(NodeInput::WallClock { secs_at_zero }, now, &mut effects);
    }
    if let Some(bundle) = carried_program() {
        node.step(NodeInput::Carried { bundle }, now, &mut effects);
    }
    let network = Network::new(net, usize::from(shards()), seed, services, clock::now());
    host::run(node, new_engine, network, effects)
}

/// The configuration from the firmware's device, with the command line's own keys over it.
pub(crate) fn configuration() -> NodeConfig {
    let file = fw_cfg::read(CONFIG_FILE).unwrap_or_default();
    let text = String::from_utf8(file);
    let text = text.unwrap_or_else(|_| refuse(format_args!("{CONFIG_FILE} is not text")));
    let config = NodeConfig::parse(&text);
    let mut config = config.unwrap_or_else(|error| refuse(format_args!("{CONFIG_FILE}: {error}")));
    for problem in apply(&command_line::words(), &command_line::OWN_KEYS, &mut config) {
        warn!("command line: {problem}");
    }
    config
}

/// The program that the machine's image carries: the loader's module. Its memory stays held back.
fn carried_program() -> Option<Vec<u8>> {
    let range = boot::module()?;
    let bytes = usize::try_from(range.end - range.start).ok()?;
    let module = memory::physical_bytes(range.start, bytes);
    let mut bundle = Vec::new();
    match module {
        Some(module) if bundle.try_reserve_exact(bytes).is_ok() => {
            info!("the image carries a program of {bytes} bytes");
            bundle.extend_from_slice(module);
            Some(bundle)
        }
        Some(_) => {
            error!("no memory for the program that the image carries, of {bytes} bytes");
            None
        }
        None => {
            error!("the program that the image carries is not in memory");
            None
        }
    }
}

/// One shard for each CPU, as far as a node may have them.
fn shards() -> u8 {
    let cpus = cpu::count();
    let shards = u8::try_from(cpus).unwrap_or(SHARDS_MAX).min(SHARDS_MAX);
    if usize::from(shards) < cpus {
        warn!("{cpus} CPUs: a node uses {shards} of them");
    }
    shards
}

/// Pairs of queues of the network card that the node uses: one for each CPU, unless memory is small
/// for so many. A CPU without one has its frames from those that have.
fn pairs() -> usize {
    let fit = usize::try_from(memory::free_bytes() / MEMORY_PER_PAIR).unwrap_or(usize::MAX);
    usize::from(shards()).min(fit.max(1))
}

/// The devices of the machine, to whoever asks first.
pub(crate) fn devices() -> Devices<Ports> {
    let Some(ports) = Ports::take() else { refuse(format_args!("PCI is taken")) };
    Devices::find(Bus::scan(ports, Window::BELOW_4G), boot::command_line())
}

/// Asks the host for entropy, and ends the machine if neither it nor the CPU has any: keys and
/// incarnations that could be guessed are worse than no node.
fn gather_entropy(devices: &mut Devices<Ports>) {
    entropy::gather(devices);
    let (_, sources) = entropy::seed();
    if !sources.suffice() {
        refuse(format_args!(
            "no source of randomness: a node needs RDSEED or RDRAND, or a virtio-rng device"
        ));
    }
    info!("randomness comes from {sources}");
}

/// The network card, with a pair of queues for each of so many CPUs, as far as it has as many.
fn network_card(devices: &mut Devices<Ports>, cpus: usize) -> Net {
    let Some(device) = Net::find(devices) else {
        refuse(format_args!("no network card: a node needs a virtio-net device"))
    };
    let interrupts = card_interrupts(cpus);
    for Interrupt { vector, .. } in &interrupts {
        interrupt::set_handler(*vector, note_interrupt);
    }
    let net = Net::open(devices, &device, &interrupts);
    let net = net
        .unwrap_or_else(|error| refuse(format_args!("the network card does not start: {error}")));
    info!("network card: {}", net.info());
    net
}

/// The vectors by which a card interrupts each of so many CPUs, as far as there are as many.
pub(crate) fn card_interrupts(cpus: usize) -> Vec<Interrupt> {
    let vectors = DEVICE_VECTOR_FIRST..=DEVICE_VECTOR_LAST;
    // Ids beyond a byte exist only with x2APIC, whose boot CPU has a small one all the same: what
    // has none has no pair of its own.
    let apic_id = |cpu| smp::apic_id(cpu).and_then(|id| u8::try_from(id).ok());
    let each = vectors.zip(0..cpus).map_while(|(vector, cpu)| Some((vector, apic_id(cpu)?)));
    each.map(|(vector, apic_id)| Interrupt { vector, apic_id }).collect()
}

/// Says why there will be no node, and ends the machine.
pub(crate) fn refuse(why: fmt::Arguments<'_>) -> ! {
    error!("cannot run: {why}");
    power::end(ExitCode::Failure)
}

fn seed() -> [u8; 32] {
    entropy::seed().0
}

fn word(seed: [u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = seed;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn wall_nanos() -> u64 {
    clock::wall().map_or(0, craton_abi::Duration::as_nanos)
}
