//! `selftest=card` on the command line: the network card's pairs of queues, one on each CPU.
//!
//! Owns [`run`]. Each CPU asks for the address 10.77.0.1 by ARP through a pair of its own, under
//! many addresses of its own, and sleeps until that pair interrupts it. The host at the other end
//! (a tap with as many queues) answers through the queue that it learned each asker's from.

use crate::start::{card_interrupts, devices};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use craton_abi::{Duration, Instant, Offload};
use craton_hal::pci::{DEVICE_VECTOR_FIRST, DEVICE_VECTOR_LAST, note_interrupt};
use craton_hal::power::{self, ExitCode};
use craton_hal::virtio::net::{Interrupt, Net, Pair};
use craton_hal::{clock, cpu, interrupt, serial, smp, timer};

/// Questions of each CPU.
const QUESTIONS: u8 = 32;
/// CPUs that take part: their addresses must fit a network of 8 bits.
const CPUS_MAX: usize = 4;
const OWN_ADDRESS_FIRST: u8 = 100;
const PEER: [u8; 4] = [10, 77, 0, 1];
/// How long the answers may take, and how long one sleep.
const PATIENCE: Duration = Duration::from_secs(20);
const NAP: Duration = Duration::from_millis(100);
/// An ARP packet for IPv4 over Ethernet (RFC 826), and its header of Ethernet.
const FRAME_BYTES: usize = 42;
const ARP_HEAD: [u8; 8] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4];
const ARP_REPLY: [u8; 2] = [0, 2];

const _: () = assert!(
    CPUS_MAX * QUESTIONS as usize + OWN_ADDRESS_FIRST as usize <= 255,
    "every question has an address of its own"
);
const _: () = assert!(
    CPUS_MAX <= (DEVICE_VECTOR_LAST - DEVICE_VECTOR_FIRST) as usize + 1,
    "every pair has a vector of its own"
);

/// What all CPUs count together.
#[derive(Default)]
struct Counts {
    answers: AtomicUsize,
    finished: AtomicUsize,
    /// Of each CPU: answers, and interrupts of its pair.
    each: [[AtomicU64; 2]; CPUS_MAX],
}

/// Runs the test and ends the machine.
pub(crate) fn run() -> ! {
    let outcome = test();
    match &outcome {
        Ok(said) => serial::write(format_args!("ok card_pairs: {said}\n")),
        Err(why) => serial::write(format_args!("FAILED card_pairs: {why}\n")),
    }
    let failed = usize::from(outcome.is_err());
    serial::write(format_args!("selftest: {} passed, {failed} failed\n", 1 - failed));
    power::end(if failed == 0 { ExitCode::Success } else { ExitCode::Failure })
}

fn test() -> Result<String, String> {
    let cpus = cpu::count().min(CPUS_MAX);
    let interrupts = card_interrupts(cpus);
    for Interrupt { vector, .. } in &interrupts {
        interrupt::set_handler(*vector, note_interrupt);
    }
    let mut devices = devices();
    let device = Net::find(&devices).ok_or("no network card")?;
    let net = Net::open(&mut devices, &device, &interrupts)
        .map_err(|error| format!("the network card does not start: {error}"))?;
    let mac = net.info().mac;
    let pairs: Vec<Pair> = net.into_pairs().collect();
    if pairs.len() != cpus {
        return Err(format!("{} pairs for {cpus} CPUs", pairs.len()));
    }
    let counts = Arc::new(Counts::default());
    // The boot CPU's comes last: what it does is done here.
    for (cpu, pair) in pairs.into_iter().enumerate().rev() {
        let counts = counts.clone();
        let ask = move || ask(cpu, cpus, pair, mac, &counts);
        if cpu == 0 { ask() } else { smp::run_on(cpu, Box::new(ask)) }
    }
    judge(&counts, cpus)
}

/// Asks and hears all answers that come by this pair.
fn ask(cpu: usize, cpus: usize, mut pair: Pair, mac: [u8; 6], counts: &Counts) {
    let limit = clock::now() + PATIENCE;
    let (_, transmitter) = pair.halves();
    let first = OWN_ADDRESS_FIRST + cpu as u8 * QUESTIONS;
    for own in first..first + QUESTIONS {
        let question = question(mac, own);
        transmitter.transmit(FRAME_BYTES, |frame| {
            frame.copy_from_slice(&question);
            ((), Offload::None)
        });
    }
    transmitter.flush();
    let all = cpus * usize::from(QUESTIONS);
    while counts.answers.load(Ordering::Acquire) < all && clock::now() < limit {
        hear(cpu, &mut pair, counts);
    }
    counts.each[cpu][1].store(pair.interrupts(), Ordering::Release);
    counts.finished.fetch_add(1, Ordering::Release);
    // A pair that is dropped stops the device, which other CPUs may use still; the machine ends.
    core::mem::forget(pair);
}

/// Sleeps until something comes, and counts the answers in it.
fn hear(cpu: usize, pair: &mut Pair, counts: &Counts) {
    timer::halt_at_most(NAP, || pair.arm());
    let (receiver, _) = pair.halves();
    while let Some(answer) = receiver.receive(|frame, _| is_answer(frame)) {
        if answer {
            counts.each[cpu][0].fetch_add(1, Ordering::Release);
            counts.answers.fetch_add(1, Ordering::Release);
        }
    }
}

fn judge(counts: &Counts, cpus: usize) -> Result<String, String> {
    let limit: Instant = clock::now() + PATIENCE;
    while counts.finished.load(Ordering::Acquire) < cpus && clock::now() < limit {
        core::hint::spin_loop();
    }
    let each: Vec<[u64; 2]> = counts.each[..cpus]
        .iter()
        .map(|each| each.each_ref().map(|count| count.load(Ordering::Acquire)))
        .collect();
    let all = cpus * usize::from(QUESTIONS);
    let said = format!("answers and interrupts of each pair: {each:?}");
    let whole = counts.answers.load(Ordering::Acquire) == all;
    if whole && each.iter().flatten().all(|count| *count > 0) { Ok(said) } else { Err(said) }
}

/// Who has the peer's address? Tell this one of ours.
fn question(mac: [u8; 6], own: u8) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..20].copy_from_slice(&ARP_HEAD);
    frame[21] = 1;
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&[10, 77, 0, own]);
    frame[38..].copy_from_slice(&PEER);
    frame
}

fn is_answer(frame: &[u8]) -> bool {
    let part = |at: usize, bytes: usize| frame.get(at..at + bytes).unwrap_or(&[]);
    part(12, 8) == ARP_HEAD && part(20, 2) == ARP_REPLY && part(28, 4) == PEER
}
