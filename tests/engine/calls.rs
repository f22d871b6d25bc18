//! What the fake clients ask for.

use crate::model::{Request, int};
use crate::random::Random;
use crate::simulator::{INSTANCE, Object, Simulator};
use byproxy_proto::fault::FaultCode;
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Kind, Token, Value};

/// Which calls are welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Anything,
    /// There are enough objects.
    NothingNew,
}

pub(crate) const NAMES: [&str; 3] = ["sold", "库存", "log"];

/// Draws a call of a client; the second part is the code if it must be refused, whatever the state of things.
pub(crate) fn draw(world: &mut Simulator, client: usize, lane: usize, wish: Wish) -> (Request, Option<FaultCode>) {
    let held: Vec<u64> = world.clients[client].holds.keys().copied().collect();
    if world.random.percent(3) {
        let (request, code) = draw_bad(&mut world.random, held.first().copied());
        return (request, Some(code));
    }
    if held.is_empty() || world.random.percent(15) {
        return (draw_manager(world, client, wish), None);
    }
    let object = *world.random.pick(&held);
    let (operation, arguments) = match world.objects.get(&object) {
        Some(Object::List(_)) => draw_list(world, client, object, wish),
        Some(Object::Dict(_)) => draw_dict(world, client, wish),
        Some(Object::Queue(_, ints)) => {
            let ints = *ints;
            draw_queue(world, client, object, ints)
        }
        Some(Object::Lock(_)) => draw_lock(world, client, lane, object),
        Some(Object::Memory(_)) => {
            let request = Request {
                operation: *world.random.pick(&[Operation::ListLen, Operation::LockLocked]),
                object,
                arguments: Vec::new(),
            };
            return (request, Some(FaultCode::UnknownOperation));
        }
        None => {
            return (
                Request {
                    operation: Operation::Ping,
                    object: 0,
                    arguments: Vec::new(),
                },
                None,
            );
        }
    };
    (
        Request {
            operation,
            object,
            arguments,
        },
        None,
    )
}

/// A call that is wrong in itself.
fn draw_bad(random: &mut Random, held: Option<u64>) -> (Request, FaultCode) {
    let unknown = Value::from(Token {
        instance: INSTANCE,
        object: 1 << 40,
        kind: Kind::LIST,
    });
    let foreign = Value::from(Token {
        instance: INSTANCE + 1,
        object: 1,
        kind: Kind::LIST,
    });
    let adopt = |token| Request {
        operation: Operation::Adopt,
        object: 0,
        arguments: vec![Value::List(vec![token])],
    };
    match (random.below(6), held) {
        (0, _) => (adopt(unknown), FaultCode::NoSuchObject),
        (1, _) => (adopt(foreign), FaultCode::ForeignProxy),
        (2, _) => {
            let request = Request {
                operation: Operation::ListLen,
                object: 1 << 40,
                arguments: Vec::new(),
            };
            (request, FaultCode::NoSuchObject)
        }
        (3, Some(object)) => {
            let arguments = vec![Value::from("no such argument"), Value::None, Value::None, Value::None];
            (
                Request {
                    operation: Operation::Names,
                    object,
                    arguments,
                },
                FaultCode::BadArgument,
            )
        }
        (4, _) => {
            let request = Request {
                operation: Operation::Create,
                object: 0,
                arguments: vec![int(Kind::MEMORY.0), Value::None, Value::None],
            };
            (request, FaultCode::BadArgument)
        }
        _ => {
            let request = Request {
                operation: Operation::Open,
                object: 0,
                arguments: vec![Value::from(7)],
            };
            (request, FaultCode::BadArgument)
        }
    }
}

fn draw_manager(world: &mut Simulator, client: usize, wish: Wish) -> Request {
    let name = Value::from(*world.random.pick(&NAMES));
    let (operation, arguments) = match world.random.below(20) {
        0 => (Operation::Ping, Vec::new()),
        1 => (Operation::Names, Vec::new()),
        2 => (Operation::Remove, vec![name]),
        3 => (Operation::Stats, Vec::new()),
        4..8 => (Operation::Open, vec![name]),
        8 => {
            let tokens = world.tokens_of(client);
            (Operation::Adopt, vec![Value::List(tokens)])
        }
        9 if world.is_calm() => (Operation::Collect, Vec::new()),
        _ if wish == Wish::NothingNew => (Operation::Open, vec![name]),
        _ => draw_create(world, client, name),
    };
    Request {
        operation,
        object: 0,
        arguments,
    }
}

