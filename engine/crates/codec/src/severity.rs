//! The severity of a log record as OpenTelemetry numbers it: 1 to 24, 0 if unknown.

/// The number if it is one of OpenTelemetry's, else the one that the text names.
pub(crate) fn of(number: i32, text: &str) -> u8 {
    match u8::try_from(number) {
        Ok(number @ 1..=24) => number,
        _ => of_text(text),
    }
}

/// The number of a level's name, whatever its case. Names are those of OpenTelemetry, syslog and common loggers.
pub(crate) fn of_text(text: &str) -> u8 {
    const NAMES: &[(&str, u8)] = &[
        ("trace", 1),
        ("debug", 5),
        ("info", 9),
        ("information", 9),
        ("notice", 9),
        ("warn", 13),
        ("warning", 13),
        ("error", 17),
        ("err", 17),
        ("fatal", 21),
        ("critical", 21),
        ("crit", 21),
        ("alert", 21),
        ("emerg", 21),
    ];
    NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map_or(0, |(_, number)| *number)
}
