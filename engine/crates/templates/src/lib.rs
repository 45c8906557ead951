//! Online log template mining with bounded memory.
