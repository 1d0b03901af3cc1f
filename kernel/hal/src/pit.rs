//! The 8254 timer: a clock of known frequency to measure the others by, and nothing else.
//!
//! Owns channel 2 (Intel 8254; its gate and output are at port 0x61), which raises no interrupt.

use x86_64::instructions::port::Port;

/// The frequency of the 8254, since 1981.
pub(crate) const FREQUENCY_HZ: u64 = 1_193_182;

const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
const GATE: u16 = 0x61;
/// Channel 2, low then high byte, mode 0 (count down once).
const COUNT_DOWN: u8 = 0b1011_0000;
/// Channel 2, hold the count for reading.
const LATCH: u8 = 0b1000_0000;
/// Channel 2, read back its status and not its count.
const READ_STATUS: u8 = 0b1110_1000;
/// Status: the output, which rises when the count has come to its end.
const STATUS_OUTPUT: u8 = 1 << 7;
/// Port 0x61: the channel counts; the loudspeaker is not connected.
const GATE_ON: u8 = 1;
const SPEAKER_ON: u8 = 2;

fn write(port: u16, value: u8) {
    let mut port = Port::<u8>::new(port);
    // SAFETY: The ports are of channel 2 of the 8254, which nothing else uses.
    unsafe { port.write(value) }
}

fn read(port: u16) -> u8 {
    let mut port = Port::<u8>::new(port);
    // SAFETY: As above; reading changes nothing but which half of the count comes next.
    unsafe { port.read() }
}

/// Starts counting down from 65535, for 55 ms.
pub(crate) fn start() {
    write(GATE, read(GATE) & !(SPEAKER_ON | GATE_ON));
    write(COMMAND, COUNT_DOWN);
    write(CHANNEL_2, 0xff);
    write(CHANNEL_2, 0xff);
    write(GATE, read(GATE) | GATE_ON);
}

/// The count now.
pub(crate) fn count() -> u16 {
    write(COMMAND, LATCH);
    let low = read(CHANNEL_2);
    u16::from(read(CHANNEL_2)) << 8 | u16::from(low)
}

/// Whether the count has come to its end since [`start`]: it begins anew then, and says nothing.
pub(crate) fn has_ended() -> bool {
    write(COMMAND, READ_STATUS);
    read(CHANNEL_2) & STATUS_OUTPUT != 0
}
