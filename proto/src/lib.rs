//! Generated protobuf types: OTLP as vendored, and the foreshock.v1 services. No logic.

#![forbid(unsafe_code)]

/// Declares the module of one protobuf package. The lints are about generated code and stay here.
macro_rules! package {
    ($package:literal) => {
        // What tonic writes.
        #[allow(unused_qualifications)]
        // Comments of the vendored files.
        #[allow(clippy::doc_lazy_continuation, clippy::doc_overindented_list_items)]
        #[allow(rustdoc::invalid_html_tags)]
        pub mod v1 {
            tonic::include_proto!($package);
        }
    };
}

/// The OpenTelemetry protocol: messages, and clients that tests send with.
///
/// The modules nest as the packages do, without the level `proto`: generated code refers to its
/// neighbours by relative paths, which end below that level.
pub mod opentelemetry {
    pub mod common {
        package!("opentelemetry.proto.common.v1");
    }
    pub mod resource {
        package!("opentelemetry.proto.resource.v1");
    }
    pub mod metrics {
        package!("opentelemetry.proto.metrics.v1");
    }
    pub mod logs {
        package!("opentelemetry.proto.logs.v1");
    }
    pub mod trace {
        package!("opentelemetry.proto.trace.v1");
    }
    /// The requests that the OpenTelemetry Collector writes onto topics.
    pub mod collector {
        pub mod metrics {
            package!("opentelemetry.proto.collector.metrics.v1");
        }
        pub mod logs {
            package!("opentelemetry.proto.collector.logs.v1");
        }
        pub mod trace {
            package!("opentelemetry.proto.collector.trace.v1");
        }
    }
}

/// The public gRPC interface of the engine, clients and servers.
pub mod foreshock {
    package!("foreshock.v1");
}

/// Encoded `FileDescriptorSet` of foreshock.v1, for gRPC reflection. Without OTLP, whose services the engine
/// does not offer.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("foreshock.v1");
