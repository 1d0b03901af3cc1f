//! Processes that do anything, killed at any time, under a seed.
//!
//! A model knows what each connection carries: every byte that is read must be the next one that
//! was written at its other end. Afterwards nothing may be left of anybody.

use super::*;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn timeout(&mut self) -> Option<Duration> {
        match self.below(4) {
            0 => None,
            1 => Some(Duration::ZERO),
            _ => Some(Duration::from_millis(self.below(200))),
        }
    }
}

/// What a process does next; most of it makes sense, some does not.
fn any_call(random: &mut Random, processes: &[Pid]) -> SocketCall {
    let socket = SocketId::new(random.below(12) as u32);
    let timeout = random.timeout();
    let to =
        SocketAddr::new(ADDRESSES[random.below(2) as usize].into(), 80 + random.below(4) as u16);
    match random.below(14) {
        0 => SocketCall::Listen { port: 80 + random.below(4) as u16, bulk: false },
        1 | 2 => SocketCall::Accept { socket, timeout },
        3 | 4 => SocketCall::Connect { to, bulk: random.below(2) == 0, timeout },
        5 | 6 => SocketCall::Read { socket, bytes_max: random.below(9_000) as usize, timeout },
        7 | 8 => write(socket, &vec![7; random.below(70_000) as usize], timeout),
        9 => SocketCall::Finish { socket },
        10 => SocketCall::Close { socket },
        11 => SocketCall::Give { socket, to: processes[random.below(8) as usize] },
        12 => SocketCall::Take { timeout },
        _ => match random.below(4) {
            0 => SocketCall::Bind { port: random.below(3) as u16 },
            1 => SocketCall::SendTo { socket, to, bytes: Payload(vec![1; 100]) },
            2 => SocketCall::ReceiveFrom { socket, bytes_max: 50, timeout },
            _ => SocketCall::Resolve { name: String::from("a.example"), timeout },
        },
    }
}

fn check(world: &World) {
    for Machine { cpus, shared, mail, .. } in &world.machines {
        let counted: usize = cpus
            .iter()
            .flat_map(|cpu| cpu.sockets.homes.values())
            .map(|home| home.sockets.len())
            .sum();
        assert_eq!(counted, shared.sockets());
        let held = cpus.iter().flat_map(|cpu| cpu.sockets.holders.values());
        let held: usize = held.map(|holder| holder.sockets.len()).sum();
        // Numbers and ends may be under way.
        assert!(held == counted || !mail.is_empty(), "{held} of {counted}");
        for Cpu { sockets, .. } in cpus {
            let waiting = sockets.holders.values().filter_map(|holder| holder.waiting.as_ref());
            let limited = waiting.filter_map(|waiting| waiting.deadline).count();
            assert_eq!(limited, sockets.deadlines.len());
        }
    }
}

/// One world of eight processes, for so many steps.
fn chaos(cpus: u8, seed: u64, steps: u32) {
    let mut random = Random(seed);
    let mut world = World::with(cpus, seed);
    let mut processes: Vec<Pid> = (0..8).map(|index| world.process(index % 2)).collect();
    let (mut timer, mut fulfilled) = (0, BTreeSet::new());
    for _ in 0..steps {
        let which = random.below(8) as usize;
        let pid = processes[which];
        if random.below(60) == 0 {
            world.end(pid, random.below(2) == 0);
            processes[which] = world.process(which % 2);
        } else if world.answer(pid).is_some() || !world.machine(pid).asking.contains(&pid) {
            let call = any_call(&mut random, &processes);
            world.ask(pid, call);
        }
        if random.below(10) == 0 {
            timer += 1;
            world.watch(processes[which], SocketId::new(random.below(12) as u32), timer);
        }
        for timer in world.fulfilled(processes[which]) {
            assert!(fulfilled.insert(timer), "{timer} twice");
        }
        if random.below(3) == 0 {
            world.step();
        }
        check(&world);
    }
    assert!(fulfilled.len() > 10, "seed {seed}");
    for pid in processes {
        world.end(pid, false);
    }
    // Closed in order before: those may take as long as they may linger.
    world.run(Duration::from_secs(31));
    world.expect_empty();
}

#[test]
fn whatever_processes_do_nothing_is_left() {
    for seed in 0..40 {
        let cpus = 1 + (seed % 4) as u8;
        std::eprintln!("{cpus} CPUs, seed {seed}");
        chaos(cpus, seed, 2_000);
    }
}

/// A client writes and a server reads, both in pieces and with time-outs at random: what is read is
/// what was written, no byte more or less.
#[test]
fn no_byte_is_lost_or_doubled_whatever_times_out() {
    for seed in 0..10 {
        std::eprintln!("seed {seed}");
        let mut random = Random(seed);
        let mut world = World::with(1 + (seed % 3) as u8, seed);
        let Pair { client, server, near, far, .. } = world.pair();
        let (mut written, mut got) = (0_u64, 0_u64);
        let byte = |at: u64| (at % 251) as u8;
        while got < 400_000 {
            if world.answer(client).is_some_and(|reply| {
                written += match reply {
                    SocketReply::Count(count) => u64::from(count),
                    SocketReply::Failed(ErrorCode::TimedOut) => 0,
                    other => panic!("{other:?}"),
                };
                true
            }) || !world.machine(client).asking.contains(&client)
            {
                let len = 1 + random.below(70_000);
                let text: Vec<u8> = (written..written + len).map(byte).collect();
                world.ask(client, write(near, &text, random.timeout()));
            }
            if world.machine(server).asking.contains(&server) {
                world.step();
                continue;
            }
            match world.answer(server) {
                Some(SocketReply::Bytes(bytes)) => {
                    for read in bytes.0 {
                        assert_eq!(read, byte(got), "at {got}");
                        got += 1;
                    }
                }
                Some(SocketReply::Failed(ErrorCode::TimedOut)) | None => {}
                other => panic!("{other:?}"),
            }
            let bytes_max = 1 + random.below(70_000) as usize;
            let timeout = random.timeout();
            world.ask(server, SocketCall::Read { socket: far, bytes_max, timeout });
        }
    }
}
