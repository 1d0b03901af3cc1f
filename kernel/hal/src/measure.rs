//! What the machine costs, measured on itself, for words such as `timerbench` on the command line.
//!
//! Owns [`timer`]. The figures go to the serial port as they are; `make bench` sums them up.

use crate::{clock, serial, timer};
use craton_abi::{Duration, Instant};

/// Times that the timer is waited for, in lines of so many.
const LINES: u64 = 20;
const SAMPLES_PER_LINE: u64 = 10;
/// The waits: from a half to one and a half milliseconds, so that none keeps step with the host.
const SHORTEST: Duration = Duration::from_micros(500);
const STEP: Duration = Duration::from_micros(5);

/// Halts until the timer's time again and again, as a node with nothing to do does, and prints by
/// how much each time was missed: `bench timer.late NANOS NANOS ... ns`.
pub fn timer() {
    for line in 0..LINES {
        let mut late = [0; SAMPLES_PER_LINE as usize];
        for (index, late) in (0..).zip(&mut late) {
            let steps = line * SAMPLES_PER_LINE + index;
            let wait = SHORTEST.as_nanos() + steps * STEP.as_nanos();
            *late = miss(clock::now() + Duration::from_nanos(wait)).as_nanos();
        }
        serial::write(format_args!("bench timer.late{} ns\n", Numbers(&late)));
    }
}

/// Halts until `due`, and says how long after it the CPU was there again.
fn miss(due: Instant) -> Duration {
    loop {
        let now = clock::now();
        if now >= due {
            return now.since(due);
        }
        timer::halt_at_most(due.since(now), || false);
    }
}

struct Numbers<'a>(&'a [u64]);

impl core::fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|number| write!(f, " {number}"))
    }
}
