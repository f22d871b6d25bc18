//! The verdict on a round: what the server says became of everything, against what the dead wrote down.
//!
//! A consumer writes an item down after it has it, and may be killed between the two. So an item that was committed to it and stands
//! nowhere is no loss if it is the consumer's last: *recorded ∈ {committed, committed − 1}*. A loss is an item that was accepted, never
//! committed, and is not in the queue.

use super::Dead;
use super::roles::{FEEDER, Item, LINE, Role, Stage, close_ledger};
use crate::status::Doing;
use byproxy::{QueueProxy, TryGetError};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// The largest number of items that one reply of `get_many` carries here, and commits as one.
pub(super) const BATCH: usize = 4;

/// What all rounds come to.
#[derive(Debug, Default)]
pub(super) struct Totals {
    accepted: u64,
    unrecorded: u64,
    /// Items that came back from the dead.
    pub(super) returned: u64,
    inversions: u64,
    lines: u64,
    /// Holders that were told of a death.
    pub(super) abandoned: u64,
    counted: u64,
}

/// Judges a round whose victims are all dead and swept away. `fed` is how many items the producer that lives has put.
pub(super) fn judge(stage: &Stage, dead: &[Dead], fed: u64, totals: &mut Totals) {
    let producers: BTreeMap<u64, &Dead> = of(dead, &[Role::Put]).map(|dead| (dead.number, dead)).collect();
    let put = producers
        .iter()
        .map(|(number, dead)| (*number, (dead.status.numbers[0], is_in_call(dead))))
        .collect();
    let consumers = of(dead, &[Role::GetPlenty, Role::GetMany, Role::Borrow]);
    judge_queue("plenty", &stage.plenty, &put, consumers, totals);
    let put = HashMap::from([(FEEDER, (fed, false))]);
    judge_queue("scarce", &stage.scarce, &put, of(dead, &[Role::GetScarce]), totals);
    judge_ledger(stage, dead, totals);
    judge_counts(stage, dead, totals);
    judge_list(stage, dead);
}

/// `put` says of each producer how many puts returned, and whether it died in one more.
fn judge_queue<'a>(
    name: &str,
    queue: &QueueProxy<Item>,
    put: &HashMap<u64, (u64, bool)>,
    consumers: impl Iterator<Item = &'a Dead>,
    totals: &mut Totals,
) {
    let audit = queue.audit().unwrap();
    assert_eq!(audit.in_flight, 0, "{name}: nobody lives who could have it: {audit:?}");
    assert_eq!(
        audit.accepted,
        audit.committed + audit.waiting + audit.discarded,
        "{name}: {audit:?}"
    );

    // Each consumer's own record against the server's.
    let mut seen = BTreeSet::new();
    let (mut unrecorded, mut inversions, mut given_back) = (0, 0, 0);
    let mut see = |item: Item| assert!(seen.insert(item), "{name}: {item:?} was given twice");
    for consumer in consumers {
        let items: &[Item] = consumer.record.as_chunks().0;
        let committed: u64 = audit
            .departed
            .iter()
            .filter(|departed| u64::from(departed.pid) == consumer.pid)
            .map(|departed| departed.committed)
            .sum();
        let missing = committed.checked_sub(items.len() as u64);
        let missing_max = if consumer.role == Role::GetMany {
            BATCH as u64
        } else {
            1
        };
        assert!(
            missing.is_some_and(|missing| missing <= missing_max),
            "{name}: {:?} recorded {} items and was given {committed}",
            consumer.role,
            items.len()
        );
        unrecorded += missing.unwrap_or(0);
        if consumer.role == Role::Borrow {
            given_back += consumer.status.numbers[0];
        }
        inversions += count_inversions(items);
        items.iter().copied().for_each(&mut see);
    }
    assert!(
        inversions <= audit.returned,
        "{name}: {inversions} items overtook others, and {} came back",
        audit.returned
    );

    // The rest, which nobody is on the way to any more, is in order.
    let rest = drain(queue);
    assert_eq!(rest.len() as u64, audit.waiting, "{name}");
    assert_eq!(
        count_inversions(&rest),
        0,
        "{name}: what came back is not where it was: {rest:?}"
    );
    rest.into_iter().for_each(&mut see);

    // All that was accepted is somewhere, and nothing else is.
    assert_eq!(
        audit.accepted,
        seen.len() as u64 + unrecorded,
        "{name}: lost, or from nowhere: {audit:?}"
    );
    let returned: u64 = put.values().map(|(puts, _)| puts).sum();
    let in_calls = put.values().filter(|(_, in_call)| *in_call).count() as u64;
    assert!(
        (returned..=returned + in_calls).contains(&audit.accepted),
        "{name}: {returned} puts returned: {audit:?}"
    );
    for [producer, number] in &seen {
        let (puts, in_call) = put[producer];
        assert!(
            (1..=puts + u64::from(in_call)).contains(number),
            "{name}: producer {producer} never put {number}"
        );
    }
    totals.accepted += audit.accepted;
    totals.unrecorded += unrecorded;
    totals.returned += audit.returned - given_back;
    totals.inversions += inversions;
}

