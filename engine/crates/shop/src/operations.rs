//! The operations of the shop, callees first, and the requests that come from outside.

use crate::graph::{
    AD, CACHE, CART, CATALOG, CATALOG_DB, CHECKOUT, CURRENCY, Call, EMAIL, FRONTEND, INVENTORY, ORDERS_DB,
    Operation, PAYMENT, Protocol, RECOMMENDATION, SHIPPING, USER, call, optional, sometimes,
};

const fn query(
    service: usize,
    system: &'static str,
    operation: &'static str,
    name: &'static str,
    work_ms: f64,
) -> Operation {
    Operation {
        service,
        name,
        protocol: Protocol::Database { system, operation },
        work_ms,
        steps: &[],
        started: None,
        succeeded: None,
        failed: "query failed: could not obtain lock after {millis} ms, connection {number}",
    }
}

static CACHE_GET: Operation = query(CACHE, "redis", "GET", "GET session", 0.8);
static CACHE_SET: Operation = query(CACHE, "redis", "SET", "SET session", 1.0);
static CATALOG_SELECT: Operation = query(CATALOG_DB, "postgresql", "SELECT", "SELECT catalog.products", 9.0);
static STOCK_SELECT: Operation = query(CATALOG_DB, "postgresql", "SELECT", "SELECT catalog.stock", 6.0);
static STOCK_UPDATE: Operation = query(CATALOG_DB, "postgresql", "UPDATE", "UPDATE catalog.stock", 12.0);
static ORDERS_SELECT: Operation = query(ORDERS_DB, "postgresql", "SELECT", "SELECT orders.orders", 11.0);
static ORDERS_INSERT: Operation = query(ORDERS_DB, "postgresql", "INSERT", "INSERT orders.orders", 14.0);
static USERS_SELECT: Operation = query(ORDERS_DB, "postgresql", "SELECT", "SELECT orders.users", 5.0);
static PAYMENTS_INSERT: Operation = query(ORDERS_DB, "postgresql", "INSERT", "INSERT orders.payments", 8.0);

static CATALOG_GET: Operation = Operation {
    service: CATALOG,
    name: "shop.ProductCatalog/GetProduct",
    protocol: Protocol::Grpc,
    work_ms: 4.0,
    steps: &[&[call(&CACHE_GET)], &[sometimes(&CATALOG_SELECT, 0.5)]],
    started: None,
    succeeded: Some("product {product} found, {number} variants"),
    failed: "cannot load product {product}: unexpected schema revision {number}",
};

static CATALOG_LIST: Operation = Operation {
    service: CATALOG,
    name: "shop.ProductCatalog/ListProducts",
    protocol: Protocol::Grpc,
    work_ms: 7.0,
    steps: &[&[call(&CATALOG_SELECT)]],
    started: None,
    succeeded: Some("listed {number} products of category {category}"),
    failed: "cannot list products of category {category}: unexpected schema revision {number}",
};

static CONVERT: Operation = Operation {
    service: CURRENCY,
    name: "shop.Currency/Convert",
    protocol: Protocol::Grpc,
    work_ms: 1.5,
    steps: &[],
    started: None,
    succeeded: Some("converted {amount} to {currency}"),
    failed: "no conversion rate for {currency}: table version {number} is not readable",
};

static RECOMMEND: Operation = Operation {
    service: RECOMMENDATION,
    name: "shop.Recommendation/ListRecommendations",
    protocol: Protocol::Grpc,
    work_ms: 14.0,
    steps: &[&[call(&CATALOG_LIST)]],
    started: Some("recommendations for user {user} requested"),
    succeeded: Some("ranked {number} candidates in {millis} ms"),
    failed: "model cannot score user {user}: feature {number} is missing",
};

static GET_ADS: Operation = Operation {
    service: AD,
    name: "shop.Ad/GetAds",
    protocol: Protocol::Grpc,
    work_ms: 5.0,
    steps: &[&[sometimes(&CACHE_GET, 0.6)]],
    started: None,
    succeeded: Some("selected ad {number} for category {category}"),
    failed: "no ad for category {category}: campaign {number} is malformed",
};

