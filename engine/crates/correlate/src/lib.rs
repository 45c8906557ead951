//! The service graph, grouping of anomalies into incidents, and root-cause ranking. Pure, deterministic.
