//! How large a residual is, in units of those that the series had before.

use serde::{Deserialize, Serialize};

use super::{Setting, is_size, weight};

/// From such a mean to a sigma, about.
pub(super) const SIGMA_PER_SCALE: f64 = 1.25;
const SIGMAS_MAX: f64 = 100.0;

/// The residuals of one predictor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Residuals {
    /// Means of powers of residuals: of all, and twice those of the points above and below.
    moment: f64,
    moment_above: f64,
    moment_below: f64,
    /// Mean of the sigmas beyond the usual ones.
    excess: f64,
}

/// What residuals alert.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    pub sigma_above: f64,
    pub sigma_below: f64,
    /// Sigmas beyond the usual ones that alert.
    pub alert: f64,
    /// Those that would alert if what is not learned yet of the series were as it is in most series.
    pub alert_provisional: f64,
}

impl Residuals {
    pub fn scale(&self) -> f64 {
        root(self.moment)
    }

    /// `scale` is [`scale`](Self::scale), `unlearned` falls from 1 to 0; sigma is at least `smallest`.
    pub fn measure(&self, scale: f64, unlearned: f64, smallest: f64, setting: Setting) -> Measure {
        let sigma = |moment: f64| (SIGMA_PER_SCALE * (scale + root(moment)) / 2.0).max(smallest);
        let (alert, alert_provisional) = self.alerts(unlearned, setting);
        Measure {
            sigma_above: sigma(self.moment_above),
            sigma_below: sigma(self.moment_below),
            alert,
            alert_provisional,
        }
    }

    /// The sigmas beyond the usual ones of a residual alone, and those that alert.
    pub fn excess_and_alert(
        &self,
        residual: f64,
        scale: f64,
        unlearned: f64,
        setting: Setting,
    ) -> (f64, f64) {
        let alert = self.alerts(unlearned, setting).0;
        // Whatever its own side is like, sigma is at least that of all by half.
        if residual.abs() <= setting.constants.usual_sigmas * (SIGMA_PER_SCALE * scale / 2.0) {
            return (0.0, alert);
        }
        let moment = if residual > 0.0 { self.moment_above } else { self.moment_below };
        (excess(residual, SIGMA_PER_SCALE * (scale + root(moment)) / 2.0, setting), alert)
    }

    /// Sigmas beyond the usual ones that alert, and that would if what is not learned were as in most series.
    fn alerts(&self, unlearned: f64, setting: Setting) -> (f64, f64) {
        let constants = setting.constants;
        let learned = 1.0 - unlearned;
        // The mean excess is what the series does all the time.
        let alert = |excess: f64| {
            constants.alert_sigmas * (1.0 + setting.pace.level_habituation * excess)
                / setting.pace.rate_weight
        };
        let provisional = alert(unlearned * constants.usual_excess + learned * self.excess);
        (alert(self.excess) / learned, provisional)
    }

    pub fn learn(&mut self, residual: f64, limit: f64, points: u32, setting: Setting) {
        let power = power(residual.abs().min(limit));
        let (above, below) = if residual > 0.0 { (2.0 * power, 0.0) } else { (0.0, 2.0 * power) };
        let by = weight(setting.constants.scale_weight, points);
        self.moment += by * (power - self.moment);
        self.moment_above += by * (above - self.moment_above);
        self.moment_below += by * (below - self.moment_below);
    }

    pub fn learn_excess(&mut self, excess: f64, points: u32, setting: Setting) {
        self.excess += weight(setting.pace.habit_weight, points) * (excess - self.excess);
    }

    pub fn is_sound(&self) -> bool {
        [self.moment, self.moment_above, self.moment_below, self.excess].into_iter().all(is_size)
    }
}

impl Measure {
    /// Sigmas beyond the usual ones.
    pub fn excess(&self, residual: f64, setting: Setting) -> f64 {
        excess(residual, if residual > 0.0 { self.sigma_above } else { self.sigma_below }, setting)
    }
}

fn excess(residual: f64, sigma: f64, setting: Setting) -> f64 {
    // A flat series that moves is as surprising as can be.
    let sigmas = if residual == 0.0 { 0.0 } else { (residual.abs() / sigma).min(SIGMAS_MAX) };
    (sigmas - setting.constants.usual_sigmas).max(0.0)
}

/// The scale is the mean of residuals to the power of 1.25, and of that the root: more than 1 calms heavy tails.
fn power(size: f64) -> f64 {
    size * size.sqrt().sqrt()
}

/// The root, four times a point: powers of a library cost several times as much, and differ from one library to the next.
fn root(moment: f64) -> f64 {
    /// What makes the first guess wrong by 3.2 % at the most.
    const GUESS: u64 = 0x4cb8_a7ef_9db2_2c00;
    if moment < f64::MIN_POSITIVE {
        return moment.powf(0.8);
    }
    // The inverse of the fifth root: a fifth of the exponent, and then the series of (1 - wrong)^(-1/5), twice.
    let guess = f64::from_bits(GUESS - moment.to_bits() / 5);
    let wrong = |inverse: f64| 1.0 - moment * inverse * (inverse * inverse) * (inverse * inverse);
    let by = wrong(guess);
    let near = guess + guess * by * (0.2 + by * (0.12 + by * (0.088 + by * 0.0704)));
    let by = wrong(near);
    moment * (near + near * by * (0.2 + by * 0.12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_that_of_the_power() {
        assert_eq!(root(0.0), 0.0);
        for i in -30_000..30_000 {
            let moment = 10.0_f64.powf(f64::from(i) * 0.01) * (1.0 + f64::from(i & 7));
            // Far from 1 it shows that 0.8 is not exactly four fifths.
            assert!((root(moment) / moment.powf(0.8) - 1.0).abs() < 1e-13, "{moment}");
            let size = 10.0_f64.powf(f64::from(i) * 0.004);
            assert!((root(power(size)) / size - 1.0).abs() < 1e-14, "{size}");
        }
        assert!((root(1e-320) / 1e-256 - 1.0).abs() < 1e-3);
    }
}
