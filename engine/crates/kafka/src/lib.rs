//! The only crate that knows librdkafka: workers, transactions, readers.
