//! The commit record: what a queue can prove about its items, for whoever suspects a loss.

use super::QueueObject;
use super::books::Consumer;
use crate::engine::object::Effects;
use crate::engine::types::SessionId;
use byproxy_proto::fault::Fault;
use byproxy_proto::value::{write_dict_header, write_list_header, write_str, write_uint};

/// An upper bound for one consumer's line, and for everything that is not lines.
const LINE_BYTES_MAX: usize = 64;
const REST_BYTES_MAX: usize = 256;

impl QueueObject {
    /// Writes the books: `accepted = committed + in_flight + waiting + discarded` holds in every answer. Each consumer that is there is
    /// `[pid, session, committed, in_flight, owed]`, each of the last that are gone `[pid, session, committed, returned]`.
    pub(super) fn audit(&self, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let lines = self.books.consumers().len() + self.books.departed().len();
        effects.room(REST_BYTES_MAX + lines * LINE_BYTES_MAX)?;
        let out = effects.result();
        let totals = self.books.totals();
        let waiting = ("waiting", self.store.len() as u64);
        write_dict_header(out, totals.len() + 3);
        for (name, number) in totals.into_iter().chain([waiting]) {
            write_str(out, name);
            write_uint(out, number);
        }
        write_str(out, "consumers");
        write_lines(out, self.books.consumers(), |consumer| {
            [consumer.committed, consumer.in_flight, consumer.owed()]
        });
        write_str(out, "departed");
        write_lines(out, self.books.departed(), |consumer| {
            [consumer.committed, consumer.returned]
        });
        Ok(())
    }
}

fn write_lines<'a, const N: usize>(
    out: &mut Vec<u8>,
    consumers: impl ExactSizeIterator<Item = (SessionId, &'a Consumer)>,
    numbers: impl Fn(&Consumer) -> [u64; N],
) {
    write_list_header(out, consumers.len());
    for (session, consumer) in consumers {
        write_list_header(out, 2 + N);
        write_uint(out, u64::from(consumer.pid));
        write_uint(out, session.0);
        for number in numbers(consumer) {
            write_uint(out, number);
        }
    }
}