fn draw_create(world: &mut Simulator, client: usize, name: Value) -> (Operation, Vec<Value>) {
    let named = world.random.percent(30);
    let kind = *world
        .random
        .pick(&[Kind::LIST, Kind::DICT, Kind::QUEUE, Kind::QUEUE, Kind::LOCK, Kind::LOCK]);
    let contents = match kind {
        Kind::QUEUE => Value::List(vec![int(world.random.below(3)), int(world.random.of(-1..4))]),
        // A named object is made at once, so that its name is never in doubt.
        Kind::LIST if !named => Value::List(draw_values(world, client)),
        Kind::DICT if !named => draw_pairs(world, client),
        _ => Value::None,
    };
    (
        Operation::Create,
        vec![int(kind.0), if named { name } else { Value::None }, contents],
    )
}

fn draw_list(world: &mut Simulator, client: usize, object: u64, wish: Wish) -> (Operation, Vec<Value>) {
    use Operation as O;
    let index = int(world.random.of(-5..6));
    let stop = if world.random.percent(30) {
        Value::None
    } else {
        int(world.random.of(-5..6))
    };
    let item = draw_value(world, client);
    let version = world.clients[client]
        .versions
        .iter()
        .rev()
        .find(|(list, _)| *list == object)
        .map(|(_, version)| version);
    let version = version.cloned().unwrap_or(int(1_u64 << 50));
    match world.random.below(26) {
        0..3 => (O::ListAppend, vec![item]),
        3 => (O::ListExtend, vec![Value::List(draw_values(world, client))]),
        4 => (O::ListInsert, vec![index, item]),
        5 => (O::ListPop, Vec::new()),
        6 => (O::ListPopAt, vec![index]),
        7 => (O::ListRemove, vec![item]),
        8 => (O::ListIndex, vec![item, index, stop]),
        9 => (O::ListCount, vec![item]),
        10 => (O::ListReverse, Vec::new()),
        11 => (O::ListSort, vec![Value::from(world.random.percent(50))]),
        12 => (O::ListLen, Vec::new()),
        13 => (O::ListContains, vec![item]),
        14 => (O::ListGet, vec![index]),
        15 => (O::ListSet, vec![index, item]),
        16 => (O::ListDelete, vec![index]),
        17 => (O::ListSlice, vec![index, stop]),
        18 => (
            O::ListSetSlice,
            vec![index, stop, Value::List(draw_values(world, client))],
        ),
        19 => (O::ListDeleteSlice, vec![index, stop]),
        20 if wish == Wish::Anything => (O::ListCopy, Vec::new()),
        21 => (
            O::ListChunk,
            vec![int(world.random.below(4)), int(world.random.below(6))],
        ),
        22 if world.random.percent(30) => (O::ListClear, Vec::new()),
        22 => (O::ListRepeat, vec![int(world.random.of(-1..3))]),
        23 => (O::ListCompareAndSet, vec![index, draw_value(world, client), item]),
        24 => (
            O::ListFetchAdd,
            vec![index, int(world.random.of(-3..4)), int(-3), int(9)],
        ),
        25 if world.random.percent(50) => (O::ListReplace, vec![version, Value::List(draw_values(world, client))]),
        _ => (O::ListSnapshot, Vec::new()),
    }
}

fn draw_dict(world: &mut Simulator, client: usize, wish: Wish) -> (Operation, Vec<Value>) {
    use Operation as O;
    let key = draw_key(&mut world.random);
    let value = draw_value(world, client);
    match world.random.below(18) {
        0..4 => (O::DictInsert, vec![key, value]),
        4 => (O::DictGet, vec![key]),
        5 => (O::DictPop, vec![key]),
        6 => (O::DictPopitem, Vec::new()),
        7 => (O::DictSetdefault, vec![key, value]),
        8 => (O::DictUpdate, vec![draw_pairs(world, client)]),
        9 => (
            *world.random.pick(&[O::DictKeys, O::DictValues, O::DictItems]),
            Vec::new(),
        ),
        10 => (O::DictLen, Vec::new()),
        11 => (O::DictContains, vec![key]),
        12 => (O::DictDelete, vec![key]),
        13 if world.random.percent(30) => (O::DictClear, Vec::new()),
        14 if wish == Wish::Anything => (O::DictCopy, Vec::new()),
        15 => {
            let backwards = Value::from(world.random.percent(50));
            (
                O::DictChunk,
                vec![Value::None, int(1 + world.random.below(5)), backwards],
            )
        }
        16 => {
            let expected = draw_option(world, client);
            (O::DictCompareAndSet, vec![key, expected, draw_option(world, client)])
        }
        17 => {
            let initial = if world.random.percent(50) {
                Value::None
            } else {
                int(world.random.of(-3..4))
            };
            (
                O::DictFetchAdd,
                vec![key, int(world.random.of(-3..4)), int(-3), int(9), initial],
            )
        }
        _ => (O::DictItems, Vec::new()),
    }
}

