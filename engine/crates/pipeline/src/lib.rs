//! The streaming core: stages as a synchronous task per partition. No I/O and no clock.
