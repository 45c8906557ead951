//! The streaming core: stages as a synchronous task per partition.
//!
//! **Architecture invariant:** what comes out depends only on the records that went in and their order. There is no clock,
//! no randomness without a seed, no hash-map order, and no batch boundary in the result.

pub mod alert;
pub mod amendment;
pub mod analysis;
pub mod anomaly;
pub mod budget;
mod coverage;
pub mod derive;
pub mod detect;
pub mod events;
pub mod feedback;
mod idle;
pub mod in_process;
pub mod incident;
pub mod ingest;
pub mod keyed;
pub mod log_templates;
mod missing;
mod newcomers;
pub mod routing;
pub mod series;
pub mod series_table;
pub mod service_points;
pub mod settings;
pub mod silence;
pub mod state;
pub mod task;
pub mod trace;
pub mod watches;
pub mod watermark;
pub mod wire;

pub use analysis::Analysis;
pub use in_process::InProcess;
pub use incident::{Conclusion, IncidentTask};
pub use ingest::IngestTask;
pub use keyed::KeyedTask;
pub use routing::{Partitions, Router};
pub use series::{ObservedPoint, SeriesStage, SeriesTask};
pub use service_points::ServicePoints;
pub use state::InvalidState;
pub use task::PartitionTask;
pub use trace::TraceTask;
