//! How clients change what people tell the engine.

use std::sync::Arc;
use std::time::Duration;

use controls::{Refused, RemarkRefused};
use tonic::Status;

use crate::controls::{ControlError, Controls, Known};

/// How long what was written may take to be read again.
const GRACE_ATTEMPTS: u32 = 100;
const GRACE_STEP: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Writing {
    controls: Arc<Controls>,
    may_write: bool,
}

impl Writing {
    /// Without `may_write` every change is refused.
    pub fn new(controls: Arc<Controls>, may_write: bool) -> Self {
        Self { controls, may_write }
    }

    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// Writes on a thread that may block, then waits until it was read again, so that who lists next sees it.
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Controls) -> Result<T, ControlError> + Send + 'static,
        is_read: impl Fn(&Known, &T) -> bool,
    ) -> Result<T, Status> {
        if !self.may_write {
            return Err(Status::permission_denied(
                "everybody in the network could silence alerts: set grpc.token_file, or listen on a loopback address",
            ));
        }
        let controls = Arc::clone(&self.controls);
        let written = tokio::task::spawn_blocking(move || write(&controls)).await;
        let written = written.map_err(|error| Status::internal(error.to_string()))?.map_err(status)?;
        for _ in 0..GRACE_ATTEMPTS {
            if is_read(&self.controls.known(), &written) {
                break;
            }
            tokio::time::sleep(GRACE_STEP).await;
        }
        Ok(written)
    }
}

fn status(error: ControlError) -> Status {
    let message = error.to_string();
    match error {
        ControlError::Silence(Refused::Unknown(_)) | ControlError::Remark(RemarkRefused::Unknown { .. }) => {
            Status::not_found(message)
        }
        ControlError::Silence(Refused::Invalid(_)) | ControlError::Remark(RemarkRefused::Invalid(_)) => {
            Status::invalid_argument(message)
        }
        ControlError::Silence(Refused::TooMany) | ControlError::Remark(RemarkRefused::TooMany(_)) => {
            Status::resource_exhausted(message)
        }
        ControlError::Write(_) => Status::unavailable(message),
    }
}
