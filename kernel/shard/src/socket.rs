//! The shard's part in sockets: it passes calls on and answers back, and says who has ended.
//!
//! Whoever has the network keeps the sockets (docs/decisions/0020). The shard knows of a process
//! only whether it may have any: then its end is told there, whenever and however it comes.

use crate::port::{Effect, HostReply};
use crate::process::State;
use crate::shard::{Shard, Whereabouts, may_signal};
use alloc::boxed::Box;
use alloc::vec::Vec;
use craton_abi::{AppId, Duration, Pid, Slot, SocketCall, SocketEvent, SocketId, SocketOrder};

impl Shard {
    pub(crate) fn call_socket(
        &mut self,
        slot: Slot,
        call: SocketCall,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        let from = self.pid(slot);
        let process = self.live_mut(slot)?;
        process.state = State::OnSocket { doing: call.doing() };
        process.has_sockets = true;
        let app = process.app;
        out.push(Effect::Socket(SocketOrder::Call { from, app, call }));
        None
    }

    /// Sets a timer that a socket may hasten.
    pub(crate) fn call_watch(
        &mut self,
        slot: Slot,
        socket: SocketId,
        (after, tag): (Duration, u64),
        out: &mut Vec<Effect>,
    ) -> HostReply {
        let (reply, owner) = (self.call_set_timer(slot, after, tag), self.pid(slot));
        if let HostReply::Timer(timer) = reply
            && let Some(process) = self.live_mut(slot)
        {
            process.has_sockets = true;
            out.push(Effect::Socket(SocketOrder::Watch { owner, socket, timer }));
        }
        reply
    }

    /// What whoever has the network says.
    pub(crate) fn socket(&mut self, event: SocketEvent, out: &mut Vec<Effect>) {
        match event {
            SocketEvent::Done { to, reply } => {
                if self.find(to) != Whereabouts::Here {
                    // It was killed while it waited; its sockets went with it.
                    return;
                }
                match self.live(to.slot).map(|process| &process.state) {
                    Some(State::OnSocket { .. }) => {
                        self.reply(to.slot, HostReply::Socket(Box::new(reply)));
                    }
                    _ => self.refuse(to, "an answer of the network nobody asked for", to, out),
                }
            }
            SocketEvent::Ready { to, timer } => {
                let due = self.target_of(to).and_then(|process| process.mailbox.ring_early(timer));
                // Otherwise it was due, or taken back, meanwhile.
                if let Some(due) = due {
                    self.timers.cancel_alarm(due, timer);
                    self.arrived(to.slot, out);
                }
            }
            SocketEvent::Given { to, app, socket } => self.socket_given(to, app, socket, out),
        }
    }

    /// A connection was given to a process: it closes with it, unless it may not have it.
    fn socket_given(&mut self, to: Pid, app: AppId, socket: SocketId, out: &mut Vec<Effect>) {
        let order = match self.target_of(to) {
            Some(process) => {
                process.has_sockets = true;
                if may_signal(app, process.app) {
                    return;
                }
                SocketOrder::Refuse { owner: to, socket }
            }
            None => SocketOrder::Release { owner: to, orderly: false },
        };
        out.push(Effect::Socket(order));
    }
}
