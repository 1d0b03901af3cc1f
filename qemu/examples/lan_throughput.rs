//! Prints what the LAN's switch carries between two ports.
//!
//! Run it by `cargo run --release --example lan_throughput -p craton-qemu`. Owns nothing.
//!
//! Frames of 1,514 bytes for ten seconds at most, from one socket to another, without QEMU.

use craton_qemu::Lan;
use std::io::{Read, Write};
use std::time::Instant;

const FRAME_BYTES: usize = 1514;
const FRAMES_A_WRITE: usize = 16;
const WRITES: usize = 50_000;

fn main() -> std::io::Result<()> {
    let lan = Lan::new(1);
    let mut sender = lan.attach()?.into_socket();
    let mut receiver = lan.attach()?.into_socket();
    let mut frame = (FRAME_BYTES as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&[0xff; 6]);
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame.resize(4 + FRAME_BYTES, 0);
    let burst = frame.repeat(FRAMES_A_WRITE);
    let started = Instant::now();
    let mut received = 0_u64;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..WRITES {
                sender.write_all(&burst).expect("the LAN lives");
            }
            // Closing the port ends the LAN's reading; the receiver stops at the count below.
        });
        let mut buffer = vec![0; 1 << 18];
        let idle = std::time::Duration::from_millis(500);
        let _ = receiver.set_read_timeout(Some(idle));
        while let Ok(count @ 1..) = receiver.read(&mut buffer) {
            received += count as u64;
            if received == (WRITES * FRAMES_A_WRITE * (FRAME_BYTES + 4)) as u64 {
                break;
            }
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let frames = received / (FRAME_BYTES as u64 + 4);
    println!(
        "{frames} of {} frames in {seconds:.2} s: {:.2} Gbit/s",
        WRITES * FRAMES_A_WRITE,
        received as f64 * 8.0 / seconds / 1e9
    );
    Ok(())
}
