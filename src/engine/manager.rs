//! Calls on the server itself: making, naming, finding and showing objects.

use super::batch::Due;
use super::call::Checked;
use super::free::no_such_object;
use super::job::{Job, LongCall, Work, panicked};
use super::object::{Contents, HEADER_BYTES_MAX, ObjectSlot, State, Step};
use super::outputs::{Answer, Output, Outputs};
use super::types::{ObjectId, Time};
use super::{Engine, names, show};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{Items, ManagerOp};
use byproxy_proto::value::{self, Kind, Raw};
use std::collections::btree_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 255;

impl Engine {
    /// Does a call on the server itself.
    pub(super) fn call_manager(
        &self,
        now: Time,
        object: ObjectId,
        op: &ManagerOp<'_>,
        call: &Checked<'_>,
        out: &mut Outputs,
    ) -> Result<Step, Box<Fault>> {
        match *op {
            ManagerOp::Ping {} => value::write_none(&mut out.answer.result),
            ManagerOp::Create { kind, name, contents } => {
                return self.create(Kind(kind), name, contents, call, out);
            }
            ManagerOp::Open { name } => self.open(name, out),
            ManagerOp::Names {} => return self.names(call, out),
            ManagerOp::Remove { name } => self.remove(name, out),
            ManagerOp::Adopt { objects } => self.adopt(objects, out)?,
            ManagerOp::Stats {} => self.write_stats(&mut out.answer.result),
            ManagerOp::Collect {} => {
                let work = Work::Collect { due: call.due(out) };
                out.queue.push(Output::Job(Job::new(self.world.clone(), work)));
                return Ok(Step::Waits);
            }
            ManagerOp::Show { bytes_max } => self.show(object, bytes_max, out)?,
            ManagerOp::Shutdown {} => {
                value::write_none(&mut out.answer.result);
                out.queue.push(Output::Shutdown);
            }
            ManagerOp::Batch { calls } => return Ok(self.begin_batch(now, call.ticket, calls, out)),
            ManagerOp::Never(never, _) => match never {},
        }
        Ok(Step::Done)
    }

    fn create(
        &self,
        kind: Kind,
        name: Option<&str>,
        contents: Raw<'_>,
        call: &Checked<'_>,
        out: &mut Outputs,
    ) -> Result<Step, Box<Fault>> {
        if let Some(name) = name {
            check_name(name)?;
            if let Some(slot) = self.find(name) {
                let slot = Self::expect_kind(slot, kind, name, out)?;
                self.write_handed(&slot, &mut out.answer);
                return Ok(Step::Done);
            }
        }
        let items = contents
            .list_items()
            .map(|items| items.len())
            .or(contents.dict_items().map(|pairs| pairs.len()));
        if items.is_some_and(|items| items > self.settings().small_steps) {
            let call = LongCall {
                due: call.due(out),
                operation: call.operation,
                arguments: contents.bytes().into(),
                taken: std::mem::take(&mut out.taken),
            };
            let work = Work::Create {
                kind,
                name: name.map(str::to_owned),
                call,
            };
            out.queue.push(Output::Job(Job::new(self.world.clone(), work)));
            return Ok(Step::Waits);
        }
        let mut effects = self.effects(call.proxies, out);
        let made = catch_unwind(AssertUnwindSafe(|| Contents::create(kind, contents, &mut effects)));
        let contents = made.unwrap_or_else(|_| Err(panicked().into()))?;
        let slot = self.register(name, contents, out)?;
        self.write_handed(&slot, &mut out.answer);
        Ok(Step::Done)
    }

    /// Makes contents an object, of this name if any, with a reference for the caller; or finds the one that has the name by now.
    pub(super) fn register(
        &self,
        name: Option<&str>,
        contents: Contents,
        out: &mut Outputs,
    ) -> Result<Arc<ObjectSlot>, Fault> {
        let objects_max = self.settings().objects_max;
        let kind = contents.kind();
        let Some(name) = name else {
            return self.registry().add(contents, 1, objects_max).map_err(|refused| {
                let (fault, contents) = *refused;
                self.drop_contents(contents, out);
                fault
            });
        };
        let mut names = self.world.names.lock();
        match names.entry(name.to_owned()) {
            Entry::Vacant(vacant) => match self.registry().add(contents, 2, objects_max) {
                Ok(slot) => {
                    vacant.insert(slot.id);
                    Ok(slot)
                }
                Err(refused) => {
                    drop(names);
                    let (fault, contents) = *refused;
                    self.drop_contents(contents, out);
                    Err(fault)
                }
            },
            Entry::Occupied(occupied) => {
                let id = *occupied.get();
                let slot = self.take_slot(id);
                drop(names);
                self.drop_contents(contents, out);
                Self::expect_kind(slot.ok_or_else(|| no_such_object(id))?, kind, name, out)
            }
        }
    }

    /// The answer that hands over one object.
    pub(super) fn answer_with(&self, slot: &ObjectSlot) -> Answer {
        let mut answer = Answer::default();
        self.write_handed(slot, &mut answer);
        answer
    }

    fn write_handed(&self, slot: &ObjectSlot, answer: &mut Answer) {
        value::write_token(&mut answer.result, slot.token(self.registry().instance));
        answer.handed.push(slot.id.0);
    }

