//! A ring's words under every interleaving that loom can think of.
//!
//! The functions are the production ones. A sleep here has no end but a call: a call that is forgotten is a deadlock, which loom reports.

use std::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

use loom::sync::atomic::{AtomicU64, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::words::{self, AWAKE, CLOSED, DECLINED, POSITION, RingWord};

impl RingWord for AtomicU64 {
    fn add_bits(&self, bits: u64) -> u64 {
        self.fetch_or(bits, AcqRel)
    }

    fn fence_after_seq_cst() {
        fence(SeqCst);
    }
}

/// One direction, with the socket that a sleeper waits on.
struct Model {
    tail: AtomicU64,
    head: AtomicU64,
    reader: AtomicU64,
    writer: AtomicU64,
    /// One place for a record.
    record: AtomicU64,
    /// Bytes that lie in the sockets of the reader and of the writer.
    bells: [Mutex<bool>; 2],
    rung: [Condvar; 2],
}

const READER: usize = 0;
const WRITER: usize = 1;

impl Model {
    fn new() -> Arc<Self> {
        let word = || AtomicU64::new(0);
        Arc::new(Self {
            tail: word(),
            head: word(),
            reader: word(),
            writer: word(),
            record: word(),
            bells: [Mutex::new(false), Mutex::new(false)],
            rung: [Condvar::new(), Condvar::new()],
        })
    }

    fn ring(&self, whose: usize) {
        *self.bells[whose].lock().unwrap() = true;
        self.rung[whose].notify_one();
    }

    /// Sleeps until the bell was rung, which may have been for something older.
    fn sleep(&self, whose: usize) {
        let mut rung = self.bells[whose].lock().unwrap();
        while !*rung {
            rung = self.rung[whose].wait(rung).unwrap();
        }
        *rung = false;
    }

    /// Writes a record, waiting for the only place to be free.
    fn write(&self, at: u64, value: u64) {
        while words::look(&self.head) & POSITION != at {
            if words::park(&self.writer, || words::look(&self.head) & POSITION == at) {
                self.sleep(WRITER);
            }
        }
        self.record.store(value, Relaxed);
        words::post(&self.tail, at + 1);
        if words::call(&self.reader) {
            self.ring(READER);
        }
    }

    /// Waits for a record and copies it, without taking it.
    fn read(&self, at: u64) -> u64 {
        while words::look(&self.tail) == at {
            if words::park(&self.reader, || words::look(&self.tail) != at) {
                self.sleep(READER);
            }
        }
        self.record.load(Relaxed)
    }

    fn take(&self, from: u64, to: u64) -> bool {
        let taken = words::publish(&self.head, from, to);
        if words::call(&self.writer) {
            self.ring(WRITER);
        }
        taken
    }
}

fn check_bounded(model: impl Fn() + Sync + Send + 'static) {
    check_preempted(3, model);
}

fn check_preempted(times_max: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(times_max);
    builder.check(model);
}

#[test]
fn neither_side_sleeps_for_ever_and_every_record_arrives() {
    check_bounded(|| {
        let model = Model::new();
        let writer = {
            let model = Arc::clone(&model);
            thread::spawn(move || (0..2).for_each(|at| model.write(at, 10 + at)))
        };
        for at in 0..2 {
            assert_eq!(model.read(at), 10 + at);
            assert!(model.take(at, at + 1));
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_delivery_is_taken_or_is_not_whatever_its_reader_is_doing() {
    check_bounded(|| {
        let model = Model::new();
        model.write(0, 10);
        let client = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                assert_eq!(model.read(0), 10);
                model.take(0, 1)
            })
        };
        // The server closes the index before it decides.
        let decided = words::close(&model.head) & POSITION == 1;
        assert_eq!(client.join().unwrap(), decided);
        assert_eq!(words::look(&model.head), CLOSED | u64::from(decided));
    });
}

#[test]
fn an_index_stays_closed_under_whatever_can_still_be_asked_for() {
    check_bounded(|| {
        let (model, requests) = (Model::new(), Arc::new(AtomicU64::new(0)));
        model.write(0, 10);
        let client = {
            let (model, requests) = (Arc::clone(&model), Arc::clone(&requests));
            thread::spawn(move || {
                assert_eq!(model.read(0), 10);
                words::pass(&model.head, 1);
                words::publish(&*requests, 0, 1)
            })
        };
        words::close(&*requests);
        words::close(&model.head);
        let sent = client.join().unwrap();
        // What it says otherwise does not matter, and loom takes two stores that nothing orders to be in no order.
        assert!(
            !sent || words::look(&model.head) == 1 | CLOSED,
            "what answers the last request could be taken"
        );
    });
}

#[test]
fn an_idle_ring_is_closed_or_is_not_idle() {
    check_bounded(|| {
        let model = Model::new();
        let client = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                model.record.store(10, Relaxed);
                words::publish(&model.tail, 0, 1)
            })
        };
        let closed = words::close_at(&model.tail, 0);
        assert_eq!(client.join().unwrap(), !closed);
        if !closed {
            assert_eq!((words::look(&model.tail), model.record.load(Relaxed)), (1, 10));
        }
    });
}

