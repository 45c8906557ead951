//! What the shop consists of: its services, their operations, and which operation calls which.
//!
//! Pure data. A placeholder in the text of a log, such as `{user}`, is filled in per call.

/// A service and the machine that it runs on.
#[derive(Debug)]
pub struct Service {
    pub name: &'static str,
    pub database: bool,
    /// Calls that it works on at once; more wait.
    pub workers: usize,
    /// Share of the CPU that is used at no load, and that the usual load adds.
    pub idle_cpu: f64,
    pub load_cpu: f64,
    pub memory_mib: f64,
    pub memory_limit_mib: f64,
}

const fn service(name: &'static str, cpu: (f64, f64), memory_mib: (f64, f64)) -> Service {
    Service {
        name,
        database: false,
        workers: 16,
        idle_cpu: cpu.0,
        load_cpu: cpu.1,
        memory_mib: memory_mib.0,
        memory_limit_mib: memory_mib.1,
    }
}

const fn database(name: &'static str, cpu: (f64, f64), memory_mib: (f64, f64)) -> Service {
    Service { database: true, workers: 32, ..service(name, cpu, memory_mib) }
}

pub const FRONTEND: usize = 0;
pub const CHECKOUT: usize = 1;
pub const CART: usize = 2;
pub const CATALOG: usize = 3;
pub const RECOMMENDATION: usize = 4;
pub const PAYMENT: usize = 5;
pub const SHIPPING: usize = 6;
pub const EMAIL: usize = 7;
pub const CURRENCY: usize = 8;
pub const AD: usize = 9;
pub const INVENTORY: usize = 10;
pub const USER: usize = 11;
pub const ORDERS_DB: usize = 12;
pub const CATALOG_DB: usize = 13;
pub const CACHE: usize = 14;

pub const SERVICES: [Service; 15] = [
    service("frontend", (0.06, 0.22), (310.0, 768.0)),
    service("checkout", (0.04, 0.16), (240.0, 640.0)),
    service("cart", (0.05, 0.15), (190.0, 512.0)),
    service("product-catalog", (0.05, 0.21), (280.0, 768.0)),
    service("recommendation", (0.08, 0.24), (420.0, 1024.0)),
    service("payment", (0.03, 0.12), (210.0, 512.0)),
    service("shipping", (0.03, 0.13), (160.0, 512.0)),
    service("email", (0.02, 0.08), (140.0, 384.0)),
    service("currency", (0.04, 0.18), (90.0, 256.0)),
    service("ad", (0.05, 0.15), (330.0, 768.0)),
    service("inventory", (0.04, 0.14), (230.0, 640.0)),
    service("user", (0.04, 0.16), (220.0, 640.0)),
    database("orders-db", (0.07, 0.15), (880.0, 2048.0)),
    database("catalog-db", (0.08, 0.20), (1150.0, 2048.0)),
    database("cache", (0.03, 0.12), (520.0, 1024.0)),
];

/// How an operation is reached, which decides on the attributes of its spans.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    Http { method: &'static str, route: &'static str },
    Grpc,
    Database { system: &'static str, operation: &'static str },
}

/// What a service does for one call: work, a step of calls, work, the next step, and so on, work at the end.
#[derive(Debug)]
pub struct Operation {
    /// Index in [`SERVICES`].
    pub service: usize,
    /// Name of its spans.
    pub name: &'static str,
    pub protocol: Protocol,
    /// Median of its own work, all parts together.
    pub work_ms: f64,
    /// One after the other; the calls of one step run at once.
    pub steps: &'static [&'static [Call]],
    pub started: Option<&'static str>,
    pub succeeded: Option<&'static str>,
    pub failed: &'static str,
}

#[derive(Debug)]
pub struct Call {
    pub to: &'static Operation,
    pub probability: f64,
    /// Without it the caller fails too.
    pub required: bool,
}

pub const fn call(to: &'static Operation) -> Call {
    Call { to, probability: 1.0, required: true }
}

pub const fn sometimes(to: &'static Operation, probability: f64) -> Call {
    Call { to, probability, required: true }
}

pub const fn optional(to: &'static Operation, probability: f64) -> Call {
    Call { to, probability, required: false }
}
