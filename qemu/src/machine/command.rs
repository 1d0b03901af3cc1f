//! What a machine is made of, and the QEMU command line that makes it.
//!
//! Owns [`MachineConfig`] and its rendering into arguments; pure, so that tests read the command
//! line without starting anything. Neighbours: `spawn` runs the arguments, `accelerator` decides
//! how they are executed.

use super::Accelerator;
use crate::lan::{Mac, Port};
use crate::tap::Tap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The file descriptor, in QEMU, that carries Ethernet frames to and from the LAN.
pub(super) const NETWORK_FD: i32 = 3;
/// The file descriptor, in QEMU, that holds the node's configuration. Not an argument nor a file,
/// since it holds private keys, which `ps` and the disk must not show.
pub(super) const CONFIG_FD: i32 = 4;
/// Where QEMU finds the module.
pub(super) const MODULE_FD: i32 = 5;

/// The firmware that boots `-kernel` in a third of SeaBIOS's time, where QEMU's package has it. It
/// starts every board.
const QBOOT: &str = "/usr/share/qemu/qboot.rom";

/// The board that QEMU emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// PCI Express, of 2009.
    Q35,
    /// PCI, of 1996.
    Pc,
    /// No PCI, virtio over MMIO, made for short-lived machines.
    Microvm,
}

/// Where a machine's network card is plugged in.
pub(super) enum Cable {
    /// Into a port of a LAN in user space.
    Lan(Port),
    /// Into a tap of this name, with so many pairs of queues.
    Tap(String, u8),
}

/// Called with each line of a machine's serial output, on the thread that reads it.
pub(super) type LineSink = Box<dyn FnMut(&str) + Send>;

/// Everything that decides what a machine is; hand it to [`super::Machine::launch`].
pub struct MachineConfig {
    pub(super) board: Board,
    pub(super) own_firmware: bool,
    pub(super) cpus: u8,
    pub(super) cpu: Option<String>,
    pub(super) memory_mib: u32,
    pub(super) accelerator: Accelerator,
    pub(super) kernel: PathBuf,
    pub(super) initrd: Option<PathBuf>,
    pub(super) module: Option<Vec<u8>>,
    pub(super) command_line: String,
    pub(super) cpu_entropy: bool,
    pub(super) device_entropy: bool,
    pub(super) node_config: Option<Vec<u8>>,
    pub(super) network: Option<(Cable, Mac)>,
    pub(super) card_options: String,
    pub(super) paused: bool,
    pub(super) reboots: bool,
    pub(super) debugger: Option<u16>,
    pub(super) counted: Option<u8>,
    pub(super) typed: bool,
    pub(super) on_line: Option<LineSink>,
}

impl MachineConfig {
    /// A q35 with one CPU and 128 MiB that boots the kernel file, without network.
    pub fn new(kernel: impl AsRef<Path>) -> MachineConfig {
        MachineConfig {
            board: Board::Q35,
            own_firmware: false,
            cpus: 1,
            cpu: None,
            memory_mib: 128,
            accelerator: Accelerator::detect(),
            kernel: kernel.as_ref().to_path_buf(),
            initrd: None,
            module: None,
            command_line: String::new(),
            cpu_entropy: true,
            device_entropy: true,
            node_config: None,
            network: None,
            card_options: String::new(),
            paused: false,
            reboots: false,
            debugger: None,
            counted: None,
            typed: false,
            on_line: None,
        }
    }

    /// The board; q35 unless told.
    pub fn board(mut self, board: Board) -> MachineConfig {
        self.board = board;
        self
    }

    /// Boots with the firmware that QEMU gives the board by itself (SeaBIOS), even where qboot is
    /// installed, which is faster.
    pub fn own_firmware(mut self) -> MachineConfig {
        self.own_firmware = true;
        self
    }

    /// The number of CPUs, at least one.
    pub fn cpus(mut self, cpus: u8) -> MachineConfig {
        self.cpus = cpus.max(1);
        self
    }

    /// How many CPUs it has.
    pub fn cpu_count(&self) -> u8 {
        self.cpus
    }

    /// QEMU's name of the CPU, with features to add and leave out, in place of all that the
    /// accelerator can do.
    pub fn cpu(mut self, model: impl Into<String>) -> MachineConfig {
        self.cpu = Some(model.into());
        self
    }

    /// The guest's memory in MiB.
    pub fn memory_mib(mut self, memory_mib: u32) -> MachineConfig {
        self.memory_mib = memory_mib;
        self
    }

    /// The accelerator, in place of the one that [`Accelerator::detect`] chose.
    pub fn accelerator(mut self, accelerator: Accelerator) -> MachineConfig {
        self.accelerator = accelerator;
        self
    }

    /// A file handed to the kernel as its initial RAM disk.
    pub fn initrd(mut self, initrd: impl AsRef<Path>) -> MachineConfig {
        self.initrd = Some(initrd.as_ref().to_path_buf());
        self
    }