#[test]
fn one_of_two_callers_rings() {
    loom::model(|| {
        let model = Model::new();
        assert!(words::park(&model.reader, || false));
        let other = {
            let model = Arc::clone(&model);
            thread::spawn(move || words::call(&model.reader))
        };
        let ours = words::call(&model.reader);
        assert!(ours != other.join().unwrap(), "a call is rung once");
        assert_eq!(model.reader.load(Relaxed), AWAKE);
    });
}

#[test]
fn what_is_given_back_is_not_taken() {
    loom::model(|| {
        let model = Model::new();
        model.write(0, 10);
        assert!(model.take(0, 1 | DECLINED));
        let seen = words::close(&model.head);
        assert_eq!((seen & POSITION, seen & DECLINED), (1, DECLINED));
    });
}

/// A small reply is written without the lock behind which another thread wrote the one before: through the client, which made its call
/// after it had read that one, it is known how far was written.
#[test]
fn a_reply_goes_behind_the_last_one_though_another_thread_wrote_that() {
    check_bounded(|| {
        let (requests, replies, written) = (Model::new(), Model::new(), Arc::new(AtomicU64::new(0)));
        let client = {
            let (requests, replies) = (Arc::clone(&requests), Arc::clone(&replies));
            thread::spawn(move || {
                assert_eq!(replies.read(0), 20);
                assert!(replies.take(0, 1));
                requests.write(0, 10);
                assert_eq!(replies.read(1), 21);
            })
        };
        let other = {
            let (replies, written) = (Arc::clone(&replies), Arc::clone(&written));
            thread::spawn(move || {
                replies.record.store(20, Relaxed);
                words::post_noted(&*written, &replies.tail, 1);
                if words::call(&replies.reader) {
                    replies.ring(READER);
                }
            })
        };
        assert_eq!(requests.read(0), 10);
        let at = written.load(Relaxed);
        assert_eq!(at, 1, "the reply would lie where the last one does");
        replies.write(at, 21);
        client.join().unwrap();
        other.join().unwrap();
    });
}

/// Requests with a front and room for two records, as both ends treat them.
struct Fronted {
    words: Arc<Model>,
    /// One more than the position of the record that lies in the front.
    mark: AtomicU64,
    front: AtomicU64,
    places: [AtomicU64; 2],
}

impl Fronted {
    fn new() -> Arc<Self> {
        let word = || AtomicU64::new(0);
        Arc::new(Self {
            words: Model::new(),
            mark: word(),
            front: word(),
            places: [word(), word()],
        })
    }

    /// Writes a record: in front if something has come back since the last, which is all that it looks at there, or behind the others once
    /// there is room.
    fn send(&self, at: u64, value: u64, answered: bool) {
        let words = &self.words;
        if answered {
            self.mark.store(at + 1, Relaxed);
            self.front.store(value, Relaxed);
        } else {
            let has_room = || at < words::look(&words.head) + 2;
            while !has_room() {
                if words::park(&words.writer, has_room) {
                    words.sleep(WRITER);
                }
            }
            self.places[usize::from(at % 2 == 1)].store(value, Relaxed);
        }
        assert!(words::publish(&words.tail, at, at + 1));
        if words::call(&words.reader) {
            words.ring(READER);
        }
    }

    /// Waits for a record and takes it: one that is alone in front without a call.
    fn receive(&self, at: u64) -> u64 {
        let words = &self.words;
        while words::look(&words.tail) == at {
            if words::park(&words.reader, || words::look(&words.tail) != at) {
                words.sleep(READER);
            }
        }
        let alone = words::look(&words.tail) == at + 1;
        let in_front = self.mark.load(Relaxed) == at + 1;
        let place = if in_front {
            &self.front
        } else {
            &self.places[usize::from(at % 2 == 1)]
        };
        let value = place.load(Relaxed);
        if in_front && alone {
            words::advance(&words.head, at + 1);
        } else {
            words::post(&words.head, at + 1);
            if words::call(&words.writer) {
                words.ring(WRITER);
            }
        }
        value
    }
}

#[test]
fn what_lies_in_front_is_overwritten_only_once_it_was_read() {
    check_bounded(|| {
        let (requests, replies) = (Fronted::new(), Model::new());
        let client = {
            let (requests, replies) = (Arc::clone(&requests), Arc::clone(&replies));
            thread::spawn(move || {
                requests.send(0, 10, true);
                assert_eq!(replies.read(0), 20);
                requests.send(1, 11, true);
            })
        };
        assert_eq!(requests.receive(0), 10);
        replies.write(0, 20);
        assert_eq!(requests.receive(1), 11);
        client.join().unwrap();
    });
}

#[test]
fn who_waits_for_room_behind_a_front_is_called_for_what_came_after_it() {
    check_preempted(2, || {
        let requests = Fronted::new();
        let client = {
            let requests = Arc::clone(&requests);
            thread::spawn(move || (0..3).for_each(|at| requests.send(at, 10 + at, at == 0)))
        };
        for at in 0..3 {
            assert_eq!(requests.receive(at), 10 + at);
        }
        client.join().unwrap();
    });
}
