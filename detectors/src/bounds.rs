//! Bounds that keep the arithmetic finite.

/// Beyond this all values are alike, so that sums, products of a few and powers stay finite.
pub(crate) const VALUE_MAX: f64 = 1e100;
/// Below this all values are 0, so that quotients of two stay finite.
const VALUE_MIN: f64 = 1e-100;
/// No part of a state is larger.
pub(crate) const STATE_MAX: f64 = 1e150;

/// A value to calculate with.
pub(crate) fn bounded(value: f64) -> f64 {
    if value.abs() < VALUE_MIN { 0.0 } else { value.clamp(-VALUE_MAX, VALUE_MAX) }
}

/// Whether a part of a state can be the size of something.
pub(crate) fn is_size(value: f64) -> bool {
    (0.0..=STATE_MAX).contains(&value)
}

/// A number to show.
pub(crate) fn finite(value: f64) -> f64 {
    value.clamp(f64::MIN, f64::MAX)
}
