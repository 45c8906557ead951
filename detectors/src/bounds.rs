//! Bounds that keep the arithmetic finite.

/// Beyond this all values are alike, so that sums, products of a few and powers stay finite.
pub(crate) const VALUE_MAX: f64 = 1e100;
/// No part of a state is larger.
pub(crate) const STATE_MAX: f64 = 1e150;
