//! Asks for memory before it is read.
//!
//! The states of many series do not fit into a cache, and each consists of parts that name one another: whoever waits for each in
//! turn waits for most of the time. Which series the next points belong to is known, so their states can be asked for meanwhile. It
//! changes nothing that is calculated.

/// What memory comes in.
const LINE_BYTES: usize = 64;

/// Asks for a value, but not for what lies behind its pointers.
pub(crate) fn value<T>(value: &T) {
    // It need not begin where a line does.
    let first = std::ptr::from_ref(value).cast::<u8>().map_addr(|address| address & !(LINE_BYTES - 1));
    for i in 0..size_of::<T>().div_ceil(LINE_BYTES) + 1 {
        line(first.wrapping_add(i * LINE_BYTES));
    }
}

#[cfg(target_arch = "x86_64")]
fn line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint, which no address makes invalid.
    #[allow(unsafe_code, reason = "there is no safe form of it")]
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}

#[cfg(target_arch = "aarch64")]
fn line(address: *const u8) {
    // SAFETY: a hint, which no address makes invalid; it changes neither memory nor flags.
    #[allow(unsafe_code, reason = "there is no safe form of it")]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn line(_address: *const u8) {}
