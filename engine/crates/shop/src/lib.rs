//! A simulated shop whose services emit all four signals and can be broken on purpose. Knows nothing of the engine.
