//! An hour in the life of a shop: three faults, one of each kind.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::draw::{Stream, stream};
use crate::fault::{Fault, FaultKind, InvalidFault};
use crate::graph::{
    AD, CART, CATALOG, CATALOG_DB, CHECKOUT, CURRENCY, INVENTORY, ORDERS_DB, PAYMENT, RECOMMENDATION,
    SERVICES, SHIPPING, USER,
};
use crate::shop::{Shop, ShopConfig};

const MINUTE_MS: i64 = 60_000;
const WARM_UP_MS: i64 = 20 * MINUTE_MS;
const FAULT_MS: i64 = 5 * MINUTE_MS;
const RECOVERY_MS: i64 = 10 * MINUTE_MS;

/// A warm-up of 20 min, then three times a fault of 5 min and a recovery of 10 min or up to 1 min more.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    pub config: ShopConfig,
    /// In the order of time; the services differ.
    pub faults: Vec<Fault>,
    /// Where the last recovery ends, in ms since the Unix epoch. At most 75 min after the start.
    pub end_ms: i64,
}

impl Scenario {
    pub fn from_seed(seed: u64, start_ms: i64) -> Self {
        let mut rng = stream(seed, Stream::Scenario);
        let mut kinds =
            [FaultKind::SlowDatabase, FaultKind::ErrorsAfterDeploy, FaultKind::MemoryLeakWithCpuPressure];
        for index in (1..kinds.len()).rev() {
            kinds.swap(index, rng.random_range(0..=index as u32) as usize);
        }
        let mut faults: Vec<Fault> = Vec::new();
        let mut time_ms = start_ms + WARM_UP_MS;
        for kind in kinds {
            let free =
                |service: &&usize| faults.iter().all(|fault| fault.service != SERVICES[**service].name);
            let candidates: Vec<usize> = candidates(kind).iter().filter(free).copied().collect();
            let service = SERVICES[pick(&candidates, &mut rng)].name.to_owned();
            faults.push(Fault {
                service,
                kind,
                start_ms: time_ms,
                end_ms: time_ms + FAULT_MS,
                strength: 1.0,
            });
            time_ms += FAULT_MS + RECOVERY_MS + rng.random_range(0..MINUTE_MS);
        }
        Self { config: ShopConfig::new(seed, start_ms), faults, end_ms: time_ms }
    }

    /// The shop at the start, with the faults injected.
    pub fn shop(&self) -> Result<Shop, InvalidFault> {
        let mut shop = Shop::new(self.config.clone());
        for fault in &self.faults {
            shop.inject(fault)?;
        }
        Ok(shop)
    }
}

fn pick(candidates: &[usize], rng: &mut ChaCha8Rng) -> usize {
    candidates[rng.random_range(0..candidates.len() as u32) as usize]
}

/// The services where a fault of this kind matters to others.
fn candidates(kind: FaultKind) -> &'static [usize] {
    match kind {
        FaultKind::SlowDatabase => &[ORDERS_DB, CATALOG_DB],
        FaultKind::ErrorsAfterDeploy => {
            &[CHECKOUT, CART, CATALOG, PAYMENT, SHIPPING, CURRENCY, INVENTORY, USER]
        }
        FaultKind::MemoryLeakWithCpuPressure => {
            &[CHECKOUT, CART, CATALOG, RECOMMENDATION, PAYMENT, SHIPPING, CURRENCY, AD, INVENTORY, USER]
        }
    }
}
