//! Tests of the magazines on the host, with threads in the place of CPUs.

use super::super::slabs::tests::{Dice, HostChunks};
use super::*;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::vec::Vec;

const CPUS: usize = 4;

struct Object(usize, NonNull<u8>);

// SAFETY: An object belongs to whoever holds this.
unsafe impl Send for Object {}

impl Object {
    fn new(heap: &SmallHeap<HostChunks, CPUS>, cpu: usize, class: usize) -> Option<Self> {
        let object = heap.take(cpu, class, object_bytes(class))?;
        // SAFETY: The object is ours: whoever else uses its memory will see it.
        unsafe { object.write_bytes(class as u8, object_bytes(class)) };
        Some(Object(class, object))
    }

    fn end(self, heap: &SmallHeap<HostChunks, CPUS>, cpu: usize) {
        let Object(class, object) = self;
        let bytes = object_bytes(class);
        // SAFETY: A live object.
        let content = unsafe { core::slice::from_raw_parts(object.as_ptr(), bytes) };
        assert!(content.iter().all(|&byte| byte == class as u8), "somebody wrote to it");
        // SAFETY: The object is given up.
        unsafe { heap.give(cpu, class, object, bytes) };
    }
}

/// One CPU's work: it allocates, keeps some, frees some, and sends some to the next CPU to free.
fn work(
    heap: &SmallHeap<HostChunks, CPUS>,
    cpu: usize,
    to: Sender<Object>,
    from: Receiver<Object>,
) {
    let mut dice = Dice(cpu as u64);
    let mut held: Vec<Object> = Vec::new();
    for step in 0..20_000 {
        match dice.below(8) {
            0..4 => held.extend(Object::new(heap, cpu, dice.below(CLASSES))),
            4 | 5 if !held.is_empty() => {
                held.swap_remove(dice.below(held.len())).end(heap, cpu);
            }
            6 if !held.is_empty() => {
                // The neighbour may have ended: then the object comes back.
                let sent = to.send(held.swap_remove(dice.below(held.len())));
                held.extend(sent.err().map(|error| error.0));
            }
            _ => from.try_iter().for_each(|object| object.end(heap, cpu)),
        }
        if step % 5000 == 0 {
            heap.trim();
        }
    }
    drop(to);
    held.into_iter().chain(from).for_each(|object| object.end(heap, cpu));
}

fn run_on_all(heap: &SmallHeap<HostChunks, CPUS>) {
    let (mut senders, mut receivers): (Vec<_>, Vec<_>) = (0..CPUS).map(|_| channel()).unzip();
    senders.rotate_left(1);
    std::thread::scope(|scope| {
        for cpu in 0..CPUS {
            let (to, from) = (senders.remove(0), receivers.remove(0));
            scope.spawn(move || work(heap, cpu, to, from));
        }
    });
}

#[test]
fn cpus_free_what_others_allocated() {
    let heap = SmallHeap::<_, CPUS>::new(HostChunks::new(10_000));
    run_on_all(&heap);
    assert_eq!(heap.live_bytes(), 0);
    heap.trim();
    assert_eq!((heap.free_bytes(), heap.source().taken()), (0, 0));
}

#[test]
fn a_heap_that_runs_dry_goes_on() {
    let heap = SmallHeap::<_, CPUS>::new(HostChunks::new(4));
    run_on_all(&heap);
    heap.trim();
    assert_eq!((heap.live_bytes(), heap.free_bytes(), heap.source().taken()), (0, 0, 0));
}

#[test]
fn a_cpu_keeps_two_batches_of_a_class_at_most() {
    let heap = SmallHeap::<_, CPUS>::new(HostChunks::new(1000));
    for class in 0..CLASSES {
        let objects: Vec<_> =
            (0..10 * batch(class)).filter_map(|_| Object::new(&heap, 0, class)).collect();
        assert_eq!(heap.live_bytes(), objects.len() * object_bytes(class));
        objects.into_iter().for_each(|object| object.end(&heap, 1));
        let kept = heap.cache(1).expect("it has freed").counts[class];
        assert!((1..=2 * batch(class)).contains(&kept), "{kept} of class {class}");
    }
    assert_eq!(heap.live_bytes(), 0, "it counts what another CPU frees");
}

#[test]
fn the_edge_of_a_magazine_is_not_a_way_to_the_slabs() {
    let heap = SmallHeap::<_, CPUS>::new(HostChunks::new(1));
    let class = 5;
    let objects: Vec<_> = (0..batch(class)).filter_map(|_| Object::new(&heap, 0, class)).collect();
    let shared = heap.slabs.free_bytes();
    objects.into_iter().for_each(|object| object.end(&heap, 0));
    for _ in 0..3 * batch(class) {
        let pair: Vec<_> = (0..2).filter_map(|_| Object::new(&heap, 0, class)).collect();
        pair.into_iter().for_each(|object| object.end(&heap, 0));
        assert_eq!(heap.slabs.free_bytes(), shared, "an object went to the slabs or came from it");
    }
}
