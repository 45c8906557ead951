//! A line into tokens: one pass, no allocation, offsets into the line.
//!
//! Things that are one value although they hold delimiters are taken whole: paths and URLs, MAC and IPv6 addresses, times, `Name{...}` objects,
//! quoted phrases, and `[a, b, c]` lists. [`fold`] then joins what only neighbours can tell: dates, and values with commas or colons between.

use memchr::{memchr, memchr2};

use crate::classify::{
    BEHIND_PATH, CLASS, DELIMITER, DOT, HIGH, Kind, SLASH, SPACE, classes_of, classify, classify_with,
    is_dotted_name, is_relative_path,
};
use crate::hashing::{WILD, symbol_of};

mod fold;
#[cfg(test)]
mod tests;
mod values;

use fold::{date_word, fold};
use values::{colon_hex_end, path_root, time_end};

/// Longest quoted phrase that is one token, in characters.
const PHRASE_CHARACTERS_MAX: usize = 48;
/// Longest list in brackets that is one token, in characters between the brackets.
const LIST_CHARACTERS_MAX: usize = 159;
/// The longest unit.
const UNIT_BYTES_MAX: usize = 4;
/// Opening braces without a closing one after which a line is no longer searched for objects, so that its cost stays linear.
const UNBALANCED_MAX: u32 = 8;

/// A piece of a line. Offsets are in bytes, and lie on character boundaries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub start: u32,
    pub end: u32,
    pub kind: Kind,
    /// Stands where a value usually stands: after `=`, in quotes or brackets, after `user`.
    pub value: bool,
    /// A blank comes before it.
    pub spaced: bool,
    /// Hash of the text; [`WILD`] for a variable.
    pub symbol: u64,
}

impl Token {
    #[inline]
    pub fn text<'a>(&self, line: &'a str) -> &'a str {
        &line[self.start as usize..self.end as usize]
    }

    fn become_variable(&mut self) {
        self.kind = Kind::Variable;
        self.symbol = WILD;
    }
}

/// Replaces `tokens` with the tokens of `line`, at most `tokens_max`. False if the line had more, which are left out.
pub(crate) fn tokenize(line: &str, tokens_max: usize, tokens: &mut Vec<Token>) -> bool {
    tokens.clear();
    let mut scan =
        Scan { line, bytes: line.as_bytes(), at: 0, spaced: false, unbalanced: 0, may_fold: false, tokens };
    while scan.skip_blanks() {
        if scan.tokens.len() >= tokens_max {
            break;
        }
        scan.next();
    }
    let complete = scan.at >= scan.bytes.len() && scan.tokens.len() <= tokens_max;
    let may_fold = scan.may_fold;
    tokens.truncate(tokens_max);
    if may_fold {
        fold(line, tokens);
    }
    complete
}

struct Scan<'a> {
    line: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// A blank lies between the last token and `at`.
    spaced: bool,
    /// Opening braces that were not closed.
    unbalanced: u32,
    /// There are variables or words that [`fold`] may change.
    may_fold: bool,
    tokens: &'a mut Vec<Token>,
}