static GET_STOCK: Operation = Operation {
    service: INVENTORY,
    name: "shop.Inventory/GetStock",
    protocol: Protocol::Grpc,
    work_ms: 3.0,
    steps: &[&[call(&STOCK_SELECT)]],
    started: None,
    succeeded: Some("stock of product {product} is {number}"),
    failed: "cannot read stock of product {product}: warehouse {number} not mapped",
};

static RESERVE: Operation = Operation {
    service: INVENTORY,
    name: "shop.Inventory/Reserve",
    protocol: Protocol::Grpc,
    work_ms: 5.0,
    steps: &[&[call(&STOCK_SELECT)], &[call(&STOCK_UPDATE)]],
    started: Some("reserving {number} items for order {order}"),
    succeeded: Some("reserved items for order {order} until {time}"),
    failed: "cannot reserve items for order {order}: warehouse {number} not mapped",
};

static AUTHENTICATE: Operation = Operation {
    service: USER,
    name: "shop.User/Authenticate",
    protocol: Protocol::Grpc,
    work_ms: 4.0,
    steps: &[&[call(&CACHE_GET)], &[sometimes(&USERS_SELECT, 0.4)]],
    started: None,
    succeeded: Some("user {user} authenticated from {address}"),
    failed: "cannot verify token of user {user}: key {number} is unknown",
};

static GET_CART: Operation = Operation {
    service: CART,
    name: "shop.Cart/GetCart",
    protocol: Protocol::Grpc,
    work_ms: 3.0,
    steps: &[&[call(&CACHE_GET)]],
    started: None,
    succeeded: Some("cart of user {user} holds {number} items"),
    failed: "cannot read cart of user {user}: item {number} does not parse",
};

static ADD_ITEM: Operation = Operation {
    service: CART,
    name: "shop.Cart/AddItem",
    protocol: Protocol::Grpc,
    work_ms: 4.0,
    steps: &[&[call(&CATALOG_GET), call(&GET_STOCK)], &[call(&CACHE_SET)]],
    started: Some("adding product {product} to cart of user {user}"),
    succeeded: Some("cart of user {user} saved, {number} items"),
    failed: "cannot save cart of user {user}: item {number} does not parse",
};

static EMPTY_CART: Operation = Operation {
    service: CART,
    name: "shop.Cart/EmptyCart",
    protocol: Protocol::Grpc,
    work_ms: 2.0,
    steps: &[&[call(&CACHE_SET)]],
    started: None,
    succeeded: Some("cart of user {user} emptied"),
    failed: "cannot empty cart of user {user}: item {number} does not parse",
};

static QUOTE: Operation = Operation {
    service: SHIPPING,
    name: "shop.Shipping/GetQuote",
    protocol: Protocol::Grpc,
    work_ms: 5.0,
    steps: &[],
    started: None,
    succeeded: Some("shipping quote {amount} for {number} items"),
    failed: "cannot quote: tariff zone {number} is not configured",
};

static SHIP: Operation = Operation {
    service: SHIPPING,
    name: "shop.Shipping/ShipOrder",
    protocol: Protocol::Grpc,
    work_ms: 9.0,
    steps: &[],
    started: Some("shipment of order {order} requested"),
    succeeded: Some("order {order} shipped, tracking number {token}"),
    failed: "cannot ship order {order}: tariff zone {number} is not configured",
};

static CHARGE: Operation = Operation {
    service: PAYMENT,
    name: "shop.Payment/Charge",
    protocol: Protocol::Grpc,
    work_ms: 22.0,
    steps: &[&[call(&PAYMENTS_INSERT)]],
    started: Some("charging {amount} {currency} for order {order}"),
    succeeded: Some("transaction {token} accepted after {millis} ms"),
    failed: "transaction for order {order} failed: gateway answered with code {number}",
};

