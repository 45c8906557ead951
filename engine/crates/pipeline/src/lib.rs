//! The streaming core: stages as a synchronous task per partition.
//!
//! **Architecture invariant:** what comes out depends only on the records that went in and their order. There is no clock,
//! no randomness without a seed, no hash-map order, and no batch boundary in the result.

pub mod alert;
pub mod analyse;
pub mod analysis;
pub mod derive;
pub mod detect;
pub mod ingest;
pub mod log_templates;
pub mod matcher;
pub mod series;
pub mod settings;
pub mod state;
pub mod task;
pub mod watermark;

pub use analyse::AnalyseTask;
pub use analysis::{Analysis, Finding};
pub use ingest::IngestTask;
pub use state::InvalidState;
pub use task::PartitionTask;
