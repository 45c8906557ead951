//! The list of every built-in detector.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bank::Bank;
use crate::ensemble::Ensemble;
use crate::ewma::Ewma;
use crate::isolation_forest::IsolationForest;
use crate::level_shift::LevelShift;
use crate::seasonal::Seasonal;
use crate::tail::Tail;
use crate::{Detector, DetectorBank, InvalidParameters};

/// A detector as the configuration knows it.
pub struct DetectorSpec {
    pub name: &'static str,
    pub summary: &'static str,
    /// Whether it knows times of the day, and takes the parameter `calendar` (see [`Calendar`](crate::Calendar)).
    pub knows_days: bool,
    /// Builds it from its parameters, a JSON object; what is left out has its default.
    pub build: fn(Value) -> Result<Box<dyn DetectorBank>, InvalidParameters>,
}

/// To add a detector: a file beside this one, and a line here.
pub const DETECTORS: &[DetectorSpec] = &[
    DetectorSpec {
        name: Ewma::NAME,
        summary: "z-score against an exponentially weighted mean and deviation",
        knows_days: false,
        build: build::<Ewma>,
    },
    DetectorSpec {
        name: Seasonal::NAME,
        summary: "residual of an online decomposition into level, trend and season",
        knows_days: true,
        build: build::<Seasonal>,
    },
    DetectorSpec {
        name: IsolationForest::NAME,
        summary: "isolation forest over the last values of a series, rebuilt from a sliding window",
        knows_days: false,
        build: build::<IsolationForest>,
    },
    DetectorSpec {
        name: Ensemble::NAME,
        summary: "distance from a slow level and novelty of the picture, both against what the series does all the time",
        knows_days: true,
        build: build::<Ensemble>,
    },
    DetectorSpec {
        name: LevelShift::NAME,
        summary: "a new level that stays, once; a return to the level before is none",
        knows_days: false,
        build: build::<LevelShift>,
    },
    DetectorSpec {
        name: Tail::NAME,
        summary: "how rare a residual is, by the distribution of the largest ones (SPOT)",
        knows_days: false,
        build: build::<Tail>,
    },
];

fn build<D: Detector + DeserializeOwned>(
    parameters: Value,
) -> Result<Box<dyn DetectorBank>, InvalidParameters> {
    let detector: D =
        serde_json::from_value(parameters).map_err(|error| InvalidParameters(error.to_string()))?;
    detector.validate()?;
    Ok(Box::new(Bank::new(detector)))
}
