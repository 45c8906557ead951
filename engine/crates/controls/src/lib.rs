//! What people tell the engine: silences and maintenance windows, acknowledgements and feedback.
//!
//! They lie as records on a compacted topic, one key a silence or remark, so that every process reads all of them. Pure: who calls gives the
//! time, and Kafka is elsewhere.

#![forbid(unsafe_code)]

mod remark;
mod remarks;
mod silence;
mod silences;
mod window;

pub use remark::{InvalidRemark, NewRemark, Remark, RemarkKind, Undone};
pub use remarks::{REMARKS_MAX, REMARKS_TOTAL_MAX, RemarkRefused, Remarks};
pub use silence::{Change, ChangeKind, InvalidSilence, NewSilence, Recurrence, Silence};
pub use silences::{Refused, SILENCES_MAX, Silences};