    /// Passes an object on whose reference was taken, or gives the reference up if it is of another kind.
    pub(super) fn expect_kind(
        slot: Arc<ObjectSlot>,
        kind: Kind,
        name: &str,
        out: &mut Outputs,
    ) -> Result<Arc<ObjectSlot>, Fault> {
        if slot.kind == kind {
            return Ok(slot);
        }
        out.dropped.push(slot.id);
        let message = format!(
            "the name `{name}` belongs to a {}, not a {kind}: choose another name, or remove this one first",
            slot.kind
        );
        Err(Fault::new(FaultCode::NameTaken, message))
    }

    /// The object of a name, with a reference taken.
    pub(super) fn find(&self, name: &str) -> Option<Arc<ObjectSlot>> {
        let names = self.world.names.lock();
        self.take_slot(*names.get(name)?)
    }

    fn take_slot(&self, id: ObjectId) -> Option<Arc<ObjectSlot>> {
        let slot = self.registry().get(id)?;
        self.registry().take(id).then_some(slot)
    }

    fn open(&self, name: &str, out: &mut Outputs) {
        match self.find(name) {
            Some(slot) => self.write_handed(&slot, &mut out.answer),
            None => value::write_none(&mut out.answer.result),
        }
    }

    fn names(&self, call: &Checked<'_>, out: &mut Outputs) -> Result<Step, Box<Fault>> {
        if self.world.names.lock().len() > self.settings().small_steps {
            let work = Work::Names { due: call.due(out) };
            out.queue.push(Output::Job(Job::new(self.world.clone(), work)));
            return Ok(Step::Waits);
        }
        names::list(&self.world, &mut out.answer).map(|()| Step::Done)
    }

    fn remove(&self, name: &str, out: &mut Outputs) {
        let removed = self.world.names.lock().remove(name);
        value::write_bool(&mut out.answer.result, removed.is_some());
        out.dropped.extend(removed);
    }

    /// Every token was checked, and a reference taken for the call, when the arguments were; these are for the session.
    fn adopt(&self, objects: Items<'_>, out: &mut Outputs) -> Result<(), Fault> {
        if objects.iter().any(|item| item.as_token().is_none()) {
            return Err(Fault::new(FaultCode::BadArgument, "only proxies can be adopted"));
        }
        value::write_list_header(&mut out.answer.result, objects.len());
        for token in objects.iter().filter_map(Raw::as_token) {
            if !self.registry().take(ObjectId(token.object)) {
                return Err(no_such_object(ObjectId(token.object)));
            }
            out.answer.handed.push(token.object);
            value::write_token(&mut out.answer.result, token);
        }
        Ok(())
    }

    fn write_stats(&self, result: &mut Vec<u8>) {
        let stats = self.stats();
        let rows = [
            ("objects", stats.objects),
            ("references", stats.references),
            ("sessions", stats.sessions),
            ("waiters", stats.waiters),
            ("bytes", stats.bytes),
            ("names", stats.names),
        ];
        value::write_dict_header(result, rows.len());
        for (name, number) in rows {
            value::write_str(result, name);
            value::write_uint(result, number);
        }
    }

    fn show(&self, object: ObjectId, bytes_max: u64, out: &mut Outputs) -> Result<(), Box<Fault>> {
        let slot = self.registry().get(object).ok_or_else(|| no_such_object(object))?;
        // Bounded, so that printing is no long work.
        let bytes_max = usize::try_from(bytes_max)
            .unwrap_or(usize::MAX)
            .min(self.settings().chunk_bytes);
        let text = match &*slot.state.lock() {
            State::Free(contents) => show::text(contents, bytes_max),
            State::Busy(_) => format!("<{} at work>", slot.kind),
            State::Poisoned(_) => format!("<{} poisoned>", slot.kind),
            State::Freed => return Err(no_such_object(object).into()),
        };
        self.effects(false, out).room(text.len() + HEADER_BYTES_MAX)?;
        value::write_str(&mut out.answer.result, &text);
        Ok(())
    }

    /// Ends a collection: what it found goes.
    pub(super) fn finish_collect(
        &self,
        now: Time,
        due: Due,
        garbage: Result<Vec<(ObjectId, Contents)>, Fault>,
        out: &mut Outputs,
    ) {
        let garbage = match garbage {
            Ok(garbage) => garbage,
            Err(fault) => return self.answer_later(due, Err(fault), out),
        };
        let mut answer = Answer::default();
        value::write_uint(&mut answer.result, garbage.len() as u64);
        let mut all = Vec::with_capacity(garbage.len());
        for (object, mut contents) in garbage {
            self.dismiss(now, object, &mut contents, &no_such_object(object), out);
            all.push(contents);
        }
        if !all.is_empty() {
            out.queue
                .push(Output::Job(Job::new(self.world.clone(), Work::Drop { all })));
        }
        self.answer_later(due, Ok(answer), out);
    }
}

pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let message = format!("a name must have 1 to {NAME_BYTES_MAX} bytes, not {}", name.len());
    Err(Fault::new(FaultCode::BadArgument, message))
}