/// The lock: each holding wrote one line, none at the same time as another, and who came after a dead holder was told.
fn judge_ledger(stage: &Stage, dead: &[Dead], totals: &mut Totals) {
    let numbers = close_ledger(stage);
    let lines: &[[u64; LINE]] = numbers.as_chunks().0;
    for (number, line) in (1..).zip(lines) {
        assert_eq!(line[0], number, "ledger: a line is missing, or was written over");
    }
    for pair in lines.windows(2) {
        assert!(pair[0][1] < pair[1][1], "ledger: the token does not grow: {pair:?}");
    }
    let lockers: Vec<&Dead> = of(dead, &[Role::Lock]).collect();
    for locker in &lockers {
        let written: Vec<u64> = lines
            .iter()
            .filter(|line| line[3] == locker.number)
            .map(|line| line[0])
            .collect();
        assert!(
            written.starts_with(&locker.record),
            "ledger: lines were lost: {written:?} of {:?}",
            locker.record
        );
        assert!(
            written.len() <= locker.record.len() + 1,
            "ledger: {written:?} of {:?}",
            locker.record
        );
        if locker.status.doing == Doing::Holding {
            let token = locker.status.numbers[0];
            let next = lines
                .iter()
                .find(|line| line[1] > token)
                .expect("the last line is written after all deaths");
            assert_eq!(
                next[2], 1,
                "ledger: the next after holding {token} was not told of the death"
            );
        }
    }
    let told = lines.iter().filter(|line| line[2] == 1).count();
    let may_have_held = lockers.iter().filter(|locker| is_in_call(locker)).count();
    assert!(
        told <= may_have_held,
        "ledger: {told} were told of a death, and at most {may_have_held} died holding"
    );
    totals.lines += lines.len() as u64;
    totals.abandoned += told as u64;
}

/// The dict: every count that returned is there, and at most one more of each victim that died in a call.
fn judge_counts(stage: &Stage, dead: &[Dead], totals: &mut Totals) {
    let counters: Vec<&Dead> = of(dead, &[Role::Count]).collect();
    let done: u64 = counters.iter().map(|counter| counter.status.numbers[0]).sum();
    let in_calls = counters.iter().filter(|counter| is_in_call(counter)).count() as u64;
    let all = stage
        .counts
        .get("all")
        .unwrap()
        .expect("it was there from the beginning");
    assert!(
        (done..=done + in_calls).contains(&all),
        "dict: {done} counts returned, {in_calls} were in a call: {all}"
    );
    for counter in counters {
        let own = stage.counts.get(counter.number.to_string()).unwrap().unwrap_or(0);
        let done = counter.status.numbers[1];
        assert!(
            (done..=done + u64::from(is_in_call(counter))).contains(&own),
            "dict: {done} counts returned: {own}"
        );
    }
    totals.counted += all;
}

/// The list: what was appended is in it or was taken out, once; only a taker that died in its call may have taken one with it.
fn judge_list(stage: &Stage, dead: &[Dead]) {
    let members: Vec<&Dead> = of(dead, &[Role::List]).collect();
    let rest = stage.list.to_vec().unwrap();
    assert_eq!(count_inversions(&rest), 0, "list: {rest:?}");
    let mut seen = BTreeSet::new();
    for item in members
        .iter()
        .flat_map(|member| member.record.as_chunks().0)
        .chain(&rest)
    {
        assert!(seen.insert(*item), "list: {item:?} is there twice");
    }
    let mut missing = 0;
    for member in &members {
        let appended = member.status.numbers[0];
        missing += (1..=appended)
            .filter(|number| !seen.contains(&[member.number, *number]))
            .count();
        let surplus = seen
            .range([member.number, appended + 1]..[member.number + 1, 0])
            .count();
        assert!(surplus <= usize::from(is_in_call(member)), "list: {member:?}");
    }
    let in_calls = members.iter().filter(|member| is_in_call(member)).count();
    assert!(
        missing <= in_calls,
        "list: {missing} items are missing, {in_calls} died in a call"
    );
}

/// Whether a victim may have died between sending a call and hearing its answer.
fn is_in_call(dead: &Dead) -> bool {
    matches!(dead.status.doing, Doing::Waiting | Doing::Calling | Doing::Holding)
}

fn of<'a>(dead: &'a [Dead], roles: &'static [Role]) -> impl Iterator<Item = &'a Dead> {
    dead.iter().filter(|dead| roles.contains(&dead.role))
}

/// How many items come after a later one of the same producer.
fn count_inversions(items: &[Item]) -> u64 {
    let mut last: HashMap<u64, u64> = HashMap::new();
    items
        .iter()
        .filter(|[producer, number]| last.insert(*producer, *number).is_some_and(|before| before > *number))
        .count() as u64
}

fn drain(queue: &QueueProxy<Item>) -> Vec<Item> {
    let mut items = Vec::new();
    loop {
        match queue.try_get() {
            Ok(item) => items.push(item),
            Err(TryGetError::Empty) => return items,
            Err(error) => panic!("{error}"),
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            accepted,
            unrecorded,
            returned,
            inversions,
            lines,
            abandoned,
            counted,
        } = self;
        write!(
            f,
            "{accepted} items, {returned} came back from the dead, {inversions} met a later one, {unrecorded} committed and not recorded; "
        )?;
        write!(
            f,
            "{lines} holdings, {abandoned} told of a death; {counted} counts; nothing lost, nothing twice"
        )
    }
}
