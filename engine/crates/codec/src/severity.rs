//! The severity of a log record as OpenTelemetry numbers it: 1 to 24, 0 if unknown.

/// What the numbers of a field mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// 1 to 24.
    OpenTelemetry,
    /// The levels of Bunyan and Pino: 10 (trace), 20, 30 (information), 40, 50 and 60 (fatal).
    Bunyan,
    /// From 0 (emergency) to 7 (debug).
    Syslog,
}

impl Scale {
    /// 0 if the number has no meaning.
    pub(crate) fn severity(self, number: u8) -> u8 {
        match (self, number) {
            (Self::OpenTelemetry, 1..=24) => number,
            // Other numbers are levels of a writer's own, or of another scale.
            (Self::Bunyan, 10..=60) if number.is_multiple_of(10) => {
                [1, 5, 9, 13, 17, 21][usize::from(number / 10 - 1)]
            }
            // Emergency, alert and critical are fatal; notice is information.
            (Self::Syslog, 0..=7) => [21, 21, 21, 17, 13, 9, 9, 5][usize::from(number)],
            _ => 0,
        }
    }

    /// Of a number in this scale, or of the name of a level.
    pub(crate) fn severity_of(self, text: &str) -> u8 {
        match text.parse::<i64>() {
            Ok(number) => u8::try_from(number).map_or(0, |number| self.severity(number)),
            Err(_) => of_text(text),
        }
    }
}

/// The number if it is one of OpenTelemetry's, else the one that the text names.
pub(crate) fn of(number: i32, text: &str) -> u8 {
    match u8::try_from(number).map_or(0, |number| Scale::OpenTelemetry.severity(number)) {
        0 => of_text(text),
        severity => severity,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_mean_what_their_scale_says() {
        for (scale, numbers) in [
            (Scale::OpenTelemetry, [("1", 1), ("9", 9), ("24", 24), ("0", 0), ("25", 0), ("30", 0)]),
            (Scale::Bunyan, [("10", 1), ("30", 9), ("39", 0), ("60", 21), ("9", 0), ("61", 0)]),
            (Scale::Syslog, [("0", 21), ("3", 17), ("6", 9), ("7", 5), ("8", 0), ("-1", 0)]),
        ] {
            for (text, expected) in numbers {
                assert_eq!(scale.severity_of(text), expected, "{scale:?} {text}");
            }
            assert_eq!((scale.severity_of("Warning"), scale.severity_of("loud")), (13, 0));
        }
        assert_eq!((of(17, "warn"), of(0, "warn"), of(25, "warn"), of(-1, "")), (17, 13, 13, 0));
    }
}