static CONFIRM: Operation = Operation {
    service: EMAIL,
    name: "shop.Email/SendConfirmation",
    protocol: Protocol::Grpc,
    work_ms: 18.0,
    steps: &[],
    started: None,
    succeeded: Some("confirmation of order {order} sent to user {user}"),
    failed: "cannot render confirmation of order {order}: placeholder {number} is not bound",
};

static PLACE_ORDER: Operation = Operation {
    service: CHECKOUT,
    name: "shop.Checkout/PlaceOrder",
    protocol: Protocol::Grpc,
    work_ms: 12.0,
    steps: &[
        &[call(&GET_CART)],
        &[call(&CATALOG_GET), call(&CONVERT), call(&QUOTE)],
        &[call(&RESERVE)],
        &[call(&CHARGE)],
        &[call(&ORDERS_INSERT)],
        &[call(&SHIP)],
        &[call(&EMPTY_CART), optional(&CONFIRM, 1.0)],
    ],
    started: Some("placing order {order} of user {user}"),
    succeeded: Some("order {order} placed, total {amount} {currency}"),
    failed: "cannot place order {order}: total of {number} positions does not match",
};

static LIST_ORDERS: Operation = Operation {
    service: CHECKOUT,
    name: "shop.Checkout/ListOrders",
    protocol: Protocol::Grpc,
    work_ms: 5.0,
    steps: &[&[call(&ORDERS_SELECT)]],
    started: None,
    succeeded: Some("user {user} has {number} orders"),
    failed: "cannot list orders of user {user}: total of {number} positions does not match",
};

const fn page(
    method: &'static str,
    route: &'static str,
    name: &'static str,
    work_ms: f64,
    steps: &'static [&'static [Call]],
) -> Operation {
    Operation {
        service: FRONTEND,
        name,
        protocol: Protocol::Http { method, route },
        work_ms,
        steps,
        started: Some("request of session {token} from {address}"),
        succeeded: None,
        failed: "cannot render page: template part {number} is missing",
    }
}

static HOME: Operation = page(
    "GET",
    "/",
    "GET /",
    9.0,
    &[
        &[sometimes(&AUTHENTICATE, 0.5)],
        &[call(&CATALOG_LIST), optional(&GET_ADS, 0.8)],
        &[optional(&RECOMMEND, 0.7), call(&CONVERT)],
    ],
);
static PRODUCT: Operation = page(
    "GET",
    "/products/{id}",
    "GET /products/{id}",
    8.0,
    &[
        &[call(&CATALOG_GET)],
        &[call(&GET_STOCK), call(&CONVERT)],
        &[optional(&RECOMMEND, 0.5), optional(&GET_ADS, 0.6)],
    ],
);
static ADD_TO_CART: Operation =
    page("POST", "/cart", "POST /cart", 6.0, &[&[call(&AUTHENTICATE)], &[call(&ADD_ITEM)]]);
static VIEW_CART: Operation = page(
    "GET",
    "/cart",
    "GET /cart",
    7.0,
    &[&[call(&AUTHENTICATE)], &[call(&GET_CART)], &[call(&CATALOG_GET), call(&CONVERT), call(&QUOTE)]],
);
static BUY: Operation = page(
    "POST",
    "/checkout",
    "POST /checkout",
    10.0,
    &[&[call(&AUTHENTICATE)], &[call(&PLACE_ORDER)], &[optional(&RECOMMEND, 0.3)]],
);
static ORDERS: Operation =
    page("GET", "/orders", "GET /orders", 6.0, &[&[call(&AUTHENTICATE)], &[call(&LIST_ORDERS)]]);

/// The requests from outside, and how often each one comes. The shares add up to 1.
pub static REQUESTS: [(&Operation, f64); 6] = [
    (&HOME, 0.22),
    (&PRODUCT, 0.28),
    (&ADD_TO_CART, 0.14),
    (&VIEW_CART, 0.12),
    (&BUY, 0.16),
    (&ORDERS, 0.08),
];
