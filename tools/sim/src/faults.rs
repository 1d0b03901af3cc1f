//! What goes wrong, and when: drawn from the seed before the run begins.
//!
//! Owns [`Fault`] and the plan.

use crate::net::{Place, Ways};
use crate::random::Random;
use craton_abi::{Duration, Instant};

#[derive(Copy, Clone, Debug)]
pub(crate) enum Fault {
    /// All connections between two machines break.
    Break(Place, Place),
    /// Bytes between two machines stand still for a while.
    Hold(Place, Place, Duration),
    /// Nothing passes between two machines for a while.
    Cut(Place, Place, Duration),
    /// Something does not pass from one machine to another for a while, nor back if `both`.
    Part { from: Place, to: Place, both: bool, ways: Ways, time: Duration },
    /// Nothing passes between the machines of this set of bits and all others for a while.
    Split(usize, Duration),
    /// Nothing passes between a machine and all others for a while.
    Isolate(Place, Duration),
    /// A machine stands still for a while.
    Pause(Place, Duration),
    /// A machine goes dark, and is started again after a while.
    Crash(Place, Duration),
    /// Datagrams are lost, doubled and late for a while.
    Weather { loss: u64, duplicates: u64, delay: Duration },
    /// The operator's tool is killed and started again.
    Operator,
}

/// The faults of one run, in order.
pub(crate) fn plan(
    nodes: usize,
    from: Instant,
    to: Instant,
    random: &mut Random,
) -> Vec<(Instant, Fault)> {
    let mut at = from;
    let mut plan = Vec::new();
    // Some runs are calm, most are not.
    let calm = random.chance(10);
    loop {
        at += random.millis(400, 5_000);
        if at >= to || calm {
            return plan;
        }
        let a = random.below(nodes);
        let b = (a + 1 + random.below(nodes - 1)) % nodes;
        let fault = match random.below(130) {
            100..=111 => Fault::Part {
                from: a,
                to: b,
                both: random.chance(60),
                ways: [Ways::All, Ways::Streams, Ways::Streams, Ways::Datagrams][random.below(4)],
                time: random.millis(500, 9_000),
            },
            112..=117 => {
                Fault::Split(1 + random.below((1 << nodes) - 2), random.millis(500, 9_000))
            }
            // Back before anybody can have missed it.
            118..=123 => Fault::Crash(a, random.millis(1, 60)),
            0..=19 => Fault::Break(a, b),
            20..=34 => Fault::Hold(a, b, random.millis(50, 4_500)),
            35..=39 => Fault::Hold(a, b, random.millis(5_000, 9_000)),
            40..=49 => Fault::Cut(a, b, random.millis(100, 9_000)),
            50..=57 => Fault::Isolate(a, random.millis(200, 9_000)),
            58..=67 => Fault::Pause(a, random.millis(50, 2_000)),
            68..=71 => Fault::Pause(a, random.millis(4_000, 9_000)),
            72..=82 => Fault::Crash(a, random.millis(100, 9_000)),
            83..=94 => Fault::Weather {
                loss: random.number() % 20,
                duplicates: random.number() % 10,
                delay: random.millis(1, 60),
            },
            _ => Fault::Operator,
        };
        plan.push((at, fault));
    }
}
