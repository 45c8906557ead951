//! What only the neighbours of a token can tell: words of dates, and values with commas or colons between.

use super::Token;
use crate::classify::Kind;

/// Marks dates, joins `1,2` and `1:2` into one variable each, and leaves one variable of each run of them.
pub(super) fn fold(line: &str, tokens: &mut Vec<Token>) {
    for at in (0..tokens.len()).rev() {
        if tokens[at].kind == Kind::Word && is_part_of_date(line, tokens, at) {
            tokens[at].become_variable();
        }
    }
    let mut kept = 0;
    for at in 0..tokens.len() {
        let token = tokens[at];
        if token.kind == Kind::Variable {
            let is_joint =
                |between: &Token| !between.spaced && !token.spaced && matches!(between.text(line), "," | ":");
            match &mut tokens[..kept] {
                [.., before] if before.kind == Kind::Variable => {
                    before.end = token.end;
                    continue;
                }
                [.., before, between] if before.kind == Kind::Variable && is_joint(between) => {
                    before.end = token.end;
                    kept -= 1;
                    continue;
                }
                _ => {}
            }
        }
        tokens[kept] = token;
        kept += 1;
    }
    tokens.truncate(kept);
}

/// Where a word of a date stands: beside a variable, before one, or behind one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DateWord {
    Month,
    Weekday,
    Zone,
}

#[inline]
pub(super) fn date_word(text: &[u8]) -> Option<DateWord> {
    if !(3..=4).contains(&text.len()) || !text[0].is_ascii_uppercase() {
        return None;
    }
    match text {
        b"Jan" | b"Feb" | b"Mar" | b"Apr" | b"May" | b"Jun" | b"Jul" | b"Aug" | b"Sep" | b"Oct" | b"Nov"
        | b"Dec" => Some(DateWord::Month),
        b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun" => Some(DateWord::Weekday),
        b"UTC" | b"GMT" | b"PST" | b"PDT" | b"EST" | b"EDT" | b"CST" | b"CDT" | b"MST" | b"MDT" | b"CET"
        | b"CEST" => Some(DateWord::Zone),
        _ => None,
    }
}

fn is_part_of_date(line: &str, tokens: &[Token], at: usize) -> bool {
    let Some(word) = date_word(tokens[at].text(line).as_bytes()) else { return false };
    let is_variable = |token: Option<&Token>| token.is_some_and(|token| token.kind == Kind::Variable);
    let before = is_variable(at.checked_sub(1).map(|at| &tokens[at]));
    let after = is_variable(tokens.get(at + 1));
    match word {
        DateWord::Month => before || after,
        DateWord::Weekday => after,
        DateWord::Zone => before,
    }
}
