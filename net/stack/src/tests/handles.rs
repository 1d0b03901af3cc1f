//! Handles: tasks that await, are cancelled, and drop what they hold.

use super::link::{World, at, fixed, link};
use super::streams::{PORT, bytes};
use crate::{
    Closed, Config, ConnectError, DialOptions, ListenOptions, Owner, ResolveError, Shared, Stack,
    Usage,
};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Waker};
use craton_abi::Duration;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Task = (Arc<Flag>, Pin<Box<dyn Future<Output = ()>>>);

/// Two stacks whose tasks run when they are woken, and only then.
struct Tasks {
    world: World,
    nets: [Shared; 2],
    tasks: Vec<Task>,
}

impl Tasks {
    fn new(seed: u64) -> Tasks {
        let world = World::new(2, seed);
        let net = |index: usize| {
            let config = Config::new(link(index, false), [index as u8 + 1; 32], fixed(index));
            Shared::new(Stack::new(config, world.now), world.now)
        };
        let nets = [net(0), net(1)];
        Tasks { world, nets, tasks: Vec::new() }
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.tasks.push((Arc::new(Flag(AtomicBool::new(true))), Box::pin(task)));
    }

    /// Runs for so long; gives the number of tasks that did not end.
    fn run(&mut self, span: Duration) -> usize {
        let end = self.world.now + span;
        while self.world.now < end {
            self.tasks.retain_mut(|(flag, task)| {
                if !flag.0.swap(false, Ordering::Relaxed) {
                    return true;
                }
                let waker = Waker::from(flag.clone());
                task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            });
            let World { now, plugs, .. } = &mut self.world;
            for (net, plug) in self.nets.iter().zip(plugs.iter_mut()) {
                plug.step(*now);
                let _ = net.poll(plug, *now);
            }
            for index in 0..2 {
                for frame in core::mem::take(&mut self.world.plugs[index].outbox.frames) {
                    self.world.deliver(1 - index, &frame);
                }
            }
            self.world.now += Duration::from_micros(50);
        }
        self.tasks.len()
    }

    fn usage(&self, index: usize) -> Usage {
        self.nets[index].with(|stack| stack.usage())
    }
}

#[test]
fn streams_are_accepted_read_written_and_closed_by_dropping() {
    let mut tasks = Tasks::new(1);
    let [client, server] = tasks.nets.clone();
    let listener = server.listen(PORT, ListenOptions::default()).expect("it is free");
    tasks.spawn(async move {
        for _ in 0..3 {
            let stream = listener.accept().await;
            let mut got = Vec::new();
            while stream.read(&mut got, 10_000).await.expect("it lives") > 0 {}
            stream.write_all(&got).await.expect("it lives");
        }
    });
    let heard = Rc::new(RefCell::new(Vec::new()));
    for seed in 0..3 {
        let (client, heard) = (client.clone(), heard.clone());
        tasks.spawn(async move {
            let text = bytes(seed, 300_000);
            let stream = client.dial(at(1, PORT), DialOptions::default()).await;
            let stream = stream.expect("somebody listens");
            stream.write_all(&text).await.expect("it lives");
            stream.finish();
            let mut got = Vec::new();
            while stream.read(&mut got, 10_000).await.expect("it lives") > 0 {}
            heard.borrow_mut().push(got == text);
        });
    }
    assert_eq!(tasks.run(Duration::from_secs(3)), 0);
    assert_eq!(*heard.borrow(), [true; 3]);
    tasks.run(Duration::from_secs(1));
    assert_eq!((tasks.usage(0).streams, tasks.usage(1).streams), (0, 0));
    let refused = Rc::new(RefCell::new(None));
    let (client, told) = (client.clone(), refused.clone());
    tasks.spawn(async move {
        let stream = client.dial(at(1, PORT), DialOptions::default()).await;
        *told.borrow_mut() = stream.err();
    });
    assert_eq!(tasks.run(Duration::from_millis(50)), 0);
    let refused = refused.borrow_mut().take();
    assert_eq!(refused, Some(ConnectError::Closed(Closed::Refused)), "the listener is dropped");
}

/// A wait that is cancelled has taken nothing, and leaves nobody to be woken.
#[test]
fn waits_can_be_cancelled() {
    let mut tasks = Tasks::new(2);
    let [client, server] = tasks.nets.clone();
    let listener = server.listen(PORT, ListenOptions::default()).expect("it is free");
    tasks.spawn(async move {
        let stream = listener.accept().await;
        let mut got = Vec::new();
        while got.len() < 5 {
            // Polled once and dropped, as a select does.
            let read = core::pin::pin!(stream.read(&mut got, 1));
            let _ = read.poll(&mut Context::from_waker(Waker::noop()));
            next_turn().await;
        }
        while stream.read(&mut got, 100).await.expect("it lives") > 0 {}
        assert_eq!(got, b"123456789");
    });
    tasks.spawn(async move {
        let stream = client.dial(at(1, PORT), DialOptions::default()).await;
        let stream = stream.expect("somebody listens");
        stream.write_all(b"123456789").await.expect("it lives");
    });
    let [client, server] = tasks.nets.clone();
    {
        let dial = core::pin::pin!(client.dial(at(1, PORT + 1), DialOptions::default()));
        assert!(dial.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let resolve = core::pin::pin!(client.resolve("a.example"));
        assert!(resolve.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    drop(server);
    tasks.run(Duration::from_secs(1));
    assert_eq!((tasks.usage(0).streams, tasks.usage(1).streams), (0, 0));
}

/// Lets others go on.
async fn next_turn() {
    let mut turned = false;
    core::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        if core::mem::replace(&mut turned, true) {
            core::task::Poll::Ready(())
        } else {
            core::task::Poll::Pending
        }
    })
    .await;
}

#[test]
fn datagrams_and_names_can_be_awaited() {
    let mut tasks = Tasks::new(3);
    let [client, server] = tasks.nets.clone();
    let (asking, answering) = (client.bind(PORT, Owner(1)), server.bind(PORT, Owner(2)));
    let (asking, answering) = (asking.expect("it is free"), answering.expect("it is free"));
    tasks.spawn(async move {
        let (question, from) = answering.receive().await;
        answering.send_to(from, &question).expect("it can be sent");
    });
    tasks.spawn(async move {
        asking.send_to(at(1, PORT), b"hello").expect("it can be sent");
        assert_eq!(asking.receive().await, (b"hello".to_vec(), at(1, PORT)));
        assert_eq!(client.resolve("a.example").await, Err(ResolveError::NoServer));
        assert_eq!(client.resolve("10.1.0.2").await, Ok([at(1, 0).ip()].to_vec()));
    });
    assert_eq!(tasks.run(Duration::from_millis(100)), 0);
    assert_eq!((tasks.usage(0), tasks.usage(1)), (Usage::default(), Usage::default()));
}