fn draw_queue(world: &mut Simulator, client: usize, object: u64, ints: bool) -> (Operation, Vec<Value>) {
    use Operation as O;
    let wait = draw_wait(&mut world.random);
    let leases = world.clients[client]
        .leases
        .iter()
        .filter(|(queue, _)| *queue == object);
    let deliveries: Vec<u64> = leases.map(|(_, delivery)| *delivery).collect();
    let delivery = match deliveries.as_slice() {
        [] => int(world.random.below(4)),
        some => int(*world.random.pick(some)),
    };
    let item = |world: &mut Simulator| {
        if ints {
            int(world.random.below(4))
        } else {
            draw_value(world, client)
        }
    };
    match world.random.below(32) {
        0..6 => (O::QueuePut, vec![item(world), wait]),
        6..9 => {
            let count = world.random.below(5);
            let items = (0..count).map(|_| item(world)).collect();
            (O::QueuePutMany, vec![Value::List(items), wait])
        }
        9..14 => (O::QueueGet, vec![wait]),
        14..17 => (O::QueueGetMany, vec![int(world.random.below(4)), wait]),
        17..20 => (O::QueueReceive, vec![wait]),
        20..22 => (O::QueueAck, vec![delivery]),
        22 => (O::QueueNack, vec![delivery]),
        23 => (*world.random.pick(&[O::QueueQsize, O::QueueMaxsize]), Vec::new()),
        24..27 => (O::QueueTaskDone, Vec::new()),
        27..29 => (O::QueueJoin, vec![wait]),
        29 if world.random.percent(25) => (O::QueueShutdown, vec![Value::from(world.random.percent(50))]),
        _ => (O::QueueAudit, Vec::new()),
    }
}

fn draw_lock(world: &mut Simulator, client: usize, lane: usize, object: u64) -> (Operation, Vec<Value>) {
    use Operation as O;
    let tokens = world.clients[client].tokens.iter().filter(|(lock, _)| *lock == object);
    let token = tokens.map(|(_, token)| *token).next_back();
    let token = if world.random.percent(10) {
        Some(world.random.next() % 5)
    } else {
        token
    };
    match (world.random.below(20), token) {
        (0..10, _) => (O::LockAcquire, vec![int(lane), draw_wait(&mut world.random)]),
        (10..16, Some(token)) => (O::LockRelease, vec![int(token)]),
        (16, _) => (O::LockRelease, vec![Value::None]),
        (17, Some(token)) => (O::LockLeak, vec![int(token)]),
        (18, _) => (O::LockLocked, Vec::new()),
        _ => (O::LockAcquire, vec![int(lane), Value::None]),
    }
}

/// A try, for ever, or a while.
fn draw_wait(random: &mut Random) -> Value {
    match random.below(10) {
        0..3 => int(0),
        3..6 => Value::None,
        _ => int(random.of(1..40)),
    }
}

fn draw_key(random: &mut Random) -> Value {
    int(random.below(5))
}

fn draw_option(world: &mut Simulator, client: usize) -> Value {
    if world.random.percent(30) {
        Value::None
    } else {
        Value::some(draw_value(world, client))
    }
}

/// Mostly small numbers, so that many are equal; now and then nothing, a text, or a proxy, also inside a list.
fn draw_value(world: &mut Simulator, client: usize) -> Value {
    let proxy = |world: &mut Simulator| {
        let tokens = world.tokens_of(client);
        if tokens.is_empty() {
            Value::None
        } else {
            world.random.pick(&tokens).clone()
        }
    };
    match world.random.below(20) {
        0..3 => proxy(world),
        3 => Value::List(vec![int(world.random.below(3)), proxy(world), proxy(world)]),
        4 => Value::None,
        5 => Value::from("a text that does not fit a small cell"),
        _ => int(world.random.below(6)),
    }
}

fn draw_values(world: &mut Simulator, client: usize) -> Vec<Value> {
    (0..world.random.below(5)).map(|_| draw_value(world, client)).collect()
}

fn draw_pairs(world: &mut Simulator, client: usize) -> Value {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    for _ in 0..world.random.below(4) {
        let key = draw_key(&mut world.random);
        if pairs.iter().all(|(there, _)| *there != key) {
            pairs.push((key, draw_value(world, client)));
        }
    }
    Value::Dict(pairs)
}