    /// The same, from bytes that are in no file: a node runs the bundle that it finds there.
    pub fn module(mut self, module: impl Into<Vec<u8>>) -> MachineConfig {
        self.module = Some(module.into());
        self
    }

    /// The kernel's command line. It is visible to every user of the host: no secrets here.
    pub fn command_line(mut self, command_line: impl Into<String>) -> MachineConfig {
        self.command_line = command_line.into();
        self
    }

    /// The node's configuration, which the kernel reads as `fw_cfg` file `opt/craton/config`.
    pub fn node_config(mut self, node_config: impl Into<Vec<u8>>) -> MachineConfig {
        self.node_config = Some(node_config.into());
        self
    }

    /// Plugs a virtio network card with this address into a port of a LAN.
    pub fn network(mut self, port: Port, mac: Mac) -> MachineConfig {
        self.network = Some((Cable::Lan(port), mac));
        self
    }

    /// Plugs a virtio network card with this address into a tap, which completes checksums and cuts
    /// segments for it.
    pub fn tap(mut self, tap: &Tap, mac: Mac) -> MachineConfig {
        self.network = Some((Cable::Tap(tap.name().into(), tap.queues()), mac));
        self
    }

    /// Options of the network card as QEMU names them, such as `mrg_rxbuf=off,host_mtu=1400`.
    pub fn card_options(mut self, options: &str) -> MachineConfig {
        self.card_options = options.into();
        self
    }

    /// Which sources of randomness the machine has: the CPU's instructions, the virtio device. Both
    /// unless told.
    pub fn entropy(mut self, cpu: bool, device: bool) -> MachineConfig {
        self.cpu_entropy = cpu;
        self.device_entropy = device;
        self
    }

    /// Starts the machine with its CPUs stopped.
    pub fn paused(mut self) -> MachineConfig {
        self.paused = true;
        self
    }

    /// Lets a reset start the machine anew; without, it ends QEMU.
    pub fn reboots(mut self) -> MachineConfig {
        self.reboots = true;
        self
    }

    /// Lets gdb attach at this TCP port of the host, from the host alone.
    pub fn debugger(mut self, port: u16) -> MachineConfig {
        self.debugger = Some(port);
        self
    }

    /// Gives the machine a clock that counts its instructions, 2 to the power of `shift`
    /// nanoseconds for each: what it measures is the same on a busy host. It is emulated then,
    /// one CPU at a time.
    pub fn counted(mut self, shift: u8) -> MachineConfig {
        self.counted = Some(shift);
        self.accelerator = Accelerator::Tcg;
        self
    }

    /// Lets [`super::Machine::type_line`] type on the serial console.
    pub fn typed(mut self) -> MachineConfig {
        self.typed = true;
        self
    }

    /// Calls `sink` with each line of serial output, as it comes, on the thread that reads it.
    /// A slow sink slows the machine's serial port down.
    pub fn on_line(mut self, sink: impl FnMut(&str) + Send + 'static) -> MachineConfig {
        self.on_line = Some(Box::new(sink));
        self
    }
}

/// QEMU's arguments for this machine.
pub(super) fn arguments(config: &MachineConfig) -> Vec<OsString> {
    let mut list = Arguments(Vec::new());
    let pci = config.board != Board::Microvm;
    let (accel, cpu) = match config.accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Tcg => ("tcg", "max"),
    };
    let board = match config.board {
        Board::Q35 => "q35",
        Board::Pc => "pc",
        Board::Microvm => "microvm,x-option-roms=off",
    };
    list.pair("-machine", format!("{board},accel={accel}"));
    if !pci {
        // QEMU's default for devices in memory is the protocol from before version 1.
        list.pair("-global", "virtio-mmio.force-legacy=off");
    }
    if !config.own_firmware && Path::new(QBOOT).exists() {
        list.pair("-bios", QBOOT);
    }
    let without = if config.cpu_entropy { "" } else { ",-rdrand,-rdseed" };
    let cpu = config.cpu.as_deref().unwrap_or(cpu);
    list.pair("-cpu", format!("{cpu}{without}"));
    list.pair("-smp", config.cpus.to_string());
    list.pair("-m", format!("{}M", config.memory_mib));
    list.0.push("-nodefaults".into());
    if !config.reboots {
        list.0.push("-no-reboot".into());
    }
    list.pair("-display", "none");
    list.pair("-chardev", "stdio,id=serial,signal=off");
    list.pair("-serial", "chardev:serial");
    list.pair("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04");
    if config.device_entropy {
        list.pair("-device", if pci { "virtio-rng-pci" } else { "virtio-rng-device" });
    }
    if let Some((cable, mac)) = &config.network {
        let (cable, queues) = cable_arguments(cable);
        let device = if pci { "virtio-net-pci,romfile=" } else { "virtio-net-device" };
        let comma = if config.card_options.is_empty() { "" } else { "," };
        let options = format!("{queues}{comma}{}", config.card_options);
        list.pair("-netdev", cable);
        list.pair("-device", format!("{device},netdev=lan,mac={mac}{options}"));
    }
    if config.node_config.is_some() {
        list.pair("-fw_cfg", format!("name=opt/craton/config,file=/dev/fd/{CONFIG_FD}"));
    }
    list.pair("-kernel", &config.kernel);
    if let Some(initrd) = &config.initrd {
        list.pair("-initrd", initrd);
    } else if config.module.is_some() {
        list.pair("-initrd", format!("/dev/fd/{MODULE_FD}"));
    }
    if !config.command_line.is_empty() {
        list.pair("-append", &config.command_line);
    }
    if let Some(port) = config.debugger {
        list.pair("-gdb", format!("tcp:127.0.0.1:{port}"));
    }
    if let Some(shift) = config.counted {
        list.pair("-icount", format!("shift={shift}"));
    }
    if config.paused {
        list.0.push("-S".into());
    }
    list.0
}

