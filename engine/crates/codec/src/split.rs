//! Cuts requests that came over the network into pieces that fit into a record each. Every piece is a request of its own; together
//! they hold what the request held.
//!
//! In OTLP's requests the repeated messages (resources, scopes, and metrics, log records or spans) are spread over pieces, and
//! what stands around them is repeated in each; in remote write's the series are, and of 2.0 the symbols are repeated. What is
//! repeated may take half of a piece, so that the pieces are at most about twice as large as the request.

use std::borrow::Cow;

use crate::Rejected;
use crate::compression::snappy_block;
use crate::wire::{Fields, WireError, push_varint};

/// A request, cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pieces<'a> {
    pub pieces: Vec<Piece<'a>>,
    /// Items that fit into no piece.
    pub too_large: u64,
}

/// A part of a request that is one itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    pub payload: Cow<'a, [u8]>,
    /// Points, log records or spans in it.
    pub items: u64,
    /// Of the points in remote write, those that are native histograms.
    pub histograms: u64,
}

impl<'a> Piece<'a> {
    fn new(payload: impl Into<Cow<'a, [u8]>>, items: u64) -> Self {
        Self { payload: payload.into(), items, histograms: 0 }
    }
}

/// What a message has to do with cutting.
struct Level {
    /// The field of the messages that may be spread over pieces.
    children: u32,
    /// Of the children; none if they are not cut.
    below: Option<&'static Level>,
    /// How many items a child is.
    items: fn(&[u8]) -> Result<u64, WireError>,
}

fn one(_: &[u8]) -> Result<u64, WireError> {
    Ok(1)
}

fn below(level: &Level, message: &[u8]) -> Result<u64, WireError> {
    let mut items = 0;
    for field in Fields::of(message) {
        let field = field?;
        if field.number == level.children {
            items += (level.items)(field.bytes()?)?;
        }
    }
    Ok(items)
}

/// Points of a metric: in gauge, sum, histogram, exponential histogram and summary they all are field 1.
fn points(metric: &[u8]) -> Result<u64, WireError> {
    let mut points = 0;
    for field in Fields::of(metric) {
        let field = field?;
        if matches!(field.number, 5 | 7 | 9..=11) {
            for point in Fields::of(field.bytes()?) {
                points += u64::from(point?.number == 1);
            }
        }
    }
    Ok(points)
}

/// Samples and native histograms of a series: fields 2 and 4 of 1.0, 2 and 3 of 2.0. Exemplars are nobody's evidence.
fn samples_of_first(series: &[u8]) -> Result<u64, WireError> {
    count(series, &[2, 4])
}

fn samples_of_second(series: &[u8]) -> Result<u64, WireError> {
    count(series, &[2, 3])
}

fn count(message: &[u8], numbers: &[u32]) -> Result<u64, WireError> {
    let mut items = 0;
    for field in Fields::of(message) {
        items += u64::from(numbers.contains(&field?.number));
    }
    Ok(items)
}

static METRIC_SCOPE: Level = Level { children: 2, below: None, items: points };
static METRIC_RESOURCE: Level =
    Level { children: 2, below: Some(&METRIC_SCOPE), items: |scope| below(&METRIC_SCOPE, scope) };
static METRICS: Level =
    Level { children: 1, below: Some(&METRIC_RESOURCE), items: |resource| below(&METRIC_RESOURCE, resource) };
/// Log records and spans lie alike.
static ITEM_SCOPE: Level = Level { children: 2, below: None, items: one };
static ITEM_RESOURCE: Level =
    Level { children: 2, below: Some(&ITEM_SCOPE), items: |scope| below(&ITEM_SCOPE, scope) };
static ITEMS: Level =
    Level { children: 1, below: Some(&ITEM_RESOURCE), items: |resource| below(&ITEM_RESOURCE, resource) };
static FIRST: Level = Level { children: 1, below: None, items: samples_of_first };
static SECOND: Level = Level { children: 5, below: None, items: samples_of_second };

/// Cuts an OTLP export request of `metrics`, `logs` or `spans` in protobuf.
pub fn otlp<'a>(signal: &str, payload: &'a [u8], bytes_max: usize) -> Result<Pieces<'a>, Rejected> {
    let level = if signal == "metrics" { &METRICS } else { &ITEMS };
    pieces(level, payload, bytes_max).map_err(|error| error.reject("OTLP export request"))
}

