//! The world gone wrong, and healed.
//!
//! Adds to [`World`] what each fault does.

use crate::actor::Phase;
use crate::faults::Fault;
use crate::net::{NODES, OPERATOR, Place, Ways};
use crate::world::{Event, World};
use craton_abi::{Duration, Instant};

impl World {
    pub(crate) fn go_wrong(&mut self, fault: Fault) {
        self.trace.note(self.now, format_args!("fault {fault:?}"));
        match fault {
            Fault::Break(a, b) => {
                self.break_streams(true, |ends| *ends == [a, b] || *ends == [b, a]);
            }
            Fault::Hold(a, b, time) => self.net.hold(a, b, self.now + time),
            Fault::Cut(a, b, time) => self.part(a, b, true, Ways::All, time),
            Fault::Part { from, to, both, ways, time } => self.part(from, to, both, ways, time),
            Fault::Isolate(a, time) => {
                for b in (0..=OPERATOR).filter(|b| *b != a) {
                    self.part(a, b, true, Ways::All, time);
                }
            }
            Fault::Split(set, time) => {
                let inside = |place: &Place| set & (1 << place) != 0;
                for a in (0..NODES).filter(inside) {
                    for b in (0..NODES).filter(|b| !inside(b)) {
                        self.part(a, b, true, Ways::All, time);
                    }
                }
            }
            Fault::Pause(a, time) => {
                self.deliver_mail(a);
                self.machines[a].paused_until = self.now + time;
            }
            Fault::Crash(a, time) => {
                self.crash(a);
                self.at(self.now + time, Event::Boot(a));
            }
            Fault::Weather { loss, duplicates, delay } => {
                self.net.loss_percent = loss;
                self.net.duplicate_percent = duplicates;
                self.net.delay_max = delay;
            }
            Fault::Operator => {
                self.break_streams(true, |ends| ends.contains(&OPERATOR));
                self.operator.restart(&mut self.random);
            }
        }
    }

    fn part(&mut self, from: Place, to: Place, both: bool, ways: Ways, time: Duration) {
        self.net.cut(from, to, ways);
        if both {
            self.net.cut(to, from, ways);
        }
        self.at(self.now + time, Event::Mend(from, to));
    }

    pub(crate) fn crash(&mut self, place: Place) {
        if !self.machines[place].alive {
            return;
        }
        self.machines[place].alive = false;
        self.break_streams(false, |ends| ends.contains(&place));
        self.machines[place].actors.clear();
        self.machines[place].transit.clear();
        self.life_ended(place);
    }

    pub(crate) fn mend(&mut self, a: Place, b: Place) {
        self.net.mend(a, b);
        let mut ends = Vec::new();
        for stream in self.net.streams.values() {
            ends.extend((0..2).filter(|side| stream.stalled[*side]).map(|side| stream.ends[side]));
        }
        for end in ends {
            self.pump_end(end);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.trace.note(self.now, format_args!("heal"));
        self.phase = Phase::Drain;
        self.net.heal();
        for place in 0..NODES {
            self.machines[place].paused_until = Instant::ZERO;
            self.boot(place);
            self.mend(place, OPERATOR);
            self.schedule_ticks(place);
        }
    }

    /// Delivers all mail between the CPUs of a machine, in order. It takes less time than anybody
    /// measures, unless the machine is stopped meanwhile; then all that its log says would be late.
    fn deliver_mail(&mut self, place: Place) {
        loop {
            let is_mail =
                |event: &Event| matches!(event, Event::Mail { place: at, .. } if *at == place);
            let mut events = self.events.iter();
            let Some(key) = events.find(|(_, event)| is_mail(event)).map(|(key, _)| *key) else {
                return;
            };
            if let Some(event) = self.events.remove(&key) {
                self.happen(event);
            }
        }
    }
}