/// What a cable is to QEMU, and what the card must be told of it.
fn cable_arguments(cable: &Cable) -> (String, String) {
    match cable {
        Cable::Lan(_) => (format!("socket,id=lan,fd={NETWORK_FD}"), String::new()),
        Cable::Tap(name, queues) => {
            let tap = format!("tap,id=lan,ifname={name},script=no,downscript=no,queues={queues}");
            // An interrupt for each queue, one for the configuration and one for commands.
            let vectors = 2 * u16::from(*queues) + 2;
            let card =
                if *queues > 1 { format!(",mq=on,vectors={vectors}") } else { String::new() };
            (tap, card)
        }
    }
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn pair(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lan::Lan;

    fn text(config: &MachineConfig) -> String {
        let list: Vec<_> =
            arguments(config).into_iter().map(|one| one.into_string().unwrap()).collect();
        format!(" {} ", list.join(" "))
    }

    #[test]
    fn the_secret_configuration_is_not_in_the_arguments() {
        let config = MachineConfig::new("kernel.elf").node_config(b"noise-key=5ec2e7\n".to_vec());
        let text = text(&config);
        assert!(!text.contains("5ec2e7"), "{text}");
        assert!(text.contains("name=opt/craton/config,file=/dev/fd/4"), "{text}");
    }

    #[test]
    fn each_accelerator_gets_its_cpu_model() {
        let config = MachineConfig::new("k").accelerator(Accelerator::Tcg);
        assert!(text(&config).contains(" -cpu max "));
        assert!(text(&config).contains("accel=tcg"));
        let config = config.accelerator(Accelerator::Kvm);
        assert!(text(&config).contains(" -cpu host "));
        let chosen = MachineConfig::new("k").cpu("qemu64,-nx").entropy(false, true);
        assert!(text(&chosen).contains(" -cpu qemu64,-nx,-rdrand,-rdseed "));
        assert!(text(&config).contains("accel=kvm"));
    }

    #[test]
    fn microvm_has_no_pci_device() {
        let lan = Lan::new(1);
        let port = lan.attach().unwrap();
        let mac = crate::node_mac(1);
        let config = MachineConfig::new("k").board(Board::Microvm).network(port, mac);
        let text = text(&config);
        assert!(!text.contains("-pci"), "{text}");
        assert!(text.contains(&format!("virtio-net-device,netdev=lan,mac={mac}")), "{text}");
        assert!(text.contains(" -global virtio-mmio.force-legacy=off "), "{text}");
    }

    #[test]
    fn a_board_may_keep_its_own_firmware() {
        assert!(!text(&MachineConfig::new("k").own_firmware()).contains("-bios"));
        let given = text(&MachineConfig::new("k")).contains(" -bios ");
        assert_eq!(given, Path::new(QBOOT).exists());
    }

    #[test]
    fn a_machine_reboots_only_where_that_is_wanted() {
        assert!(text(&MachineConfig::new("k")).contains(" -no-reboot "));
        assert!(!text(&MachineConfig::new("k").reboots()).contains("-no-reboot"));
    }

    #[test]
    fn a_debugger_attaches_from_this_host_alone() {
        assert!(!text(&MachineConfig::new("k")).contains("-gdb"));
        let config = MachineConfig::new("k").debugger(1234).paused();
        assert!(text(&config).contains(" -gdb tcp:127.0.0.1:1234 -S "));
    }

    #[test]
    fn an_empty_command_line_is_not_passed() {
        assert!(!text(&MachineConfig::new("k")).contains("-append"));
        let config = MachineConfig::new("k").command_line("selftest");
        assert!(text(&config).contains(" -append selftest "));
    }
}
