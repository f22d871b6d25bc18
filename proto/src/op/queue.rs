//! Arguments of the queue operations.

use super::argument::{Items, Wait, arguments};
use crate::value::Raw;

arguments! {
    /// An operation on a queue with its arguments.
    ///
    /// ```
    /// use byproxy_proto::op::{Operation, QueueOp, Wait};
    /// use byproxy_proto::value::{self, Limits, Raw};
    ///
    /// let arguments = value::to_vec(&[Wait::TRY], &Limits::default())?;
    /// let read = QueueOp::read(Operation::QueueGet, Raw::assume_checked(&arguments));
    /// assert!(matches!(read, Some(Ok(QueueOp::Get { wait: Wait::TRY }))));
    /// # Ok::<(), value::EncodeError>(())
    /// ```
    QueueOp {
        Put = QueuePut(item: Raw<'a>, wait: Wait),
        PutMany = QueuePutMany(items: Items<'a>, wait: Wait),
        Get = QueueGet(wait: Wait),
        GetMany = QueueGetMany(items_max: u64, wait: Wait),
        Receive = QueueReceive(wait: Wait),
        Ack = QueueAck(delivery: u64),
        Nack = QueueNack(delivery: u64),
        Qsize = QueueQsize(),
        Maxsize = QueueMaxsize(),
        TaskDone = QueueTaskDone(),
        Join = QueueJoin(wait: Wait),
        Shutdown = QueueShutdown(immediate: bool),
        Audit = QueueAudit(),
    }
}
