//! A CPU that has nothing to do runs what waits for another.

use crate::bed::{Bed, ask_processes, compile_for, run_quiet};
use craton_abi::ShardId;
use craton_wire::{Answer, ProcessInfo, Question};

/// Computes for ever.
const SPIN: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "main") (loop $more (br $more))))"#;
/// So many at once, on a machine of two CPUs.
const SPINNING: usize = 3;

/// The parts that play consoles are on CPU 0 and count, so what a run starts goes to CPU 1.
#[test]
fn an_idle_cpu_runs_what_waits_for_another() {
    let bed = Bed::boot_with(1, 2, "log=warn");
    let spin = compile_for("spin", SPIN, &bed.keys);
    spin_and_kill(&bed, &spin);
    let before = bed.settled(0);
    spin_and_kill(&bed, &spin);
    bed.expect_memory_back(0, &before);
}

fn spin_and_kill(bed: &Bed, spin: &[u8]) {
    std::thread::scope(|scope| {
        let run = || run_quiet(&mut bed.client(0), spin, &[]).unwrap().reason.to_string();
        let runs: Vec<_> = (0..SPINNING).map(|_| scope.spawn(run)).collect();
        let mut client = bed.client(0);
        let spinning = bed.eventually("CPU 0 runs one of CPU 1's", || {
            let all = ask_processes(&mut client).unwrap();
            let mains: Vec<ProcessInfo> = all.into_iter().filter(|p| p.entry == "main").collect();
            let lent = mains.iter().filter(|main| main.state == "running on CPU 0").count();
            // What it used there is told once a second.
            let told = mains.iter().all(|main| main.cpu_nanos > 0 && main.memory_bytes > 0);
            (mains.len() == SPINNING && lent > 0 && told).then_some(mains)
        });
        for main in spinning {
            assert_eq!(main.pid.slot.shard(), ShardId::new(1), "{main:?}");
            let killed = client.ask(Question::Kill { pid: main.pid }).unwrap();
            assert_eq!(killed, Answer::Killed);
        }
        for run in runs {
            assert_eq!(run.join().unwrap(), "killed");
        }
    });
}