/// Cuts a remote write request, which is a block of Snappy of at most `decompressed_bytes_max`; the pieces are such blocks.
pub fn remote_write<'a>(
    payload: &'a [u8],
    bytes_max: usize,
    decompressed_bytes_max: usize,
) -> Result<Pieces<'a>, Rejected> {
    const MESSAGE: &str = "Prometheus remote write request";
    let mut request = Vec::new();
    snappy_block(payload, decompressed_bytes_max, &mut request)?;
    let reject = |error: WireError| error.reject(MESSAGE);
    let second = Fields::of(&request).try_fold(false, |is, field| Ok(is || matches!(field?.number, 4 | 5)));
    let (level, histograms) = if second.map_err(reject)? { (&SECOND, 3) } else { (&FIRST, 4) };
    // Decoders bound what they read by its size without compression, so that counts.
    let cut = pieces(level, &request, bytes_max).map_err(reject)?;
    let is_whole =
        matches!(&*cut.pieces, [piece] if cut.too_large == 0 && piece.payload.len() == request.len());
    let mut pieces = Vec::with_capacity(cut.pieces.len());
    for piece in cut.pieces {
        let mut of_piece = 0;
        for field in Fields::of(&piece.payload) {
            let field = field.map_err(reject)?;
            if field.number == level.children {
                of_piece += field.bytes().and_then(|series| count(series, &[histograms])).map_err(reject)?;
            }
        }
        let payload =
            if is_whole && payload.len() <= bytes_max {
                Cow::Borrowed(payload)
            } else {
                let compressed = snap::raw::Encoder::new().compress_vec(&piece.payload);
                Cow::Owned(compressed.map_err(|error| Rejected::Compression {
                    encoding: "snappy",
                    reason: error.to_string(),
                })?)
            };
        pieces.push(Piece { payload, items: piece.items, histograms: of_piece });
    }
    Ok(Pieces { pieces, too_large: cut.too_large })
}

fn pieces<'a>(level: &'static Level, request: &'a [u8], bytes_max: usize) -> Result<Pieces<'a>, WireError> {
    if request.is_empty() {
        return Ok(Pieces::default());
    }
    if request.len() <= bytes_max {
        let items = below(level, request)?;
        return Ok(Pieces { pieces: vec![Piece::new(request, items)], too_large: 0 });
    }
    let mut cut = Pieces::default();
    let mut parts = Vec::new();
    cut.too_large += cut_message(level, request, bytes_max, bytes_max / 2, &mut parts)?;
    cut.pieces = parts.into_iter().map(|(payload, items)| Piece::new(payload, items)).collect();
    Ok(cut)
}

/// Appends parts of a message, of `bytes_max` each at the most, with their items; tells how many fit into none. `head_max` is
/// what may be repeated.
fn cut_message(
    level: &'static Level,
    message: &[u8],
    bytes_max: usize,
    head_max: usize,
    parts: &mut Vec<(Vec<u8>, u64)>,
) -> Result<u64, WireError> {
    let mut head = Vec::new();
    let mut fields = Fields::of(message);
    let mut rest = message;
    let mut children = Vec::new();
    while let Some(field) = fields.next() {
        let field = field?;
        let (raw, behind) = rest.split_at(rest.len() - fields.remaining());
        rest = behind;
        if field.number == level.children {
            children.push((field.bytes()?, raw));
        } else {
            head.extend_from_slice(raw);
        }
    }
    if head.len() > head_max {
        return below(level, message);
    }
    let mut too_large = 0;
    let (mut part, mut items) = (head.clone(), 0);
    let flush = |part: &mut Vec<u8>, items: &mut u64, parts: &mut Vec<(Vec<u8>, u64)>| {
        if part.len() > head.len() {
            parts.push((std::mem::replace(part, head.clone()), std::mem::take(items)));
        }
    };
    for (child, raw) in children {
        if part.len() + raw.len() > bytes_max {
            flush(&mut part, &mut items, parts);
        }
        if part.len() + raw.len() <= bytes_max {
            part.extend_from_slice(raw);
            items += (level.items)(child)?;
            continue;
        }
        let Some(lower) = level.below else {
            too_large += (level.items)(child)?;
            continue;
        };
        // The key and the length before a child take so many bytes at the most.
        const FRAME: usize = 11;
        let room = bytes_max.saturating_sub(head.len() + FRAME);
        let mut smaller = Vec::new();
        too_large += cut_message(lower, child, room, head_max - head.len(), &mut smaller)?;
        for (child, items) in smaller {
            let mut part = head.clone();
            part.push((level.children << 3 | 2) as u8);
            push_varint(&mut part, child.len() as u64);
            part.extend_from_slice(&child);
            parts.push((part, items));
        }
    }
    flush(&mut part, &mut items, parts);
    Ok(too_large)
}