impl Scan<'_> {
    /// Moves to the next character that is no blank; false at the end of the line.
    #[inline]
    fn skip_blanks(&mut self) -> bool {
        while let Some(&byte) = self.bytes.get(self.at) {
            let class = CLASS[usize::from(byte)];
            if class & SPACE != 0 {
                self.at += 1;
            } else if class & HIGH == 0 {
                return true;
            } else if let Some(width) = self.blank_at(self.at) {
                self.at += width;
            } else {
                return true;
            }
            self.spaced = true;
        }
        false
    }

    /// Width of the blank at `at`, in bytes.
    fn blank_at(&self, at: usize) -> Option<usize> {
        let class = CLASS[usize::from(*self.bytes.get(at)?)];
        if class & HIGH != 0 {
            return self.line[at..].chars().next().filter(|c| c.is_whitespace()).map(char::len_utf8);
        }
        (class & SPACE != 0).then_some(1)
    }

    #[inline]
    fn next(&mut self) {
        let first = self.bytes[self.at];
        let free = self.spaced || self.tokens.last().is_none_or(|token| token.kind == Kind::Delimiter);
        if CLASS[usize::from(first)] & DELIMITER != 0 {
            self.delimiter(first, free);
        } else if free
            && matches!(first, b'/' | b'\\')
            && let Some(end) = self.path_end()
        {
            self.push(end, Kind::Variable, false);
        } else {
            self.word(free);
        }
    }

    fn delimiter(&mut self, first: u8, free: bool) {
        let compound = match first {
            b'"' => self.phrase(),
            b'{' => self.object(),
            b'[' => self.list(),
            _ => false,
        };
        if compound {
            return;
        }
        let value_end = match first {
            b'{' if free => self.path_end(),
            b':' if free => colon_hex_end(self.bytes, self.at),
            _ => None,
        };
        if let Some(end) = value_end {
            self.push(end, Kind::Variable, false);
            return;
        }
        self.push(self.at + 1, Kind::Delimiter, false);
        if first == b'=' {
            self.empty_value();
        }
    }

    /// Ends a token that began at `at`, and moves behind it.
    #[inline]
    fn push(&mut self, end: usize, kind: Kind, value: bool) {
        let symbol = if kind == Kind::Variable {
            self.may_fold |= self.follows_variable();
            WILD
        } else {
            symbol_of(&self.bytes[self.at..end])
        };
        self.tokens.push(Token {
            start: self.at as u32,
            end: end as u32,
            kind,
            value,
            spaced: self.spaced,
            symbol,
        });
        self.at = end;
        self.spaced = false;
    }

    /// A variable at `at` comes right behind another, or behind one delimiter that may lie inside of a value.
    fn follows_variable(&self) -> bool {
        let is_variable = |token: &Token| token.kind == Kind::Variable;
        match self.tokens.as_slice() {
            [.., last] if is_variable(last) => true,
            [.., before, last] => !self.spaced && last.kind == Kind::Delimiter && is_variable(before),
            _ => false,
        }
    }

    /// `"two words"` without values in it: the phrase is one identifier.
    fn phrase(&mut self) -> bool {
        let start = self.at + 1;
        let Some(end) = find(self.bytes, start, b'"', PHRASE_CHARACTERS_MAX) else { return false };
        let phrase = &self.line[start..end];
        let is_text = |word: &str| {
            classify(word) != Kind::Variable
                && !word.bytes().any(|b| b == b'/' || CLASS[usize::from(b)] & DELIMITER != 0)
        };
        if !phrase.contains(' ')
            || phrase.chars().count() > PHRASE_CHARACTERS_MAX
            || !phrase.split_whitespace().all(is_text)
        {
            return false;
        }
        self.enclosed(end, Kind::Identifier);
        true
    }

    /// `[a, b, c]` of single words: one token, a variable if all of them are.
    fn list(&mut self) -> bool {
        let start = self.at + 1;
        let Some(end) = find(self.bytes, start, b']', LIST_CHARACTERS_MAX) else { return false };
        let list = &self.line[start..end];
        if list.chars().count() > LIST_CHARACTERS_MAX || memchr(b',', list.as_bytes()).is_none() {
            return false;
        }
        let mut kind = Kind::Variable;
        for item in list.split(',').map(str::trim) {
            if item.is_empty() || item.bytes().any(|b| b == b' ' || CLASS[usize::from(b)] & DELIMITER != 0) {
                return false;
            }
            if classify(item) != Kind::Variable {
                kind = Kind::Identifier;
            }
        }
        self.enclosed(end, kind);
        true
    }

    /// Three tokens: the delimiter at `at`, all up to `end`, and the delimiter at `end`.
    fn enclosed(&mut self, end: usize, kind: Kind) {
        self.push(self.at + 1, Kind::Delimiter, false);
        self.push(end, kind, true);
        self.push(end + 1, Kind::Delimiter, false);
    }

    /// `Name{...}`, balanced: the name becomes a variable that takes in the braces.
    fn object(&mut self) -> bool {
        let attached = !self.spaced && self.tokens.last().is_some_and(|token| token.kind != Kind::Delimiter);
        if !attached || self.unbalanced >= UNBALANCED_MAX {
            return false;
        }
        let mut depth = 0_usize;
        let mut at = self.at;
        while let Some(offset) = memchr2(b'{', b'}', &self.bytes[at..]) {
            at += offset + 1;
            if self.bytes[at - 1] == b'{' {
                depth += 1;
                continue;
            }
            depth -= 1;
            if depth == 0 {
                if let Some(name) = self.tokens.last_mut() {
                    name.become_variable();
                    name.end = at as u32;
                }
                self.may_fold = true;
                self.at = at;
                return true;
            }
        }
        self.unbalanced += 1;
        false
    }

    /// The end of the path or URL that starts at `at`.
    fn path_end(&self) -> Option<usize> {
        let rest = &self.bytes[self.at..];
        let root = path_root(rest)?;
        let mut end = root;
        while let Some(&byte) = rest.get(end) {
            let class = CLASS[usize::from(byte)];
            if class & (BEHIND_PATH | SPACE | HIGH) == 0 {
                end += 1;
            } else if class & HIGH != 0 && self.blank_at(self.at + end).is_none() {
                end += width(byte);
            } else {
                break;
            }
        }
        if end == root {
            return None;
        }
        let trimmed = rest[..end]
            .iter()
            .rposition(|b| !matches!(b, b'.' | b':' | b',' | b']'))
            .map_or(0, |last| last + 1);
        (trimmed > 1).then_some(self.at + trimmed)
    }

    /// `key=` without a value, before the next `key=` or the end: an empty variable, so that the line looks like those with a value.
    fn empty_value(&mut self) {
        let [.., key, equals] = self.tokens.as_slice() else { return };
        let before = self.bytes[self.at - 2];
        if key.kind == Kind::Delimiter || equals.spaced || matches!(before, b'=' | b'!' | b'<' | b'>') {
            return;
        }
        let rest = &self.bytes[self.at..];
        if !rest.first().is_none_or(|b| matches!(b, b' ' | b'\t' | b',' | b';')) {
            return;
        }
        let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let next_end = rest[blanks..].iter().find(|b| matches!(b, b' ' | b'\t' | b',' | b';' | b'='));
        let nothing_follows = rest.get(blanks).is_none_or(|b| matches!(b, b',' | b';'));
        if nothing_follows || next_end == Some(&b'=') {
            self.push(self.at, Kind::Variable, true);
        }
    }

    fn word(&mut self, free: bool) {
        let start = self.at;
        let mut at = start;
        let mut any = 0;
        let mut may_be_value = free;
        loop {
            let mut last = DELIMITER;
            for &byte in &self.bytes[at..] {
                last = CLASS[usize::from(byte)];
                if last & (SPACE | DELIMITER | HIGH) != 0 {
                    break;
                }
                any |= last;
                at += 1;
            }
            if last & HIGH != 0 && self.blank_at(at).is_none() {
                any |= last;
                at += width(self.bytes[at]);
                continue;
            }
            if self.bytes.get(at) != Some(&b':') {
                break;
            }
            if may_be_value && let Some(end) = self.value_with_colons(at) {
                self.push(end, Kind::Variable, false);
                return;
            }
            may_be_value = false;
            if self.bytes.get(at + 1) != Some(&b':') {
                break;
            }
            any |= DELIMITER;
            at += 2;
        }
        if free && let Some(end) = self.words_with_commas(at) {
            let value = self.value_context();
            self.push(end, Kind::Identifier, value);
            return;
        }
        let mut end = at;
        if matches!(self.bytes[at - 1], b'.' | b'!' | b'?') {
            let text = &self.bytes[start + 1..at];
            end -= text.iter().rev().take_while(|b| matches!(b, b'.' | b'!' | b'?')).count();
        }
        let word = &self.bytes[start..end];
        let mut kind = classify_with(word, if end == at { any } else { classes_of(word) });
        if word.len() <= UNIT_BYTES_MAX
            && let Some(last) = self.tokens.last_mut()
            && last.kind == Kind::Variable
            && is_unit(word)
        {
            last.end = end as u32;
            self.at = end;
            self.spaced = false;
        } else {
            if kind == Kind::Identifier && self.is_host_with_port_or_path(end, any, at) {
                kind = Kind::Variable;
            }
            self.may_fold |= kind == Kind::Word && date_word(word).is_some();
            self.push(end, kind, self.value_context());
        }
        if end < at {
            self.push(at, Kind::Delimiter, false);
        }
    }

    /// The end of the value that starts at `at` and has its first colon at `colon`: a URL, a path with a drive, an address or a time.
    fn value_with_colons(&self, colon: usize) -> Option<usize> {
        let length = colon - self.at;
        let path_end =
            || matches!(self.bytes.get(colon + 1), Some(b'/' | b'\\')).then(|| self.path_end()).flatten();
        let hex_end = || (length <= 4).then(|| colon_hex_end(self.bytes, self.at)).flatten();
        let time_end = || (length <= 2).then(|| time_end(self.bytes, self.at)).flatten();
        path_end().or_else(hex_end).or_else(time_end)
    }

    /// The end of `one,two,three` without blanks, the first word of which ends at `end`: words none of which is a value, up to a blank or a
    /// closing bracket or quote.
    fn words_with_commas(&self, mut end: usize) -> Option<usize> {
        let mut start = self.at;
        if self.bytes.get(end) != Some(&b',') {
            return None;
        }
        let ends = |byte: &u8| CLASS[usize::from(*byte)] & (SPACE | DELIMITER | HIGH) != 0;
        loop {
            if start == end || classify(&self.line[start..end]) == Kind::Variable {
                return None;
            }
            match self.bytes.get(end) {
                Some(b',') if end - self.at < LIST_CHARACTERS_MAX => start = end + 1,
                None | Some(b']' | b')' | b'}' | b'>' | b'"' | b'\'' | b';') => return Some(end),
                Some(&byte) if CLASS[usize::from(byte)] & SPACE != 0 => return Some(end),
                Some(_) => return None,
            }
            end = self.bytes[start..].iter().position(ends).map_or(self.bytes.len(), |length| start + length);
        }
    }

    /// Of the word from `at` to `end`; `any` holds the classes of its bytes and of the stops up to `stops_end`.
    fn is_host_with_port_or_path(&self, end: usize, any: u16, stops_end: usize) -> bool {
        let port_follows = || {
            self.bytes.get(stops_end) == Some(&b':')
                && self.bytes.get(stops_end + 1).is_some_and(u8::is_ascii_digit)
        };
        any & DOT != 0 && port_follows() && is_dotted_name(&self.bytes[self.at..end])
            || any & SLASH != 0 && is_relative_path(&self.line[self.at..end])
    }

    /// Whether a word at `at` stands where a value usually stands.
    #[inline]
    fn value_context(&self) -> bool {
        let Some(last) = self.tokens.last() else { return false };
        if last.kind == Kind::Delimiter {
            let first = self.bytes[last.start as usize];
            return first == b'=' || (!self.spaced && matches!(first, b':' | b'[' | b'"' | b'\''));
        }
        self.spaced && is_account_word(&self.bytes[last.start as usize..last.end as usize])
    }
}

/// Position of `byte` in `bytes[start..]`, if at most `characters_max` characters of any width come before it.
fn find(bytes: &[u8], start: usize, byte: u8, characters_max: usize) -> Option<usize> {
    let end = bytes.len().min(start + 4 * characters_max + 1);
    memchr(byte, &bytes[start..end]).filter(|&length| length > 0).map(|length| start + length)
}

/// Width of the character that starts with `first`, in bytes.
fn width(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

fn is_account_word(text: &[u8]) -> bool {
    (4..=8).contains(&text.len())
        && matches!(text[0], b'u' | b'U' | b'h' | b'H' | b'a' | b'A')
        && ["user", "username", "host", "hostname", "account"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
}

/// A unit of size or time, which belongs to the number before it.
fn is_unit(word: &[u8]) -> bool {
    let is_size =
        matches!(word, b"B" | b"KB" | b"MB" | b"GB" | b"TB" | b"KiB" | b"MiB" | b"GiB" | b"TiB" | b"kB");
    is_size || matches!(word, b"ns" | b"us" | b"ms" | b"s" | b"sec" | b"secs")
}
